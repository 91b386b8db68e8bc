import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { Yard, type YardNode } from "../support/yard.ts";

describe("a data directory that was copied", function () {
  this.timeout(90_000);
  let yard: Yard;
  let hub: YardNode;
  let friend: YardNode;
  let cam: YardNode;
  let copy: YardNode;
  let nodeId: string;

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    await hub.ok(
      "admit",
      "-f",
      yard.write("claims.csv", "serial,model,key,tenant,labels,expires\ncam,,,,,\nfriend,,,,,\n"),
    );
    const token = await hub.ok("token");
    [friend, cam, copy] = [yard.node("friend"), yard.node("cam"), yard.node("copy")];
    for (const node of [cam, friend]) await node.up("--token", token, "--serial", node.name, "--site", "berlin");
    await Promise.all([cam.until("member"), friend.until("member")]);
    await friend.untilSees("cam", "connected");
    await cam.untilSees("friend", "connected");
    ({ nodeId } = await cam.status());
    await cam.stop();
    cpSync(cam.data, copy.data, { recursive: true });
  });
  after(() => yard[Symbol.asyncDispose]());

  it("is shut out with its original within 5 s of both being up, and all say so", async () => {
    await cam.up();
    await hub.untilSees("cam", "connected");
    await copy.up();
    const startMs = yard.clock.nowMs();
    for (const node of [hub, friend]) await node.untilSees(nodeId, "quarantine");
    const tookMs = yard.clock.nowMs() - startMs;
    console.log(`      in quarantine everywhere ${Math.round(tookMs)} ms after the copy was up`);
    assert.ok(tookMs < 5_000);
    for (const node of [cam, copy]) {
      await yard.until(`${node.name} to be alone`, async () => (await node.status()).links === 0);
    }
    const alert = await hub.untilEvent(({ type }) => type === "security.clone", "the clone");
    assert.deepEqual([alert.subject, alert.outcome], ["cam", "refused"]);
    assert.match(
      (await hub.run("doctor")).out,
      /ERROR +clone: Two machines use the key of cam.*\n +try: portolan machine rekey/u,
    );
    await yard.until("the copy to know why", async () => (await copy.status()).join?.code === "identity.quarantined");
    assert.match((await copy.run("doctor")).out, /two machines use.*\n +try: .*portolan machine rekey/u);
  });

  it("stays shut out after a restart of who saw it", async () => {
    await hub.kill();
    await hub.up();
    await hub.untilSees(nodeId, "quarantine");
    assert.equal((await cam.status()).links, 0);
  });

  it("works beside its original once it has a key of its own and an operator approved both", async () => {
    await copy.ok("machine", "rekey", "--yes");
    await copy.ended();
    await hub.ok("approve", nodeId, "--yes");
    for (const node of [hub, friend]) await node.untilSees("cam", "connected");
    await copy.up("--serial", "copy");
    await copy.until("pending");
    await hub.ok("approve", "--all-pending", "--yes");
    await copy.until("member");
    await hub.untilSees("copy", "connected");
    assert.notEqual((await copy.status()).nodeId, nodeId);
    await hub.untilSees("cam", "connected");
    await hub.publish("after:v1", "moved after the healing");
    for (const node of [cam, copy]) {
      await node.untilArtifact("after:v1");
      await node.ok("fetch", "after:v1");
    }
  });

  it("a plain restart is no clone", async () => {
    await cam.kill();
    await cam.up();
    await hub.untilSees("cam", "connected");
    assert.equal((await hub.events()).filter(({ type }) => type === "security.clone").length, 1);
  });
});
