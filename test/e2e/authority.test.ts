import assert from "node:assert/strict";
import { join } from "node:path";
import { Ed25519Key, SystemRandom } from "#core";
import {
  draftPayload,
  type Kind,
  keyHash,
  loadNodeKey,
  nodeIdOf,
  type NodeKey,
  signPayload,
  type Spec,
} from "#identity";
import { type Forged, Rogue } from "../support/rogue.ts";
import { Yard, type YardNode } from "../support/yard.ts";

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

describe("root on an ordinary node", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let cam: YardNode;
  let friend: YardNode;
  let camKey: NodeKey;
  let token: string;
  /** The node's own key as a file that `--as` takes. */
  let asCam: string;

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    const claims = ["serial,model,key,tenant,labels,expires", "cam,,,,,", "friend,,,,,"].join("\n");
    await hub.ok("admit", "-f", yard.write("claims.csv", claims));
    await hub.publish("model:v1", "weights");
    token = await hub.ok("token");
    cam = yard.node("cam");
    friend = yard.node("friend");
    await Promise.all(
      [cam, friend].map((node) => node.up("--token", token, "--serial", node.name, "--site", "berlin")),
    );
    await Promise.all([cam, friend].map((node) => node.until("member")));
    await Promise.all([cam.untilArtifact("model:v1"), friend.untilSees("cam", "connected")]);
    camKey = loadNodeKey(join(cam.data, "node.key"), new SystemRandom());
    const key = {
      format: "portolan-key-v1",
      name: "cam",
      publicKey: base64(camKey.key.publicKey),
      seed: base64(camKey.seed),
    };
    asCam = yard.write("cam.key", JSON.stringify(key));
  });
  after(() => yard[Symbol.asyncDispose]());

  const documents = async (node: YardNode): Promise<string[]> =>
    (await node.client.call("documents.list", {})).items.map(({ name, digest }) => `${name} ${digest}`).toSorted();

  it("has no key that approves, publishes, applies or deletes, not even for its own store", async () => {
    const before = await documents(cam);
    const waiting = yard.node("waiting");
    await waiting.up("--token", token, "--serial", "waiting");
    const placement = yard.write(
      "placement.yaml",
      "apiVersion: portolan.dev/v1\nkind: Placement\nmetadata: {name: p}\nspec: {artifact: 'model:v1', selector: ''}\n",
    );
    const camPub = yard.write("cam.pub", `portolan-public-key-v1 ed25519 ${base64(camKey.key.publicKey)} cam\n`);
    const commands: string[][] = [
      ["admit", "-f", yard.path("claims.csv"), "--name", "mine"],
      ["batch", "open", "--max", "9", "--until", "1h"],
      ["publish", placement, "--name", "model:v2"],
      ["stage", "model:v1", "--all"],
      ["apply", "-f", placement],
      ["delete", "artifact", "model:v1"],
      ["revoke", "friend"],
      ["operator", "add", "cam", "--key", camPub, "--role", "publisher"],
      ["registrar", "add", "cam"],
    ];
    for (const command of commands) {
      const said = await cam.fails(3, ...command, "--as", asCam);
      assert.match(said, /try: /u, command.join(" "));
    }
    await hub.untilSees("waiting", "pending");
    await hub.fails(3, "approve", "waiting", "--yes", "--as", asCam);
    assert.deepEqual(await documents(cam), before);
    assert.deepEqual(await documents(hub), before);
    await waiting.kill();
  });

  it("cannot make others believe what it forged: they refuse it, and have it on record", async () => {
    const { fleet = "" } = await hub.status();
    const before = { hub: await documents(hub), friend: await documents(friend) };
    const proof = await Promise.all(
      ["Registrar", "Member"].map(async (kind) => {
        const { items } = await hub.client.call("documents.list", { selector: `kind=${kind}` });
        const all = await Promise.all(items.map(({ name }) => hub.client.call("documents.get", { name })));
        return all.filter(({ documentName }) => kind === "Registrar" || documentName === "cam");
      }),
    );
    const hello = {
      fleet,
      charter: 1,
      revocation: 0,
      documents: proof.flat().map(({ envelope }) => Buffer.from(envelope)),
    };
    const addresses = (await Promise.all([hub, friend].map((node) => node.status()))).flatMap(
      (status) => status.addresses,
    );
    await cam.kill();

    const stop = new AbortController();
    await using rogue = await Rogue.start(yard.clock, camKey, hello);
    const forgeries = forge(fleet, camKey, yard.clock.wallMs());
    await rogue.spread(forgeries, addresses, stop.signal);
    for (const node of [hub, friend]) {
      for (const { id } of forgeries) {
        const kind = id.split("/")[0] ?? "";
        await node.untilEvent(
          ({ type, actor, message }) => type === "identity.refused" && actor === "cam" && message.includes(kind),
          `the forged ${kind}`,
        );
      }
    }
    assert.deepEqual({ hub: await documents(hub), friend: await documents(friend) }, before);
    assert.equal((await friend.status()).state, "member");
    stop.abort();
  });

  it("once revoked is cut off at once, everywhere, and cannot come back", async () => {
    await cam.up();
    await cam.until("member");
    await Promise.all([hub.untilSees("cam", "connected"), friend.untilSees("cam", "connected")]);
    const { nodeId } = await cam.status();

    await hub.ok("revoke", "cam");
    const startMs = yard.clock.nowMs();
    const linked = async (node: YardNode): Promise<boolean> =>
      (await node.client.call("links.list", {})).items.some((link) => link.nodeId === nodeId);
    for (const node of [hub, friend]) {
      await yard.until("the links to close", async () => !(await linked(node)));
      assert.equal((await node.client.call("nodes.get", { name: nodeId })).state, "revoked");
    }
    assert.ok(yard.clock.nowMs() - startMs < 5_000, "live connections close at once");
    assert.equal((await cam.until("refused")).join?.code, "identity.revoked");

    await cam.kill();
    await cam.up();
    const { join: why, links } = await cam.until("refused");
    assert.deepEqual([why?.code, links], ["identity.revoked", 0]);
    assert.match((await cam.run("doctor")).out, /ERROR +joining: .*revoked.*\n +try: \S/u);
    assert.deepEqual([await linked(hub), await linked(friend)], [false, false]);

    await cam.ok("leave", "--yes");
    await cam.ended();
    await cam.up("--token", token, "--serial", "cam");
    await cam.until("refused");
    assert.equal(await linked(hub), false);
    const refused = await hub.untilEvent(
      ({ type, message }) => type === "node.refused" && message.includes("revoked"),
      "the refusal",
    );
    assert.equal(refused.outcome, "refused");
  });
});

/** One document of each kind that would give an ordinary node power, signed with its own key. */
function forge(fleet: string, { key, nodeId, sealingPublic }: NodeKey, nowMs: number): Forged[] {
  const second = new Ed25519Key(new SystemRandom().bytes(32));
  const publicKey = base64(second.publicKey);
  const node = { node: nodeIdOf(second.publicKey), publicKey, site: "berlin", sealingKey: base64(sealingPublic) };
  const specs: { [K in Kind]?: Spec<K> } = {
    Operator: { publicKey, roles: ["publisher"], tenant: "*" },
    Registrar: { ...node, maxMembers: 10 },
    Member: { ...node, roles: [], generation: 1, registrar: keyHash(key.publicKey), evidence: "approve" },
    ClaimList: { rows: [{ serial: "mine" }] },
    Batch: { max: 100, cidrs: [] },
    Revocation: { nodes: [{ node: nodeId, generation: 1 }], registrars: [] },
    Placement: { artifact: "model:v1", selector: "" },
    Tombstone: { target: { kind: "Artifact", name: "model:v1" }, version: 9 },
  };
  return (Object.entries(specs) as [Kind, Spec<Kind>][]).map(([kind, spec]) => {
    const name = kind === "Revocation" ? "fleet" : kind === "Tombstone" ? "artifact.model:v1" : "forged";
    const payload = draftPayload({ kind, name, fleet, version: 9, nowMs, spec });
    return { id: `${kind}/default/${name}`, version: 9, envelope: signPayload(kind, payload, key) };
  });
}
