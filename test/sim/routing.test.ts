import assert from "node:assert/strict";
import { SeededRandom } from "#core";
import { NO_POLICY } from "../../src/routing/link-policy.ts";
import { LINKS_TOPIC, writeAdvertisement } from "../../src/routing/link-state.ts";
import { RoutingWorld } from "../support/routing-world.ts";
import { runScenario } from "./run-scenario.ts";
import { choose } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";

/** From a link's end until all have worked in that it went: 20 ms until it is told, and a few hops. */
const NEWS_MS = 200;

/** Two ways from a to c, one quicker, and a site behind. */
const SITES = { "a1-b1": 20, "b1-c1": 20, "a1-d1": 80, "d1-c1": 80, "c1-c2": 1 };

describe("routing among nodes that gossip", () => {
  it("knows the cheapest way to everybody, and another one, within seconds", async () => {
    using world = new RoutingWorld(SITES);
    await world.clock.advanceMs(3_000);
    assert.equal(world.way("a1", "c2"), "a1 b1 c1 c2 else a1 d1 c1 c2");
    assert.equal(world.way("c2", "b1"), "c2 c1 b1 else c2 c1 d1 a1 b1");
    assert.equal(world.of("d1").router.routes().length, 4);
  });

  it("goes the other way as soon as a link is gone, at nodes that are not at its ends, too", async () => {
    using world = new RoutingWorld(SITES);
    await world.clock.advanceMs(3_000);
    world.cut("b1", "c1");
    await world.clock.advanceMs(NEWS_MS);
    assert.equal(world.way("a1", "c2"), "a1 d1 c1 c2 else none");
    world.link("b1", "c1", 20);
    await world.clock.advanceMs(300_000);
    assert.equal(world.way("a1", "c2"), "a1 b1 c1 c2 else a1 d1 c1 c2");
  });

  it("follows what operators ask as soon as that is in force, and takes it back as soon as it is not", async () => {
    using world = new RoutingWorld(SITES);
    await world.clock.advanceMs(300_000);
    const between = (from: string, to: string): boolean => `${world.nameOf(from)} ${world.nameOf(to)}` === "b1 c1";
    const forbidden = (from: string, to: string): boolean => between(from, to) || between(to, from);
    world.policy = { ...NO_POLICY, admin: (from, to) => (forbidden(from, to) ? Number.POSITIVE_INFINITY : 0) };
    const { router } = world.of("a1");
    const path = ["b1", "c1"].map((name) => world.of(name).host.nodeId);
    assert.equal(world.way("a1", "c2"), "a1 d1 c1 c2 else none");
    assert.equal(router.costAlong(path), undefined);
    world.policy = { ...NO_POLICY, mayCarry: (node) => world.nameOf(node) !== "b1" };
    assert.equal(world.way("a1", "c2"), "a1 d1 c1 c2 else none");
    assert.equal(router.costAlong(path), undefined);
    world.policy = NO_POLICY;
    assert.equal(world.way("a1", "c2"), "a1 b1 c1 c2 else a1 d1 c1 c2");
    assert.equal(router.costAlong(path), router.route(path[1] ?? "")?.cost);
  });

  it("does not come back at once to a link that came and went", async () => {
    using world = new RoutingWorld(SITES);
    await world.clock.advanceMs(600_000);
    for (let i = 0; i < 3; i++) {
      world.cut("b1", "c1");
      await world.clock.advanceMs(1_000);
      world.link("b1", "c1", 20);
      await world.clock.advanceMs(2_000);
    }
    assert.equal(world.way("a1", "c2"), "a1 d1 c1 c2 else a1 b1 c1 c2");
  });

  it("follows a round trip that doubled within 10 s, and not one that jitters a little", async () => {
    using world = new RoutingWorld({ "a1-b1": 50, "b1-c1": 50, "a1-d1": 58, "d1-c1": 58 });
    await world.clock.advanceMs(600_000);
    const before = world.way("a1", "c1");
    assert.equal(before, "a1 b1 c1 else a1 d1 c1");
    const random = new SeededRandom(7);
    for (let second = 0; second < 600; second++) {
      for (const [a, b, ms] of [
        ["b1", "c1", 50],
        ["d1", "c1", 58],
      ] as const)
        world.measure(a, b, ms * (0.95 + 0.1 * random.unit()));
      await world.clock.advanceMs(1_000);
      assert.equal(world.way("a1", "c1"), before, `after ${second} s`);
    }
    world.measure("b1", "c1", 100);
    await world.clock.advanceMs(10_000);
    assert.equal(world.way("a1", "c1"), "a1 d1 c1 else a1 b1 c1");
  });

  it("hears of better links together, two minutes after a node told anything, or with a worse one", async () => {
    using world = new RoutingWorld({ "a1-b1": 90, "a1-c1": 90, "a1-d1": 30 });
    let told = 0;
    world.of("d1").gossip.on("links", ({ origin }) => void (told += Number(origin === world.of("a1").host.nodeId)));
    await world.clock.advanceMs(5_000);
    told = 0;
    world.measure("a1", "b1", 5);
    await world.clock.advanceMs(60_000);
    world.measure("a1", "c1", 5);
    await world.clock.advanceMs(50_000);
    assert.equal(told, 0);
    await world.clock.advanceMs(20_000);
    assert.equal(told, 1, "both at once");
    world.measure("a1", "b1", 60);
    world.measure("a1", "c1", 60);
    await world.clock.advanceMs(20_000);
    assert.equal(told, 2, "worse ones are not waited with");
    world.measure("a1", "b1", 5);
    await world.clock.advanceMs(15_000);
    world.measure("a1", "d1", 110);
    await world.clock.advanceMs(15_000);
    assert.equal(told, 3, "and better ones go with them");
  });

  it("never leads through a node that does not pass on, and still reaches it", async () => {
    using world = new RoutingWorld(SITES, { idle: "b1" });
    await world.clock.advanceMs(3_000);
    assert.equal(world.way("a1", "c2"), "a1 d1 c1 c2 else none");
    assert.equal(world.way("d1", "b1"), "d1 a1 b1 else d1 c1 b1");
  });

  it("does not believe a node that tells of a link which the other end does not have", async () => {
    using world = new RoutingWorld({ ...SITES, "a1-e1": 1 });
    await world.clock.advanceMs(3_000);
    assert.match(world.way("a1", "c2"), /^a1 b1 c1 c2/u);
    const { gossip } = world.of("e1");
    const free = { latency: 0, loss: 0, load: 0, money: 0, penalty: 0 };
    const links = new Map(["c2", "a1"].map((name) => [world.of(name).host.nodeId, free]));
    gossip.publish(LINKS_TOPIC, writeAdvertisement({ transit: true, links }));
    await world.clock.advanceMs(NEWS_MS);
    assert.equal(world.way("a1", "c2"), "a1 b1 c1 c2 else a1 d1 c1 c2");
  });

  it("takes what makes no sense for no links", async () => {
    using world = new RoutingWorld(SITES);
    await world.clock.advanceMs(3_000);
    world.of("b1").gossip.publish(LINKS_TOPIC, { transit: true, links: [["nobody", -1]] });
    await world.clock.advanceMs(NEWS_MS);
    assert.equal(world.way("d1", "b1"), "none");
    assert.equal(world.way("a1", "b1"), "a1 b1 else none", "its neighbours see that it is there");
  });

  it("reaches a neighbour that has not told of its links yet, and nobody over it", async () => {
    using world = new RoutingWorld({ "a1-b1": 1 });
    assert.equal(world.way("a1", "b1"), "a1 b1 else none");
    world.cut("a1", "b1");
    assert.equal(world.way("a1", "b1"), "none");
  });

  it("forgets the links of a node that is a member no longer", async () => {
    using world = new RoutingWorld(SITES);
    await world.clock.advanceMs(3_000);
    world.revoked.add(world.of("b1").host.nodeId);
    assert.equal(world.way("a1", "c2"), "a1 d1 c1 c2 else none");
  });

  it("leaves a silent neighbour's link at once, before it is given up", async () => {
    using world = new RoutingWorld(SITES);
    await world.clock.advanceMs(3_000);
    const { host } = world.of("a1");
    Object.assign(host.session(world.of("b1").host.nodeId) as object, { suspect: () => true });
    assert.equal(world.way("a1", "c2"), "a1 d1 c1 c2 else none");
    assert.match(world.way("d1", "b1"), /^d1 a1 b1/u, "others are not told yet");
  });
});

describe("routing while links and nodes come and go", function () {
  this.timeout(120_000);

  it("finds a way wherever there is one, and never goes over what is gone (seed 1)", async () => {
    const [scenario] = choose(SCENARIOS, "routing/faults");
    assert.ok(scenario);
    const { failures, replay } = await runScenario(scenario, 1);
    assert.deepEqual(failures, [], replay);
  });

  for (const name of ["routing/jitter", "routing/flap"]) {
    it(`keeps circuits where they are: ${name} (seed 1)`, async () => {
      const [scenario] = choose(SCENARIOS, name);
      assert.ok(scenario);
      const { failures, replay } = await runScenario(scenario, 1);
      assert.deepEqual(failures, [], replay);
    });
  }
});
