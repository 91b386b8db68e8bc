import assert from "node:assert/strict";
import { ClockedNode } from "../support/clocked-node.ts";
import { Yard } from "../support/yard.ts";

const DAY_MS = 86_400_000;

describe("a site that is cut off for a month, on machines without a clock", function () {
  this.timeout(120_000);
  let yard: Yard;
  let hub: ClockedNode;
  let barn: [ClockedNode, ClockedNode];
  let key: string[];
  let token: string;
  /** A clock without a battery comes up here. */
  const dead = (): number => 1_000 - yard.clock.wallMs();

  before(async () => {
    yard = new Yard();
    hub = new ClockedNode(yard, "hub");
    await hub.node.ok("fleet", "create", "plant", "--demo", "--site", "hq");
    await hub.up();
    key = ["--as", yard.path("hub", "demo-keys", "demo.key")];
    const claims = "serial,model,key,tenant,labels,expires\na,,,,,\nb,,,,,\n";
    await hub.node.ok("admit", "-f", yard.write("claims.csv", claims));
    token = await hub.node.ok("token");
    barn = [new ClockedNode(yard, "a"), new ClockedNode(yard, "b")];
    await Promise.all(barn.map((each) => each.up("--token", token, "--serial", each.node.name, "--site", "barn")));
    await Promise.all(barn.map(({ node }) => node.until("member")));
    await barn[0].node.untilSees("b", "connected");
    await barn[0].node.publish("before:v1", "published while the registrar was there", ...key);
    await Promise.all(
      barn.map(({ node }) => yard.until("the time to be confirmed", async () => (await node.status()).time.confirmed)),
    );
    await Promise.all(barn.map(({ node }) => node.stop())); // in good order once, so that they remember each other
    await hub.node.kill();
    await Promise.all(barn.map((each) => each.up()));
  });
  after(() => yard[Symbol.asyncDispose]());

  /** The whole site loses its power, and its clocks with it. */
  async function powerCycle(): Promise<void> {
    await Promise.all(barn.map(({ node }) => node.kill()));
    for (const each of barn) each.set({ wallOffMs: dead(), uptimeOffMs: 0 });
    await Promise.all(barn.map((each) => each.up()));
  }

  it("finds itself again after a power cut, and moves files", async () => {
    const [a, b] = barn;
    const beforeMs = await a.timeMs();
    await powerCycle();
    assert.ok(
      Math.abs((await a.timeMs()) - beforeMs) < 15 * 60_000,
      "the time was kept to the last quarter of an hour",
    );
    await a.node.untilSees("b", "connected");
    const out = yard.path("before.out");
    await b.node.ok("fetch", "before:v1", "--output", out);
    await a.node.publish("during:v1", "published while nobody was there", ...key);
    await b.node.untilArtifact("during:v1");
    await b.node.ok("fetch", "during:v1", "--output", yard.path("during.out"));
  });

  it("goes on when every membership has ended, and says so", async () => {
    const [a, b] = barn;
    for (const each of barn) each.set({ wallOffMs: dead(), uptimeOffMs: 30 * DAY_MS });
    const lateMs = yard.clock.wallMs() + 29 * DAY_MS;
    await yard.until(
      "the month to be on record",
      async () => (await a.timeMs()) > lateMs && (await b.timeMs()) > lateMs,
    );
    await Promise.all(barn.map(({ node }) => node.stop()));
    for (const each of barn) each.set({ wallOffMs: dead(), uptimeOffMs: 0 });
    await Promise.all(barn.map((each) => each.up()));
    assert.ok((await a.timeMs()) > lateMs);
    await a.node.untilSees("b", "autonomous");
    await yard.until("the two to be linked", async () => (await a.node.status()).links === 1);
    const { autonomous, state } = await b.node.status();
    assert.deepEqual([autonomous, state], [true, "member"]);
    assert.match(await a.node.ok("get", "nodes"), /autonomous/u);
    assert.match((await a.node.run("doctor")).out, /WARN +membership: .*ended at/u);
    await a.node.untilEvent(
      ({ type, subject }) => type === "node.autonomous" && subject === "b",
      "that b is autonomous",
    );
    await a.node.publish("late:v1", "published a month later", ...key);
    await b.node.untilArtifact("late:v1");
    await b.node.ok("fetch", "late:v1", "--output", yard.path("late.out"));
  });

  it("lets nobody new in", async () => {
    const [a] = barn;
    const { addresses } = await a.node.status();
    const newcomer = yard.node("newcomer");
    const { decodeToken, encodeToken } = await import("#identity");
    const nearby = encodeToken({ ...decodeToken(token, { nowMs: yard.clock.wallMs() }), rendezvous: addresses });
    await newcomer.up("--token", nearby, "--serial", "newcomer");
    await yard.until("the newcomer to be told", async () => {
      const { state, join } = await newcomer.status();
      assert.notEqual(state, "member");
      return state === "joining" && join !== undefined;
    });
    assert.equal((await a.node.client.call("nodes.list", { selector: "serial=newcomer" })).items.length, 0);
    await newcomer.kill();
  });

  it("obeys at reunion first what was revoked meanwhile, then renews", async () => {
    const [a, b] = barn;
    const { nodeId } = await b.node.status();
    await Promise.all(barn.map(({ node }) => node.stop()));
    hub.set({ wallOffMs: 30 * DAY_MS, uptimeOffMs: 0 });
    await hub.up();
    await hub.node.ok("revoke", nodeId, ...key);
    await hub.node.kill();
    await Promise.all(barn.map((each) => each.up()));
    await yard.until("the two to be linked", async () => (await a.node.status()).links === 1);

    await hub.up();
    await yard.until("b to be shut out", async () => {
      const links = (await a.node.client.call("links.list", {})).items;
      return links.every((link) => link.nodeId !== nodeId) && links.length === 1;
    });
    await yard.until("a to be renewed", async () => !(await a.node.status()).autonomous);
    assert.equal((await b.node.until("refused")).join?.code, "identity.revoked");
    await hub.node.untilSees("a", "connected");
  });
});
