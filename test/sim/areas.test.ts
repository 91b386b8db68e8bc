import assert from "node:assert/strict";
import { NO_POLICY } from "../../src/routing/link-policy.ts";
import { RoutingWorld } from "../support/routing-world.ts";

const BY_SITE = { ...NO_POLICY, areas: "site" as const };
/** Two ways from site a to c, through b and over slower links through d. In each of the three a node that no other site has a link to. */
const SITES = {
  "a1-a2": 1,
  "a2-a3": 1,
  "a1-a3": 1,
  "b1-b2": 1,
  "b2-b3": 1,
  "b1-b3": 1,
  "c1-c2": 1,
  "c2-c3": 1,
  "c1-c3": 1,
  "a1-b1": 20,
  "b2-c1": 20,
  "a2-d1": 80,
  "d1-c2": 80,
};
/** All is told, also what waits for others to be told first. */
const SETTLED_MS = 30_000;
const NEWS_MS = 500;

describe("routing with areas", () => {
  it("goes through other sites, whose links are not known, and to nodes behind their borders", async () => {
    using world = new RoutingWorld(SITES, { policy: BY_SITE });
    await world.clock.advanceMs(SETTLED_MS);
    assert.equal(world.way("a3", "c3"), "a3 a1 b1 b2 c1 c3 else a3 a2 d1 c2 c3");
    assert.equal(world.way("a3", "b3"), "a3 a1 b1 b3 else a3 a2 d1 c2 c1 b2 b3");
    assert.equal(world.way("a3", "a2"), "a3 a2 else a3 a1 a2");
    const { router } = world.of("a3");
    assert.equal(router.routes().length, 9);
    const route = router.route(world.of("c3").host.nodeId);
    assert.deepEqual(
      route?.legs.map(({ terms }) => terms !== undefined),
      [true, true, false, true, false],
    );
    assert.equal(router.costAlong(route?.legs.map(({ to }) => to) ?? []), route?.cost);
    assert.equal(router.map().get(world.of("b3").host.nodeId)?.links.size, 0);
  });

  it("goes another way when a border dies, and when a link between sites goes", async () => {
    using world = new RoutingWorld(SITES, { policy: BY_SITE });
    await world.clock.advanceMs(SETTLED_MS);
    world.cut("b2", "c1");
    await world.clock.advanceMs(NEWS_MS);
    assert.equal(world.way("a3", "c3"), "a3 a2 d1 c2 c3 else a3 a1 a2 d1 c2 c3");
    world.link("b2", "c1", 20);
    await world.clock.advanceMs(300_000);
    assert.equal(world.way("a3", "c3"), "a3 a1 b1 b2 c1 c3 else a3 a2 d1 c2 c3");
    for (const peer of ["b2", "b3", "a1"]) world.cut("b1", peer);
    await world.clock.advanceMs(NEWS_MS);
    assert.equal(world.way("a3", "b3"), "a3 a2 d1 c2 c1 b2 b3 else a3 a1 a2 d1 c2 c1 b2 b3");
  });

  it("knows that a node elsewhere is gone", async () => {
    using world = new RoutingWorld(SITES, { policy: BY_SITE });
    await world.clock.advanceMs(SETTLED_MS);
    for (const peer of ["c1", "c2"]) world.cut("c3", peer);
    await world.clock.advanceMs(NEWS_MS);
    assert.equal(world.way("a3", "c3"), "none");
    world.link("c3", "c2", 1);
    await world.clock.advanceMs(SETTLED_MS);
    assert.equal(world.way("a3", "c3"), "a3 a1 b1 b2 c1 c3 else a3 a2 d1 c2 c3");
  });

  it("reaches each part of a site that fell apart over a border of that part, also from the other part", async () => {
    using world = new RoutingWorld(SITES, { policy: BY_SITE });
    await world.clock.advanceMs(SETTLED_MS);
    for (const peer of ["c1", "c3"]) world.cut("c2", peer);
    await world.clock.advanceMs(NEWS_MS);
    assert.equal(world.way("a3", "c2"), "a3 a2 d1 c2 else a3 a1 a2 d1 c2");
    assert.equal(world.way("a3", "c3"), "a3 a1 b1 b2 c1 c3 else a3 a2 a1 b1 b2 c1 c3");
    assert.equal(world.way("c3", "c2"), "c3 c1 b2 b1 a1 a2 d1 c2 else none");
  });

  it("does not lead through a site that fell apart between the borders", async () => {
    using world = new RoutingWorld(SITES, { policy: BY_SITE });
    await world.clock.advanceMs(SETTLED_MS);
    world.cut("b1", "b2");
    world.cut("b2", "b3");
    await world.clock.advanceMs(NEWS_MS);
    assert.equal(world.way("a3", "c3"), "a3 a2 d1 c2 c3 else a3 a1 a2 d1 c2 c3");
  });

  it("takes up areas while it runs, and gives them up", async () => {
    using world = new RoutingWorld(SITES);
    await world.clock.advanceMs(SETTLED_MS);
    const strict = "a3 a1 b1 b2 c1 c3 else a3 a2 d1 c2 c3";
    assert.equal(world.way("a3", "c3"), strict);
    world.policy = BY_SITE;
    await world.clock.advanceMs(SETTLED_MS);
    assert.equal(world.way("a3", "c3"), strict);
    const known = (): number | undefined => world.of("a3").router.map().get(world.of("c3").host.nodeId)?.links.size;
    assert.equal(known(), 0);
    world.policy = NO_POLICY;
    await world.clock.advanceMs(SETTLED_MS);
    assert.equal(world.way("a3", "c3"), strict);
    assert.equal(known(), 2);
  });

  it("takes who carries nothing for a border only where nobody else leads to it", async () => {
    using world = new RoutingWorld(
      { "a1-b1": 20, "b1-b2": 1, "b2-a1": 30, "c1-a1": 40 },
      { idle: "b2 c1", policy: BY_SITE },
    );
    await world.clock.advanceMs(SETTLED_MS);
    const known = world.of("c1").router.map();
    const borders = ["a1", "b1", "b2"].filter((name) => known.get(world.of(name).host.nodeId)?.transit === true);
    assert.deepEqual(borders, ["a1", "b1"]);
    assert.equal(world.way("b1", "c1"), "b1 a1 c1 else none");
    assert.equal(world.way("c1", "b2"), "c1 a1 b1 b2 else none");
  });
});
