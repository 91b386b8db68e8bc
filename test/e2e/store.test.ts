import assert from "node:assert/strict";
import { existsSync, openSync, readFileSync, truncateSync, writeSync, closeSync } from "node:fs";
import { join } from "node:path";
import { leaderWeight } from "#artifacts";
import type { Pruned } from "#api";
import { SystemRandom } from "#core";
import { Yard, type YardNode } from "../support/yard.ts";

const MIB = 1024 ** 2;
const QUOTA_BYTES = 11 * MIB;

describe("the store, with real daemons", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let cam: YardNode;

  beforeEach(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    cam = yard.node("cam");
    await hub.ok("admit", "-f", yard.write("claims.csv", "serial,model,key,tenant,labels,expires\ncam,,,,,\n"));
    const config = yard.write("cam.yaml", `store: {quotaBytes: ${QUOTA_BYTES}}\n`);
    await cam.up("--token", await hub.ok("token"), "--serial", "cam", "--site", "berlin", "--config", config);
    await cam.until("member");
  });
  afterEach(() => yard[Symbol.asyncDispose]());

  const prune = async (node: YardNode, ...flags: string[]): Promise<Pruned> =>
    JSON.parse(await node.ok("prune", "--json", ...flags)) as Pruned;

  /** Publishes content of which `keeper`, of the two nodes, is the one that keeps a copy for the fleet. */
  async function publishFor(keeper: YardNode, name: string, sizeBytes: number): Promise<Uint8Array> {
    const [first, second] = [(await hub.status()).nodeId, (await cam.status()).nodeId];
    for (;;) {
      const content = new SystemRandom().bytes(sizeBytes);
      await hub.publish(name, content);
      const root = (await hub.untilArtifact(name)).root;
      if (leaderWeight(root, first) > leaderWeight(root, second) === (keeper === hub)) {
        await yard.until(`cam to know ${name}`, async () => (await cam.artifact(name))?.root === root);
        return content;
      }
    }
  }
  const fetchAll = async (...names: string[]): Promise<void> => {
    for (const name of names) await cam.ok("fetch", name);
    await yard.until("both to hear of the copies", async () => {
      const found = await Promise.all(names.flatMap((name) => [hub.artifact(name), cam.artifact(name)]));
      return found.every((artifact) => artifact?.copies === 2);
    });
  };
  const blobOf = async (node: YardNode, name: string): Promise<string> => {
    const root = (await node.artifact(name))?.root ?? "";
    return join(node.data, "store", "blobs", root.slice(0, 2), root);
  };

  it("makes room for what is fetched: the least recently used goes, never a pinned one", async () => {
    for (const name of ["old:1", "pinned:1", "new:1"]) await publishFor(hub, name, 3 * MIB);
    await fetchAll("pinned:1", "old:1");
    await cam.ok("pin", "pinned:1");
    await fetchAll("new:1");
    assert.equal((await cam.artifact("old:1"))?.local.state, "complete", "9 of 11 MiB: nothing has to go");
    await publishFor(hub, "next:1", 3 * MIB);
    await cam.ok("fetch", "next:1");
    assert.notEqual((await cam.artifact("old:1"))?.local.state, "complete");
    assert.equal(existsSync(await blobOf(cam, "old:1")), false);
    assert.equal((await cam.artifact("pinned:1"))?.local.state, "complete");
    const { store } = await cam.status();
    assert.equal(store.limitBytes, QUOTA_BYTES);
    assert.ok(store.usedBytes + store.dueBytes <= QUOTA_BYTES);
    assert.equal(store.pinned, 1);
    assert.match(await cam.ok("get", "artifacts", "-o", "wide"), /pinned:1.*yes.*3\.1 MB/u);
    assert.match(await cam.ok("status"), /1 pinned, .* of 11\.5 MB \(quota\)/u);

    await publishFor(hub, "huge:1", 12 * MIB);
    const said = await cam.fails(5, "fetch", "huge:1");
    assert.match(said, /needs 12 MiB, and of its quota of 11 MiB the store has \d+ MiB left; nothing was begun/u);
    assert.match(said, /portolan prune --dry-run/u);
    await hub.ok("stage", "huge:1", "-l", "name=cam");
    const waiting = await yard.until("the placement to wait for room", async () => {
      const { local } = (await cam.artifact("huge:1")) ?? {};
      return local?.state === "waiting" && local;
    });
    assert.match(waiting.reason ?? "", /quota/u);
  });

  it("prunes what it can spare and says why the rest stays; one copy is always left in the fleet", async () => {
    for (const name of ["a:1", "b:1", "c:1"]) await publishFor(name === "c:1" ? cam : hub, name, MIB);
    await publishFor(hub, "alone:1", MIB);
    await fetchAll("a:1", "b:1", "c:1");
    await cam.ok("pin", "b:1");
    const dry = await prune(cam, "--dry-run");
    assert.deepEqual(dry.removed, [{ name: "a:1", bytes: MIB }]);
    assert.deepEqual(
      dry.kept.toSorted((x, y) => (x.name < y.name ? -1 : 1)),
      [
        { name: "b:1", reason: "pinned" },
        { name: "c:1", reason: "kept for the fleet" },
      ],
    );
    assert.equal((await cam.artifact("a:1"))?.local.state, "complete", "nothing was done");
    const [atCam, atHub] = await Promise.all([prune(cam), prune(hub)]);
    assert.deepEqual(atCam, dry);
    assert.equal(atHub.kept.find(({ name }) => name === "alone:1")?.reason, "last known copy");
    for (const name of ["a:1", "b:1", "c:1"]) {
      const here = [cam, hub].map(async (node) => existsSync(await blobOf(node, name)));
      assert.ok((await Promise.all(here)).includes(true), `${name} is still somewhere`);
    }
    await cam.ok("unpin", "b:1");
    assert.equal((await cam.artifact("b:1"))?.pinned, false);
    await cam.fails(4, "pin", "nothing:1");
  });

  it("frees what belongs to no artifact any more, and brings a pinned one by itself", async () => {
    await publishFor(hub, "here:1", MIB);
    await cam.ok("pin", "here:1");
    await cam.untilComplete("here:1");
    await hub.ok("delete", "artifact", "here:1");
    await yard.until("the copy to go", async () => (await cam.status()).store.usedBytes === 0);
  });

  it("mends what was damaged in its store, and never gives it out", async () => {
    const content = await publishFor(hub, "model:1", 2 * MIB);
    await fetchAll("model:1");
    const blob = await blobOf(cam, "model:1");
    const file = openSync(blob, "r+");
    writeSync(file, Buffer.from([1, 2, 3]), 0, 3, MIB);
    closeSync(file);
    const out = yard.path("out.bin");
    await cam.ok("fetch", "model:1", "-o", out);
    assert.equal(Buffer.compare(readFileSync(out), content), 0);
    assert.equal(Buffer.compare(readFileSync(blob), content), 0);

    await cam.stop();
    truncateSync(blob, MIB + 7);
    await cam.up();
    await cam.ok("fetch", "model:1", "-o", out, "--force");
    assert.equal(Buffer.compare(readFileSync(out), content), 0);
    await yard.until("the store to be whole", async () => Buffer.compare(readFileSync(blob), content) === 0);
  });
});
