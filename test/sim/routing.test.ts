import assert from "node:assert/strict";
import { Ed25519Key, SeededRandom, VirtualClock } from "#core";
import { nodeIdOf } from "#identity";
import { Gossip } from "#mesh";
import { type Route, Router } from "#routing";
import { NOW_MS } from "../support/fleet.ts";
import { MemoryHost } from "../support/memory-mesh.ts";

const WIRE_MS = 5;
/** From a link's end until all have worked in that it went: 20 ms until it is told, and a few hops. */
const NEWS_MS = 200;

type Node = { name: string; host: MemoryHost; gossip: Gossip; router: Router };

/** Routers over gossip in memory, on virtual time. Nodes are named after their site and a number: `a1`. */
class World implements Disposable {
  readonly clock = new VirtualClock(NOW_MS);
  readonly #random = new SeededRandom(1);
  readonly #nodes = new Map<string, Node>();
  readonly revoked = new Set<string>();

  constructor(links: Record<string, number>, { idle = "" } = {}) {
    for (const [name, rttMs] of Object.entries(links)) {
      const [a = "", b = ""] = name.split("-");
      this.#add(a, !idle.includes(a));
      this.#add(b, !idle.includes(b));
      this.link(a, b, rttMs);
    }
  }

  #add(name: string, transit: boolean): void {
    if (this.#nodes.has(name)) return;
    const { clock } = this;
    const key = new Ed25519Key(this.#random.bytes(32));
    const site = name.slice(0, 1);
    const self = nodeIdOf(key.publicKey);
    const host = new MemoryHost(self, site, (deliver) => void clock.sleep(WIRE_MS).then(deliver));
    const isMember = (node: string): boolean => !this.revoked.has(node);
    const random = new SeededRandom(this.#random.below(2 ** 31));
    const deps = { host, site: () => site, isMember, clock };
    const gossip = new Gossip({ ...deps, key, boot: 1, fleet: () => "fleet", random });
    this.#nodes.set(name, { name, host, gossip, router: new Router({ ...deps, gossip, self, transit }) });
  }

  of(name: string): Node {
    return this.#nodes.get(name) as Node;
  }

  link(a: string, b: string, rttMs: number): void {
    MemoryHost.link(this.of(a).host, this.of(b).host);
    this.measure(a, b, rttMs);
  }

  /** The round trip of a link from now on. */
  measure(a: string, b: string, rttMs: number): void {
    for (const [from, to] of [[this.of(a), this.of(b)] as const, [this.of(b), this.of(a)] as const]) {
      Object.assign(from.host.session(to.host.nodeId) as object, { rttMs: () => rttMs });
    }
  }

  cut(a: string, b: string): void {
    this.of(a).host.disconnect(this.of(b).host.nodeId, "cut");
  }

  /** The way from one to another, by names, and the way to take when it fails. */
  way(from: string, to: string): string {
    const route = this.of(from).router.route(this.of(to).host.nodeId);
    return route === undefined
      ? "none"
      : `${this.#text(route)} else ${route.backup ? this.#text(route.backup) : "none"}`;
  }

  #text({ legs }: Route): string {
    const names = new Map([...this.#nodes.values()].map(({ name, host }) => [host.nodeId, name]));
    return [names.get(legs[0]?.from ?? ""), ...legs.map(({ to }) => names.get(to))].join(" ");
  }

  [Symbol.dispose](): void {
    for (const { gossip, router } of this.#nodes.values()) {
      router[Symbol.dispose]();
      gossip[Symbol.dispose]();
    }
  }
}

/** Two ways from a to c, one quicker, and a site behind. */
const SITES = { "a1-b1": 20, "b1-c1": 20, "a1-d1": 80, "d1-c1": 80, "c1-c2": 1 };

describe("routing among nodes that gossip", () => {
  it("knows the cheapest way to everybody, and another one, within seconds", async () => {
    using world = new World(SITES);
    await world.clock.advanceMs(3_000);
    assert.equal(world.way("a1", "c2"), "a1 b1 c1 c2 else a1 d1 c1 c2");
    assert.equal(world.way("c2", "b1"), "c2 c1 b1 else c2 c1 d1 a1 b1");
    assert.equal(world.of("d1").router.routes().length, 4);
  });

  it("goes the other way as soon as a link is gone, at nodes that are not at its ends, too", async () => {
    using world = new World(SITES);
    await world.clock.advanceMs(3_000);
    world.cut("b1", "c1");
    await world.clock.advanceMs(NEWS_MS);
    assert.equal(world.way("a1", "c2"), "a1 d1 c1 c2 else none");
    world.link("b1", "c1", 20);
    await world.clock.advanceMs(300_000);
    assert.equal(world.way("a1", "c2"), "a1 b1 c1 c2 else a1 d1 c1 c2");
  });

  it("does not come back at once to a link that came and went", async () => {
    using world = new World(SITES);
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
    using world = new World({ "a1-b1": 50, "b1-c1": 50, "a1-d1": 58, "d1-c1": 58 });
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

  it("never leads through a node that does not pass on, and still reaches it", async () => {
    using world = new World(SITES, { idle: "b1" });
    await world.clock.advanceMs(3_000);
    assert.equal(world.way("a1", "c2"), "a1 d1 c1 c2 else none");
    assert.equal(world.way("d1", "b1"), "d1 a1 b1 else d1 c1 b1");
  });

  it("does not believe a node that tells of a link which the other end does not have", async () => {
    using world = new World({ ...SITES, "a1-e1": 1 });
    await world.clock.advanceMs(3_000);
    assert.match(world.way("a1", "c2"), /^a1 b1 c1 c2/u);
    const { gossip } = world.of("e1");
    const liar = [world.of("c2"), world.of("a1")].map(({ host }) => [host.nodeId, 0, 0, 0, 0]);
    gossip.publish("links", { transit: true, links: liar });
    await world.clock.advanceMs(NEWS_MS);
    assert.equal(world.way("a1", "c2"), "a1 b1 c1 c2 else a1 d1 c1 c2");
  });

  it("takes what makes no sense for no links", async () => {
    using world = new World(SITES);
    await world.clock.advanceMs(3_000);
    world.of("b1").gossip.publish("links", { transit: true, links: [["nobody", -1]] });
    await world.clock.advanceMs(NEWS_MS);
    assert.equal(world.way("d1", "b1"), "none");
    assert.equal(world.way("a1", "b1"), "a1 b1 else none", "its neighbours see that it is there");
  });

  it("reaches a neighbour that has not told of its links yet, and nobody over it", async () => {
    using world = new World({ "a1-b1": 1 });
    assert.equal(world.way("a1", "b1"), "a1 b1 else none");
    world.cut("a1", "b1");
    assert.equal(world.way("a1", "b1"), "none");
  });

  it("forgets the links of a node that is a member no longer", async () => {
    using world = new World(SITES);
    await world.clock.advanceMs(3_000);
    world.revoked.add(world.of("b1").host.nodeId);
    assert.equal(world.way("a1", "c2"), "a1 d1 c1 c2 else none");
  });

  it("leaves a silent neighbour's link at once, before it is given up", async () => {
    using world = new World(SITES);
    await world.clock.advanceMs(3_000);
    const { host } = world.of("a1");
    Object.assign(host.session(world.of("b1").host.nodeId) as object, { suspect: () => true });
    assert.equal(world.way("a1", "c2"), "a1 d1 c1 c2 else none");
    assert.match(world.way("d1", "b1"), /^d1 a1 b1/u, "others are not told yet");
  });
});
