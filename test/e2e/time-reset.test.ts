import assert from "node:assert/strict";
import { ClockedNode } from "../support/clocked-node.ts";
import { Yard } from "../support/yard.ts";

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

describe("a fleet whose time ran ahead", function () {
  this.timeout(90_000);
  let yard: Yard;
  let hub: ClockedNode;
  let cam: ClockedNode;
  let key: string[];

  /** How far a node's time is ahead of the real one. */
  const aheadMs = async (node: ClockedNode): Promise<number> => (await node.timeMs()) - yard.clock.wallMs();

  function setClocks(wallOffMs: number): void {
    for (const node of [hub, cam]) node.set({ wallOffMs, uptimeOffMs: 0 });
  }

  before(async () => {
    yard = new Yard();
    [hub, cam] = [new ClockedNode(yard, "hub"), new ClockedNode(yard, "cam")];
    await hub.node.ok("fleet", "create", "plant", "--demo", "--site", "hq");
    key = ["--as", yard.path("hub", "demo-keys", "demo.key")];
    setClocks(10 * DAY_MS); // both ask the same time server, which is wrong
    await hub.up();
    await hub.node.ok("batch", "open", "--max", "1", "--until", "480h");
    await cam.up("--token", await hub.node.ok("token"), "--serial", "cam");
    await cam.node.until("member");
  });
  after(() => yard[Symbol.asyncDispose]());

  it("is taken back to the real time by the owners, and stays there", async () => {
    await yard.until("the time to be confirmed", async () => (await cam.node.status()).time.confirmed);
    assert.ok((await aheadMs(cam)) > 9 * DAY_MS, "the only registrar's word counts");
    setClocks(0);
    const { code, err } = await cam.node.run("fleet", "reset-time", ...key);
    assert.equal(code, 0, err);
    assert.match(err, /the fleet takes it for \S+; it shall be \S+\. Set the clocks of the registrars first/u);
    for (const node of [cam, hub]) {
      await yard.until("the time to be right", async () => Math.abs(await aheadMs(node)) < 5 * MINUTE_MS);
    }
    await cam.node.kill();
    await cam.up();
    assert.ok(Math.abs(await aheadMs(cam)) < 5 * MINUTE_MS, "also after a restart");
    await cam.node.until("member");
    await hub.node.untilSees("cam", "connected");
    assert.match(await cam.node.fails(5, "fleet", "reset-time", ...key), /less than a day ahead/u);
  });
});
