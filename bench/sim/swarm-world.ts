import { chunkBytesFor, leaderWeight, Swarm, type SwarmEffect, type SwarmEvent } from "#artifacts";
import { type Random, SeededRandom, SystemClock } from "#core";

/** One run: what is moved, over which links, and what goes wrong. Rates in bits per second. */
export type WorldOptions = {
  seed: number;
  sizeBytes: number;
  sites: number;
  nodesPerSite: number;
  uplinkBps: number;
  /** Default: as the uplink. */
  downlinkBps?: number;
  wanBps: number;
  /** Uplinks of 10, 20, 50 and 100 Mbit/s in turn; downlinks 100. */
  mixed?: boolean;
  /** Share of the leechers that dies at a random moment of the middle of the run. */
  dyingRatio?: number;
  /** The leader of every second site dies in the middle of the run. */
  leadersDie?: boolean;
  /** Share of the leechers that say they have all and send wrong bytes. */
  liarRatio?: number;
  chunkBytes?: number;
};

export type WorldResult = {
  /** Last honest, surviving leecher ÷ fluid bound. */
  ratio: number;
  boundS: number;
  unfinished: number;
  /** Copies that came into the worst site over its WAN link. */
  wanCopies: number;
  /** Cells that arrived for nothing ÷ all useful ones. */
  duplicateRatio: number;
  liarsNamed: number;
  liars: number;
  /** Real time of the scheduler ÷ chunks finished, in microseconds. */
  decisionUs: number;
};

type Link = { bps: number; freeMs: number };
type Node = {
  id: string;
  site: number;
  swarm: Swarm;
  up: Link;
  down: Link;
  alive: boolean;
  liar: boolean;
  doneMs: number | undefined;
  blamed: Set<string>;
  /** When it asked to be pumped. */
  wakeMs: number;
};
type Send = SwarmEffect & { type: "send" };

const LAN_MS = 0.5;
/** A node's own time from a packet to its answer. */
const ANSWER_MS = 1;
/** How long a broken connection goes unnoticed. */
const DETECT_MS = 2_000;
const TICK_MS = 100;
const UNLIMITED = {
  lanBytes: Number.POSITIVE_INFINITY,
  wanBytes: Number.POSITIVE_INFINITY,
  lanInBytes: Number.POSITIVE_INFINITY,
  wanInBytes: Number.POSITIVE_INFINITY,
};

/** Many nodes with the production scheduler on virtual time: links with a rate and a queue, stale views, faults. */
export class SwarmWorld {
  readonly #options: WorldOptions;
  readonly #random: Random;
  readonly #nodes: Node[] = [];
  readonly #wan: { up: Link; down: Link; inBytes: number }[];
  readonly #delayMs: number[][];
  readonly #queue = new EventQueue();
  readonly #machine = new SystemClock();
  readonly #chunkBytes: number;
  #nowMs = 0;
  #duplicateBytes = 0;
  #goodBytes = 0;
  #finished = 0;
  #stepMs = 0;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    this.#chunkBytes = options.chunkBytes ?? chunkBytesFor(options.sizeBytes);
    const link = (bps: number): Link => ({ bps, freeMs: 0 });
    this.#wan = Array.from({ length: options.sites }, () => ({
      up: link(options.wanBps),
      down: link(options.wanBps),
      inBytes: 0,
    }));
    this.#delayMs = this.#wan.map(() => this.#wan.map(() => 15 + 45 * this.#random.unit()));
    for (let i = 0; i < options.sites * options.nodesPerSite; i++) this.#addNode(i);
    this.#planFaults();
  }

  #addNode(index: number): void {
    const { mixed, uplinkBps, downlinkBps, seed } = this.#options;
    const rates = [10e6, 20e6, 50e6, 100e6];
    const up = mixed && index > 0 ? (rates[(index - 1) % 4] ?? 0) : uplinkBps;
    const down = mixed ? 100e6 : (downlinkBps ?? uplinkBps);
    const id = `node-${String(index).padStart(4, "0")}`;
    const site = Math.floor(index / this.#options.nodesPerSite);
    const swarm = new Swarm({
      ref: this.#ref(),
      self: id,
      site: `site-${site}`,
      random: new SeededRandom(seed * 1_000 + index),
      wants: index > 0,
      nowMs: 0,
    });
    this.#nodes.push({
      id,
      site,
      swarm,
      up: { bps: up, freeMs: 0 },
      down: { bps: down, freeMs: 0 },
      alive: true,
      liar: false,
      doneMs: undefined,
      blamed: new Set(),
      wakeMs: Number.POSITIVE_INFINITY,
    });
  }

  #ref(): { root: string; sizeBytes: number; chunkBytes: number } {
    return { root: `root-${this.#options.seed}`, sizeBytes: this.#options.sizeBytes, chunkBytes: this.#chunkBytes };
  }

  /** The fluid bound: nobody can be faster than the slowest of what every copy has to pass. */
  boundMs(): number {
    const { sizeBytes, sites, wanBps } = this.#options;
    const bits = sizeBytes * 8;
    const [seed, ...leechers] = this.#nodes;
    if (seed === undefined) return 0;
    const all = this.#nodes.reduce((sum, node) => sum + node.up.bps, 0);
    const slowest = Math.min(...leechers.map((node) => node.down.bps));
    const bounds = [bits / seed.up.bps, bits / slowest, (leechers.length * bits) / all];
    if (sites > 1) bounds.push(bits / wanBps);
    return Math.max(...bounds) * 1_000;
  }

  #planFaults(): void {
    const { dyingRatio = 0, liarRatio = 0, leadersDie } = this.#options;
    const leechers = this.#nodes.slice(1).toSorted(() => this.#random.unit() - 0.5);
    const bound = this.boundMs();
    for (const node of leechers.splice(0, Math.round(liarRatio * leechers.length))) node.liar = true;
    for (const node of leechers.splice(0, Math.round(dyingRatio * leechers.length))) {
      this.#at(bound * (0.05 + 0.9 * this.#random.unit()), () => this.#kill(node));
    }
    if (!leadersDie) return;
    for (let site = 1; site < this.#options.sites; site += 2) {
      const members = this.#nodes.filter((node) => node.site === site);
      const weight = (node: Node): number => leaderWeight(this.#ref().root, node.id);
      const leader = members.toSorted((a, b) => weight(b) - weight(a))[0];
      if (leader) this.#at(bound * (0.2 + 0.6 * this.#random.unit()), () => this.#kill(leader));
    }
  }

  /** Runs until every honest survivor has all, or 8 × the bound has passed. */
  run(): WorldResult {
    this.#start();
    const endMs = this.boundMs() * 8;
    for (let event = this.#queue.take(); event !== undefined; event = this.#queue.take()) {
      this.#nowMs = event.atMs;
      if (this.#nowMs > endMs) break;
      event.run();
      if (this.#survivors().every((node) => node.doneMs !== undefined)) break;
    }
    return this.#result();
  }

  #start(): void {
    const { chunkCount } = { chunkCount: Math.ceil(this.#options.sizeBytes / this.#chunkBytes) };
    for (const [index, node] of this.#nodes.entries()) {
      if (index === 0) for (let chunk = 0; chunk < chunkCount; chunk++) this.#step(node, { type: "stored", chunk });
      for (const other of this.#nodes) {
        if (other === node) continue;
        const wants = other !== this.#nodes[0];
        const status = { wants, yields: false, foreground: false, reach: [] };
        this.#at(1, () => this.#step(node, { type: "peer-up", peer: other.id, site: `site-${other.site}`, status }));
      }
      this.#at(1 + 5 * this.#random.unit(), () => this.#step(node, { type: "begin" }));
      if (node.liar) this.#at(10, () => this.#lie(node, chunkCount));
      this.#every(TICK_MS, this.#random.unit() * TICK_MS, () => {
        if (node.alive) this.#step(node, { type: "tick" });
      });
    }
  }

  #lie(liar: Node, chunkCount: number): void {
    for (let chunk = 0; chunk < chunkCount; chunk++) this.#step(liar, { type: "stored", chunk });
  }

  #survivors(): Node[] {
    return this.#nodes.filter((node, index) => index > 0 && node.alive && !node.liar);
  }

  #kill(node: Node): void {
    node.alive = false;
    for (const other of this.#nodes) {
      if (other !== node)
        this.#at(this.#nowMs + DETECT_MS, () => this.#step(other, { type: "peer-down", peer: node.id }));
    }
  }

  #step(node: Node, event: SwarmEvent): void {
    if (!node.alive) return;
    const startedMs = this.#machine.nowMs();
    const effects = node.swarm.step(event, this.#nowMs);
    this.#stepMs += this.#machine.nowMs() - startedMs;
    for (const effect of effects) this.#perform(node, effect);
    this.#pump(node);
  }

  #pump(node: Node): void {
    if (!node.alive) return;
    const startedMs = this.#machine.nowMs();
    const effects = node.swarm.step({ type: "pump", ...UNLIMITED }, this.#nowMs);
    this.#stepMs += this.#machine.nowMs() - startedMs;
    for (const effect of effects) this.#perform(node, effect);
  }

  #wake(node: Node, atMs: number): void {
    if (node.wakeMs <= atMs) return;
    node.wakeMs = atMs;
    this.#at(atMs, () => {
      if (node.wakeMs === atMs) node.wakeMs = Number.POSITIVE_INFINITY;
      this.#pump(node);
    });
  }

  #perform(node: Node, effect: SwarmEffect): void {
    if (effect.type === "say") {
      const to = this.#nodeOf(effect.to);
      const { message } = effect;
      this.#at(this.#nowMs + this.#lagMs(node, to), () => this.#step(to, { type: "said", peer: node.id, message }));
    } else if (effect.type === "send") {
      this.#transmit(node, this.#nodeOf(effect.to), effect);
    } else if (effect.type === "wake") {
      this.#wake(node, effect.atMs);
    } else if (effect.type === "blame") {
      node.blamed.add(effect.peer);
    } else if (effect.type === "finished") {
      this.#finished += 1;
    } else if (effect.type === "complete") {
      node.doneMs ??= this.#nowMs;
    }
  }

  /**
   * Through the sender's uplink, the WAN where it is one, and the receiver's downlink. Each link takes what comes first first, and
   * passes on packets, which are small against a cell: a link starts when the one before it does, and ends no earlier.
   */
  #transmit(from: Node, to: Node, send: Send): void {
    const source = this.#wan[from.site];
    const target = this.#wan[to.site];
    if (from.site === to.site || source === undefined || target === undefined) {
      return this.#through([from.up, to.down], [LAN_MS], send.bytes, () => this.#arrive(from, to, send));
    }
    target.inBytes += send.bytes;
    const delays = [LAN_MS, this.#latencyMs(from, to), LAN_MS];
    this.#through([from.up, source.up, target.down, to.down], delays, send.bytes, () => this.#arrive(from, to, send));
  }

  #through(links: readonly Link[], delaysMs: readonly number[], bytes: number, done: () => void, tailMs = 0): void {
    const [link, ...rest] = links;
    const [delayMs = 0, ...delays] = delaysMs;
    if (link === undefined) return done();
    const startMs = Math.max(this.#nowMs, link.freeMs);
    link.freeMs = startMs + ((bytes * 8) / link.bps) * 1_000;
    const endMs = Math.max(link.freeMs, tailMs) + delayMs;
    this.#at(rest.length === 0 ? endMs : startMs + delayMs, () => this.#through(rest, delays, bytes, done, endMs));
  }

  #arrive(from: Node, to: Node, send: Send): void {
    const ack: SwarmEvent = { type: "acked", peer: to.id, bytes: send.bytes };
    this.#at(this.#nowMs + this.#lagMs(to, from), () => this.#step(from, ack));
    if (!to.alive) return;
    if (to.swarm.expects(from.id, send.chunk) !== send.first) {
      this.#duplicateBytes += send.bytes;
    } else if (from.liar) {
      this.#step(to, { type: "fouled", peer: from.id, blame: "bad-cell" });
    } else {
      this.#goodBytes += send.bytes;
      const { chunk, first, count, bytes } = send;
      this.#step(to, { type: "cells", peer: from.id, chunk, first, count, bytes });
    }
  }

  #nodeOf(id: string): Node {
    const node = this.#nodes[Number(id.slice(5))];
    if (node === undefined) throw new Error(`no such node: ${id}`);
    return node;
  }

  #latencyMs(a: Node, b: Node): number {
    return a.site === b.site ? LAN_MS : (this.#delayMs[Math.min(a.site, b.site)]?.[Math.max(a.site, b.site)] ?? 0);
  }

  #lagMs(a: Node, b: Node): number {
    return this.#latencyMs(a, b) + ANSWER_MS;
  }

  #at(atMs: number, run: () => void): void {
    this.#queue.add(atMs, run);
  }

  #every(periodMs: number, firstMs: number, run: () => void): void {
    const again = (): void => {
      run();
      this.#at(this.#nowMs + periodMs, again);
    };
    this.#at(firstMs, again);
  }

  #result(): WorldResult {
    const survivors = this.#survivors();
    const boundMs = this.boundMs();
    const lastMs = Math.max(...survivors.map((node) => node.doneMs ?? this.#nowMs));
    const liars = this.#nodes.filter((node) => node.liar);
    const named = liars.filter((liar) => this.#nodes.some((node) => node.blamed.has(liar.id)));
    return {
      ratio: lastMs / boundMs,
      boundS: boundMs / 1_000,
      unfinished: survivors.filter((node) => node.doneMs === undefined).length,
      wanCopies: Math.max(0, ...this.#wan.slice(1).map((site) => site.inBytes / this.#options.sizeBytes)),
      duplicateRatio: this.#duplicateBytes / this.#goodBytes,
      liarsNamed: named.length,
      liars: liars.length,
      decisionUs: (this.#stepMs * 1_000) / this.#finished,
    };
  }
}

type Event = { atMs: number; order: number; run: () => void };

/** Earliest first, and among equals the one added first: a binary heap. */
class EventQueue {
  readonly #heap: Event[] = [];
  #order = 0;

  add(atMs: number, run: () => void): void {
    const event = { atMs, order: this.#order++, run };
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || before(parent, event)) break;
      heap[at] = parent;
      at = up;
    }
    heap[at] = event;
  }

  take(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      let child = heap[down];
      if (child === undefined) break;
      const right = heap[down + 1];
      if (right !== undefined && before(right, child)) {
        child = right;
        down += 1;
      }
      if (before(last, child)) break;
      heap[at] = child;
      at = down;
    }
    heap[at] = last;
    return first;
  }
}

function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
