import assert from "node:assert/strict";
import type { NodeId } from "#identity";
import { type ContactView, Contacts, SMALL_SITE } from "../../src/artifacts/swarm/contacts.ts";
import { leaderWeight } from "../../src/artifacts/swarm/leaders.ts";

const ROOT = "ab".repeat(32);

/** Nodes of several sites that all know of each other, and whose links are what their plans say. */
class World {
  readonly sites = new Map<NodeId, string>();
  readonly nodes = new Map<NodeId, Contacts>();
  readonly dead = new Set<NodeId>();
  readonly #links = new Map<NodeId, Set<NodeId>>();

  constructor(sizes: Readonly<Record<string, number>>) {
    for (const [site, size] of Object.entries(sizes)) {
      for (let i = 0; i < size; i++) this.sites.set(`${site}-${i}`, site);
    }
    for (const id of this.sites.keys()) {
      this.nodes.set(id, new Contacts(ROOT, id));
      this.#links.set(id, new Set());
    }
    for (const [id, contacts] of this.nodes)
      for (const other of this.sites.keys()) if (other !== id) contacts.add(other);
  }

  linksOf(id: NodeId): NodeId[] {
    return [...(this.#links.get(id) ?? [])];
  }

  viewOf(id: NodeId): ContactView {
    const ownSite = this.siteOf(id);
    return {
      ownSite,
      siteOf: (peer) => this.sites.get(peer),
      isLinked: (peer) => this.linksOf(id).includes(peer),
      isIdle: () => true,
      reaching: (site) =>
        this.linksOf(id).filter(
          (peer) => this.siteOf(peer) === ownSite && this.linksOf(peer).some((far) => this.siteOf(far) === site),
        ),
    };
  }

  siteOf(id: NodeId): string {
    return this.sites.get(id) ?? "";
  }

  link(a: NodeId, b: NodeId): void {
    this.#links.get(a)?.add(b);
    this.#links.get(b)?.add(a);
  }

  part(a: NodeId, b: NodeId): void {
    this.#links.get(a)?.delete(b);
    this.#links.get(b)?.delete(a);
  }

  kill(id: NodeId, nowMs: number): void {
    this.dead.add(id);
    for (const peer of this.linksOf(id)) {
      this.part(id, peer);
      this.nodes.get(peer)?.failed(id, nowMs);
    }
  }

  /** Everybody's plan once a second. */
  run(fromMs: number, toMs: number): void {
    for (let nowMs = fromMs; nowMs < toMs; nowMs += 1_000) {
      for (const [id, contacts] of this.nodes) {
        if (this.dead.has(id)) continue;
        const { join, leave } = contacts.plan(this.viewOf(id), nowMs);
        for (const peer of join) {
          if (this.dead.has(peer)) contacts.failed(peer, nowMs);
          else this.link(id, peer);
        }
        for (const peer of leave) this.part(id, peer);
      }
    }
  }

  /** Links between the members of two sites. */
  between(a: string, b: string): number {
    const members = [...this.sites].filter(([, site]) => site === a).map(([id]) => id);
    return members.reduce((sum, id) => sum + this.linksOf(id).filter((peer) => this.siteOf(peer) === b).length, 0);
  }

  /** By falling weight. */
  envoysOf(site: string, to: string): NodeId[] {
    const members = [...this.sites].filter(([, its]) => its === site).map(([id]) => id);
    return members.toSorted((a, b) => leaderWeight(ROOT, b, to) - leaderWeight(ROOT, a, to));
  }

  pieces(): number {
    const left = new Set([...this.nodes.keys()].filter((id) => !this.dead.has(id)));
    let pieces = 0;
    for (const first of left) {
      pieces += 1;
      const reached = [first];
      left.delete(first);
      for (const id of reached) for (const peer of this.linksOf(id)) if (left.delete(peer)) reached.push(peer);
    }
    return pieces;
  }
}

describe("contacts of a swarm", () => {
  it("link every member of a small site with every other, and two sites by their envoys only", () => {
    const world = new World({ a: 10, b: 10, c: 10, d: 10 });
    world.run(0, 15_000);
    const [first, second] = [world.envoysOf("a", "b").slice(0, 2), world.envoysOf("b", "a").slice(0, 2)];
    assert.equal(world.between("a", "b"), 4);
    for (const envoy of first) for (const peer of second) assert.ok(world.linksOf(envoy).includes(peer));
    for (const id of world.nodes.keys()) {
      const near = world.linksOf(id).filter((peer) => world.siteOf(peer) === world.siteOf(id));
      assert.equal(near.length, 9, id);
    }
    assert.ok(Math.max(...[...world.nodes.keys()].map((id) => world.linksOf(id).length)) <= 9 + 3 * 2);
  });

  it("give up what links to other sites they need not have, once the envoys have theirs", () => {
    const world = new World({ a: 6, b: 6 });
    for (const id of world.sites.keys()) for (const peer of world.sites.keys()) if (id < peer) world.link(id, peer);
    world.run(0, 3_000);
    assert.equal(world.between("a", "b"), 36, "not at once");
    world.run(3_000, 6_000);
    assert.equal(world.between("a", "b"), 4);
  });

  it("keep a link that is in use", () => {
    const world = new World({ a: 6, b: 2 });
    const last = world.envoysOf("a", "b").at(-1) ?? "";
    for (const id of world.sites.keys()) for (const peer of world.sites.keys()) if (id < peer) world.link(id, peer);
    const view = { ...world.viewOf(last), isIdle: (peer: NodeId) => peer !== "b-0" };
    const contacts = world.nodes.get(last);
    contacts?.plan(view, 0);
    assert.deepEqual(contacts?.plan(view, 4_000).leave, ["b-1"]);
  });

  it("find the next envoys when those die, and stay in one piece", () => {
    const world = new World({ a: 5, b: 5 });
    world.run(0, 10_000);
    for (const envoy of world.envoysOf("a", "b").slice(0, 2)) world.kill(envoy, 10_000);
    assert.equal(world.between("a", "b"), 0);
    world.run(10_000, 25_000);
    assert.equal(world.between("a", "b"), 4);
    assert.equal(world.pieces(), 1);
  });

  it("go on to those who can be reached where the envoys cannot", () => {
    const world = new World({ a: 1, b: 5 });
    const [first = "", second = "", third = ""] = world.envoysOf("b", "a");
    const contacts = world.nodes.get("a-0");
    const view = world.viewOf("a-0");
    const isFar = (peer: NodeId): boolean => peer !== "a-0" && world.siteOf(peer) === "b";
    assert.deepEqual(contacts?.plan(view, 0).join.filter(isFar), [first, second]);
    contacts?.failed(first, 100);
    contacts?.failed(second, 100);
    assert.equal(contacts?.plan(view, 200).join.filter(isFar)[0], third);
    assert.deepEqual(contacts?.plan(view, 6_000).join.filter(isFar), [first, second], "after a while again");
  });

  it("let the envoys go first", () => {
    const world = new World({ a: 9, b: 1 });
    const byRank = world.envoysOf("a", "b");
    const dueAfter = (id: NodeId): number => {
      for (let nowMs = 0; ; nowMs += 500) {
        if (world.nodes.get(id)?.plan(world.viewOf(id), nowMs).join.includes("b-0") === true) return nowMs;
      }
    };
    assert.deepEqual(byRank.map(dueAfter), [0, 0, 2_000, 2_000, 4_000, 4_000, 6_000, 6_000, 8_000]);
  });

  it("link a large site at random, in one piece and of bounded degree, and its envoys with each other", () => {
    const world = new World({ a: 200, b: 3, c: 3, d: 3 });
    world.run(0, 15_000);
    const degrees = [...world.nodes.keys()].map((id) => world.linksOf(id).length);
    assert.ok(Math.max(...degrees) <= 2 * SMALL_SITE);
    assert.equal(world.pieces(), 1);
    const [b = "", c = ""] = [world.envoysOf("a", "b")[0], world.envoysOf("a", "c")[0]];
    if (b !== c) assert.ok(world.linksOf(b).includes(c));
    let killed = 0;
    for (const id of world.nodes.keys()) if (killed++ % 2 === 1) world.kill(id, 15_000);
    assert.ok(world.pieces() <= 1 + 3, "after half of them died, with no new link");
  });

  it("remember a bounded number, and forget who cannot be reached again and again", () => {
    const contacts = new Contacts(ROOT, "self");
    for (let i = 0; i < 2_000; i++) contacts.add(`node-${i}`);
    assert.equal(contacts.has("node-511"), true);
    assert.equal(contacts.has("node-512"), false);
    for (let i = 0; i < 6; i++) contacts.failed("node-0", i);
    assert.equal(contacts.has("node-0"), false);
    contacts.add("node-512");
    assert.equal(contacts.has("node-512"), true);
  });
});
