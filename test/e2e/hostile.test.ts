import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { SystemRandom } from "#core";
import { membershipOffer } from "../support/foreign-documents.ts";
import { join } from "../support/foreign-join.ts";
import { ForeignPeer } from "../support/foreign-peer.ts";
import { fetchBlob, type ForeignBlob } from "../support/foreign-swarm.ts";
import { HostilePeer, type Malice } from "../support/hostile-peer.ts";
import { Yard, type YardNode } from "../support/yard.ts";

const MIB = 1024 ** 2;
const SIZE_BYTES = 64 * MIB;
/** Slow enough for everybody hostile to have its turn. */
const UPLOAD_BPS = 12_000_000;
const MAX_WASTE = 0.05;
/** A challenge takes 2 s and there are several, one after the other. */
const NAMING_MS = 60_000;
const HONEST = ["one", "two", "three"];
/** 3 of 7 peers. */
const HOSTILE: Readonly<Record<string, Malice>> = {
  "evil-1": "wrong-cells",
  "evil-2": "stall",
  "evil-3": "lying-haves",
};

describe("a swarm in which 3 of 7 peers are hostile", function () {
  this.timeout(200_000);
  let yard: Yard;
  let hub: YardNode;
  let honest: YardNode[];
  let hostile: HostilePeer[];
  let content: Uint8Array;
  let blob: ForeignBlob;
  let token: string;

  before(async () => {
    yard = new Yard();
    const config = yard.write("slow.yaml", `limits: { uploadBps: ${UPLOAD_BPS} }\n`);
    hub = await yard.demoFleet("hub", "--config", config);
    const serials = [...HONEST, ...Object.keys(HOSTILE), "witness"];
    const claims = ["serial,model,key,tenant,labels,expires,site", ...serials.map((serial) => `${serial},,,,,,hq`)];
    await hub.ok("admit", "-f", yard.write("claims.csv", claims.join("\n")));
    token = await hub.ok("token");
    honest = HONEST.map((name) => yard.node(name));
    await Promise.all(honest.map((node) => node.up("--token", token, "--serial", node.name, "--config", config)));
    await Promise.all(honest.map((node) => node.until("member")));
    hostile = [];
    for (const [serial, malice] of Object.entries(HOSTILE)) hostile.push(await HostilePeer.join(token, serial, malice));
    content = new SystemRandom().bytes(SIZE_BYTES);
    await hub.publish("model:v1", content);
    await Promise.all(honest.map((node) => node.untilArtifact("model:v1")));
    const { body } = await hub.client.call("documents.get", { name: "Artifact/model:v1" });
    blob = body["spec"] as ForeignBlob;
  });
  after(async () => {
    await Promise.all(hostile.map((peer) => peer[Symbol.asyncDispose]()));
    await yard[Symbol.asyncDispose]();
  });

  it("ends with every byte right, little wasted, and everybody hostile named", async () => {
    for (const node of honest) {
      const { addresses } = await node.status();
      for (const peer of hostile) await peer.attack(yard.clock, addresses[0] ?? "", blob);
    }
    await hub.ok("stage", "model:v1", "-l", `name in (${HONEST.join(",")})`);
    await yard.until("some of it to be there", async () => (await bytesAt(honest)) > SIZE_BYTES / 4);
    // While the one honest source of the rest stands still, who says that it has that rest is asked by name.
    process.kill(hub.pid, "SIGSTOP");
    try {
      const areNamed = async (): Promise<boolean> => {
        const names = await named(honest);
        return hostile.every(({ name }) => names.has(name));
      };
      await yard.until("all to be named", areNamed, NAMING_MS);
    } catch (error) {
      throw new Error(`named so far: ${JSON.stringify([...(await named(honest))])}`, { cause: error });
    } finally {
      process.kill(hub.pid, "SIGCONT");
    }
    const details = await Promise.all(honest.map((node) => node.untilComplete("model:v1")));

    for (const node of honest) {
      const out = yard.path(`${node.name}.out`);
      await node.ok("fetch", "model:v1", "-o", out);
      assert.equal(sha256(readFileSync(out)), sha256(content), `${node.name} has a wrong byte`);
    }
    const again = details.map(({ local }) => local.bytesFromSite + local.bytesFromWan - SIZE_BYTES);
    const garbage = hostile.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
    const waste = again.reduce((sum, bytes) => sum + Math.max(0, bytes), garbage) / (honest.length * SIZE_BYTES);
    const [wrong, stalling, lying] = hostile as [HostilePeer, HostilePeer, HostilePeer];
    console.log(
      `      waste ${(100 * waste).toFixed(2)} %: ${garbage} bytes of garbage, ${again.join(" + ")} fetched again; ` +
        `${wrong.accepted} and ${stalling.accepted} offers accepted, ${lying.wanted} chunks asked for by name`,
    );
    assert.ok(wrong.accepted > 0 && stalling.accepted > 0, "they had their turn");
    assert.ok(waste <= MAX_WASTE, `waste of ${(100 * waste).toFixed(2)} %`);

    const names = await named(honest);
    for (const { name, malice } of hostile) {
      assert.equal(
        names.get(name),
        malice === "wrong-cells" ? "bad-cell" : "ignored",
        `${name} is named for what it did`,
      );
    }
    for (const node of honest) assert.ok(!names.has(node.name), `${node.name} did nothing wrong`);
  });

  it("served nothing wrong either: one that checks each cell gets it from every honest node", async () => {
    await using witness = await ForeignPeer.start();
    const { admission } = await join(witness, token, { serial: "witness" });
    assert.ok(admission);
    for (const node of honest.slice(0, 2)) {
      const { addresses } = await node.status();
      const { connection } = await witness.hello(addresses[0] ?? "", membershipOffer(admission));
      const { content: fetched } = await fetchBlob(connection, blob);
      assert.equal(sha256(fetched), sha256(content));
    }
  });
});

/** Content that these nodes have, all together. */
async function bytesAt(nodes: readonly YardNode[]): Promise<number> {
  const details = await Promise.all(nodes.map((node) => node.artifact("model:v1")));
  return details.reduce((sum, detail) => sum + (detail?.local.bytes ?? 0), 0);
}

/** Who was banned or ignored according to the events of these nodes, and why. */
async function named(nodes: readonly YardNode[]): Promise<Map<string, string>> {
  const events = await Promise.all(nodes.map((node) => node.events()));
  const banned = events.flat().filter(({ type }) => type === "security.banned-peer");
  return new Map(
    banned
      .filter(({ subject }) => subject !== "hub")
      .map(({ subject, message }) => [subject, message.split(" ")[0] ?? ""]),
  );
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
