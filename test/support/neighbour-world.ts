import type { Clock, Random } from "#core";
import type { NeighbourEffect, NeighbourEvent } from "../../src/mesh/neighbour-event.ts";
import { type NeighbourOptions, Neighbours } from "../../src/mesh/neighbours.ts";
import type { RememberedPeer } from "../../src/mesh/address-book.ts";

/** One way, inside a site and between two. */
const NEAR_MS = 1;
const FAR_MS = 30;
/** What a dial into nothing, and a link that went silent, take to notice. */
const SILENCE_MS = 5_000;
/** The daemon looks this long after news, and this often without. */
const GATHER_MS = 100;
const LOOK_MS = 1_000;

type Task = { atMs: number; order: number; run: () => void };

class WorldClock implements Clock {
  timeMs = 0;
  nowMs(): number {
    return this.timeMs;
  }
  wallMs(): number {
    return 1_800_000_000_000 + this.timeMs;
  }
  sleep(): Promise<void> {
    return Promise.reject(new Error("the core does not sleep"));
  }
}

class SimNode {
  readonly id: string;
  readonly site: string;
  core: Neighbours | undefined;
  remembered: RememberedPeer[] = [];
  /** Open links: the peer, and the number of the link, which a later one to the same peer does not share. */
  readonly links = new Map<string, number>();
  life = 0;
  lookAtMs = Number.POSITIVE_INFINITY;

  constructor(id: string, site: string) {
    this.id = id;
    this.site = site;
  }
}

/** Many nodes in sites, each with the core that decides on its neighbours, over a network that can be cut. Virtual time, one seed. */
export class NeighbourWorld {
  readonly #clock = new WorldClock();
  readonly #random: Random;
  readonly #options: Partial<NeighbourOptions>;
  readonly #nodes: SimNode[];
  readonly #byId: ReadonlyMap<string, SimNode>;
  readonly #tasks: Task[] = [];
  #order = 0;
  #links = 0;
  #hub: string | undefined;
  #cut: (site: string) => number = () => 0;
  /** Session messages sent, dials made, links given up, and the most links that any node ever had. */
  readonly counts = { messages: 0, messageBytes: 0, dials: 0, parted: 0, maxDegree: 0 };

  constructor(siteSizes: readonly number[], random: Random, options: Partial<NeighbourOptions> = {}) {
    this.#random = random;
    this.#options = options;
    this.#nodes = siteSizes.flatMap((size, site) =>
      Array.from({ length: size }, (_, i) => new SimNode(`n${site}-${i}`, `site${site}`)),
    );
    this.#byId = new Map(this.#nodes.map((node) => [node.id, node]));
  }

  get nowMs(): number {
    return this.#clock.timeMs;
  }

  get ids(): string[] {
    return this.#nodes.map(({ id }) => id);
  }

  get live(): string[] {
    return this.#nodes.filter(({ core }) => core !== undefined).map(({ id }) => id);
  }

  degreeOf(id: string): number {
    return this.#node(id).links.size;
  }

  /** A process starts, with what it remembers and one address from its token. */
  start(id: string, seed: string): void {
    const node = this.#node(id);
    if (node.core !== undefined) return;
    node.life += 1;
    node.core = new Neighbours(
      {
        self: id,
        clock: this.#clock,
        random: this.#random,
        ownSite: () => node.site,
        siteOf: () => undefined,
        seeds: () => (seed === id ? [] : [addressOf(seed)]),
        isBusy: () => false,
        readAddress: (text) => text.slice(text.lastIndexOf("/") + 1),
      },
      this.#options,
    );
    node.core.book.recall(node.remembered);
    node.lookAtMs = Number.POSITIVE_INFINITY;
    this.#lookAt(node, this.#clock.timeMs + this.#random.unit() * LOOK_MS);
  }

  /** kill -9: the others notice when probes go unanswered. */
  kill(id: string): void {
    const node = this.#node(id);
    node.remembered = node.core?.book.remembered() ?? [];
    node.core = undefined;
    for (const [peer, link] of node.links) this.#breakLater(this.#node(peer), node, link);
    node.links.clear();
  }

  /** From now on sites of different halves do not reach each other. */
  cut(halfOf: (site: string) => number): void {
    this.#cut = halfOf;
    for (const node of this.#nodes) {
      for (const [peer, link] of node.links) {
        if (!this.#reaches(node, this.#node(peer))) this.#breakLater(node, this.#node(peer), link);
      }
    }
  }

  heal(): void {
    this.#cut = () => 0;
  }

  /** All others stand behind address translation: they dial, and nobody reaches them. */
  onlyReachable(id: string): void {
    this.#hub = id;
  }

  /** Sizes of the connected components among live nodes, the largest first. */
  components(): number[] {
    const left = new Set(this.live);
    const sizes: number[] = [];
    for (const first of left) {
      left.delete(first);
      const reached = [first];
      for (const id of reached) {
        for (const peer of this.#node(id).links.keys()) if (left.delete(peer)) reached.push(peer);
      }
      sizes.push(reached.length);
    }
    return sizes.toSorted((a, b) => b - a);
  }

  advanceMs(ms: number): void {
    const endMs = this.#clock.timeMs + ms;
    for (let task = this.#tasks[0]; task !== undefined && task.atMs <= endMs; task = this.#tasks[0]) {
      this.#pop();
      this.#clock.timeMs = task.atMs;
      task.run();
    }
    this.#clock.timeMs = endMs;
  }

  /** Milliseconds until the live nodes are in one piece; Infinity if that takes longer than `mostMs`. */
  untilWhole(mostMs: number, pieces = 1): number {
    const startMs = this.#clock.timeMs;
    while (this.components().length !== pieces) {
      if (this.#clock.timeMs - startMs >= mostMs) return Number.POSITIVE_INFINITY;
      this.advanceMs(1_000);
    }
    return this.#clock.timeMs - startMs;
  }

  #node(id: string): SimNode {
    const node = this.#byId.get(id);
    if (node === undefined) throw new RangeError(`no node ${id}`);
    return node;
  }

  #reaches(a: SimNode, b: SimNode): boolean {
    return a.core !== undefined && b.core !== undefined && this.#cut(a.site) === this.#cut(b.site);
  }

  #step(node: SimNode, event: NeighbourEvent): void {
    for (const effect of node.core?.step(event) ?? []) this.#carryOut(node, effect);
  }

  #carryOut(node: SimNode, effect: NeighbourEffect): void {
    switch (effect.type) {
      case "dial":
        return this.#dial(node, this.#node(effect.peer));
      case "part": {
        this.counts.parted += 1;
        const peer = this.#node(effect.peer);
        this.#send(node, peer, { type: "parted", from: node.id }, 20);
        node.links.delete(peer.id);
        return;
      }
      case "tell":
        return this.#send(
          node,
          this.#node(effect.to),
          { type: "told", from: node.id, peers: effect.peers },
          110 * effect.peers.length,
        );
      case "degree":
        return this.#send(node, this.#node(effect.to), { type: "degree", from: node.id, degree: effect.degree }, 20);
    }
  }

  #send(from: SimNode, to: SimNode, event: NeighbourEvent, bytes: number): void {
    const link = from.links.get(to.id);
    if (link === undefined) return;
    this.counts.messages += 1;
    this.counts.messageBytes += bytes;
    this.#after(delayMs(from, to), () => {
      if (to.links.get(from.id) !== link || !this.#reaches(from, to)) return;
      this.#step(to, event);
      if (event.type === "parted") to.links.delete(from.id);
      if (event.type === "told") this.#lookAt(to, this.#clock.timeMs + GATHER_MS);
    });
  }

  /** TCP, TLS and hello: three round trips. */
  #dial(from: SimNode, to: SimNode): void {
    this.counts.dials += 1;
    const { life } = from;
    const settle = (event: NeighbourEvent): void => {
      if (from.life === life) this.#step(from, event);
    };
    if (!this.#reaches(from, to) || (this.#hub !== undefined && to.id !== this.#hub)) {
      const refusedMs =
        to.core === undefined && this.#cut(from.site) === this.#cut(to.site) ? 2 * delayMs(from, to) : SILENCE_MS;
      this.#after(refusedMs, () => settle({ type: "dialled", peer: to.id, failure: "unreachable" }));
      return;
    }
    this.#after(6 * delayMs(from, to), () => {
      if (from.life !== life || !this.#reaches(from, to))
        return settle({ type: "dialled", peer: to.id, failure: "unreachable" });
      const stale = to.links.get(from.id);
      if (stale !== from.links.get(to.id) && stale !== undefined) this.#break(to, from, stale); // it has restarted meanwhile
      if (!from.links.has(to.id)) {
        this.#links += 1;
        from.links.set(to.id, this.#links);
        to.links.set(from.id, this.#links);
        this.#up(from, to);
        this.#up(to, from);
      }
      settle({ type: "dialled", peer: to.id });
    });
  }

  #up(node: SimNode, peer: SimNode): void {
    this.#step(node, { type: "up", peer: peer.id, site: peer.site, addresses: [addressOf(peer.id)] });
    this.counts.maxDegree = Math.max(this.counts.maxDegree, node.links.size);
    this.#lookAt(node, this.#clock.timeMs + GATHER_MS);
  }

  #breakLater(node: SimNode, peer: SimNode, link: number): void {
    this.#after(SILENCE_MS * (0.6 + this.#random.unit() * 0.4), () => this.#break(node, peer, link));
  }

  #break(node: SimNode, peer: SimNode, link: number): void {
    if (node.links.get(peer.id) !== link) return;
    node.links.delete(peer.id);
    this.#step(node, { type: "down", peer: peer.id });
  }

  #lookAt(node: SimNode, atMs: number): void {
    if (node.lookAtMs <= atMs && node.lookAtMs > this.#clock.timeMs) return;
    node.lookAtMs = atMs;
    const { life } = node;
    this.#after(atMs - this.#clock.timeMs, () => {
      if (node.life !== life || node.lookAtMs !== atMs || node.core === undefined) return;
      this.#step(node, { type: "look" });
      node.lookAtMs = Number.POSITIVE_INFINITY;
      this.#lookAt(node, this.#clock.timeMs + LOOK_MS);
    });
  }

  #after(ms: number, run: () => void): void {
    this.#order += 1;
    const task = { atMs: this.#clock.timeMs + ms, order: this.#order, run };
    this.#tasks.push(task);
    let at = this.#tasks.length - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(task, this.#tasks[parent] as Task)) break;
      this.#tasks[at] = this.#tasks[parent] as Task;
      at = parent;
    }
    this.#tasks[at] = task;
  }

  #pop(): void {
    const last = this.#tasks.pop();
    if (last === undefined || this.#tasks.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#tasks.length) break;
      const right = this.#tasks[child + 1];
      if (right !== undefined && isBefore(right, this.#tasks[child] as Task)) child += 1;
      if (!isBefore(this.#tasks[child] as Task, last)) break;
      this.#tasks[at] = this.#tasks[child] as Task;
      at = child;
    }
    this.#tasks[at] = last;
  }
}

const addressOf = (id: string): string => `/sim/${id}`;

function delayMs(a: SimNode, b: SimNode): number {
  return a.site === b.site ? NEAR_MS : FAR_MS;
}

function isBefore(a: Task, b: Task): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
