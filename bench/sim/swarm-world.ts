import { CELL_BYTES, chunkBytesFor, type SwarmEffect, type SwarmEvent, type SwarmMessage } from "#artifacts";
import { type Random, SeededRandom } from "#core";
import { EventQueue } from "./event-queue.ts";
import { Link, Stream } from "./network.ts";
import { SwarmNode } from "./swarm-node.ts";
import { QUEUE_BYTES, Topology } from "./topology.ts";

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
  /** In every second site dies the one that imports from the first, in the middle of the run. */
  leadersDie?: boolean;
  /** Share of the leechers that say they have all and send wrong bytes. */
  liarRatio?: number;
  chunkBytes?: number;
  /**
   * What is taken away from the scheduler, to show that its checks notice. `refund`: nobody hears that a peer is gone. `veto`: every offer is accepted.
   * `verification`: wrong cells pass for good ones.
   */
  broken?: "refund" | "veto" | "verification";
};

export type WorldResult = {
  /** Last honest, surviving leecher ÷ fluid bound. */
  ratio: number;
  /** The same ÷ the bound of what is left for the blob of the links by what is said beside it, with headers. */
  roomRatio: number;
  boundS: number;
  unfinished: number;
  /** Copies that came into the worst site over its WAN link. */
  wanCopies: number;
  /** Everything that came into the worst site over its WAN link, with what is said and sent again and with headers ÷ the blob. */
  wanWire: number;
  /** Cells that arrived for nothing ÷ all useful ones. */
  duplicateRatio: number;
  /** Wrong cells that were taken for good ones. */
  wrongCells: number;
  /** Dropped at full queues ÷ all that was sent into sites and hosts. */
  lossRatio: number;
  liarsNamed: number;
  liars: number;
  /** CPU time of the scheduler ÷ chunks finished, in microseconds. */
  decisionUs: number;
};

type Send = SwarmEffect & { type: "send" };

/** One turn of a node's event loop: what came in it is decided on together. */
const TURN_MS = 1;
/** How long a broken connection goes unnoticed. */
const DETECT_MS = 2_000;
const TICK_MS = 100;
/** Length prefixes and a header of small integers (src/artifacts/wire.ts). */
const MESSAGE_BYTES = 14;
const INTEGER_BYTES = 3;
const HASH_BYTES = 32;
/** So many leechers are told all of it again to measure their decisions. */
const MEASURED = 4;

/** Many nodes with the production scheduler on virtual time: links with a rate and a queue, stale views, faults. */
export class SwarmWorld {
  readonly #options: WorldOptions;
  readonly #ref: { root: string; sizeBytes: number; chunkBytes: number };
  readonly #random: Random;
  readonly #nodes: SwarmNode[];
  readonly #topology: Topology;
  readonly #queue = new EventQueue();
  readonly #pumping = new Set<SwarmNode>();
  #duplicateBytes = 0;
  #wrongCells = 0;
  #goodBytes = 0;

  constructor(options: WorldOptions) {
    const { seed, sizeBytes, sites, nodesPerSite, wanBps } = options;
    this.#options = options;
    this.#random = new SeededRandom(seed);
    this.#ref = { root: `root-${seed}`, sizeBytes, chunkBytes: options.chunkBytes ?? chunkBytesFor(sizeBytes) };
    this.#topology = new Topology({ root: this.#ref.root, sites, wanBps, random: this.#random });
    this.#nodes = Array.from({ length: sites * nodesPerSite }, (_, index) => this.#newNode(index));
    const leechers = nodesPerSite * sites - 1;
    for (let i = 0; i < MEASURED; i++) this.#nodes[1 + Math.floor((i * leechers) / MEASURED)]?.record();
    this.#planFaults();
  }

  #newNode(index: number): SwarmNode {
    const { mixed, uplinkBps, downlinkBps, seed, nodesPerSite } = this.#options;
    const rates = [10e6, 20e6, 50e6, 100e6];
    const up = mixed && index > 0 ? (rates[(index - 1) % 4] ?? 0) : uplinkBps;
    const down = mixed ? 100e6 : (downlinkBps ?? uplinkBps);
    return new SwarmNode({
      index,
      site: Math.floor(index / nodesPerSite),
      ref: this.#ref,
      seed,
      up: new Link(up, Number.POSITIVE_INFINITY), // a socket waits rather than drops
      down: new Link(down, QUEUE_BYTES),
    });
  }

  /**
   * The fluid bound: nobody can be faster than the slowest of what every copy has to pass. With `other`, of what was said beside the blob's bytes,
   * too, as it was in this run: the blob cannot have that room.
   */
  boundMs(other: "without" | "with" = "without"): number {
    const bytes = this.#ref.sizeBytes;
    const passMs = (link: Link): number => (bytes + (other === "with" ? link.otherBytes : 0)) / link.bytesPerMs;
    const [seed, ...leechers] = this.#nodes;
    if (seed === undefined) return 0;
    const ups = this.#nodes.map(({ up }) => up);
    const sent = other === "with" ? sum(ups.map(({ otherBytes }) => otherBytes)) : 0;
    const all = (leechers.length * bytes + sent) / sum(ups.map(({ bytesPerMs }) => bytesPerMs));
    const alone = [
      seed.up,
      ...leechers.map(({ down }) => down),
      ...this.#topology.sites.slice(1).map(({ down }) => down),
    ];
    return Math.max(all, ...alone.map(passMs));
  }

  #planFaults(): void {
    const { dyingRatio = 0, liarRatio = 0, leadersDie } = this.#options;
    const leechers = this.#nodes.slice(1).toSorted(() => this.#random.unit() - 0.5);
    const bound = this.boundMs();
    for (const node of leechers.splice(0, Math.round(liarRatio * leechers.length))) node.liar = true;
    for (const node of leechers.splice(0, Math.round(dyingRatio * leechers.length))) {
      this.#queue.at(bound * (0.05 + 0.9 * this.#random.unit()), () => this.#kill(node));
    }
    if (!leadersDie) return;
    for (let site = 1; site < this.#options.sites; site += 2) {
      const members = this.#nodes.filter((node) => node.site === site);
      const [leader] = this.#topology.envoys(members, 0);
      if (leader) this.#queue.at(bound * (0.2 + 0.6 * this.#random.unit()), () => this.#kill(leader));
    }
  }

  /** Runs until every honest survivor has all, or 8 × the bound has passed. */
  run(): WorldResult {
    this.#start();
    const endMs = this.boundMs() * 8;
    let waiting = this.#survivors().length;
    while (waiting > 0 && this.#queue.next(endMs)) waiting = this.#waiting;
    return this.#result();
  }

  #waiting = Number.POSITIVE_INFINITY;

  #countWaiting(): void {
    this.#waiting = this.#survivors().filter((node) => node.doneMs === undefined).length;
  }

  #start(): void {
    const chunkCount = Math.ceil(this.#ref.sizeBytes / this.#ref.chunkBytes);
    for (const node of this.#nodes) {
      const stored = node.index === 0 || node.liar ? chunkCount : 0;
      for (let chunk = 0; chunk < stored; chunk++) this.#step(node, { type: "stored", chunk });
      this.#queue.at(1 + 5 * this.#random.unit(), () => this.#step(node, { type: "begin" }));
      const tick = (): void => {
        if (!node.alive) return;
        this.#step(node, { type: "tick" });
        this.#queue.at(this.#queue.nowMs + TICK_MS, tick);
      };
      this.#queue.at(this.#random.unit() * TICK_MS, tick);
    }
    this.#connectAll();
  }

  #connectAll(): void {
    for (const [a, b] of this.#topology.pairs(this.#nodes.filter(({ alive }) => alive))) {
      if (!a.streams.has(b)) this.#connect(a, b);
    }
  }

  #connect(a: SwarmNode, b: SwarmNode): void {
    a.streams.set(b, this.#stream(a, b));
    b.streams.set(a, this.#stream(b, a));
    this.#queue.at(this.#queue.nowMs + TURN_MS, () => {
      for (const [node, other] of [
        [a, b],
        [b, a],
      ] as const) {
        const { status } = other;
        this.#step(node, { type: "peer-up", peer: other.id, site: `site-${other.site}`, status });
      }
    });
  }

  #stream(from: SwarmNode, to: SwarmNode): Stream {
    return new Stream(this.#queue, this.#topology.hops(from, to), this.#topology.hops(to, from));
  }

  #survivors(): SwarmNode[] {
    return this.#nodes.filter((node) => node.index > 0 && node.alive && !node.liar);
  }

  #kill(node: SwarmNode): void {
    node.alive = false;
    this.#countWaiting();
    for (const stream of node.streams.values()) stream.close();
    for (const other of node.streams.keys()) {
      this.#queue.at(this.#queue.nowMs + DETECT_MS, () => {
        other.streams.get(node)?.close();
        if (this.#options.broken === "refund") return;
        this.#step(other, { type: "peer-down", peer: node.id });
      });
    }
    this.#queue.at(this.#queue.nowMs + DETECT_MS, () => this.#connectAll());
  }

  #step(node: SwarmNode, event: SwarmEvent): void {
    if (!node.alive) return;
    for (const effect of node.step(event, this.#queue.nowMs)) {
      if (effect.type === "say") node.said.push(effect);
      else this.#perform(node, effect);
    }
    this.#turn(node);
  }

  /** What comes within one turn is decided on together, and what is said in it to one peer goes in one write. */
  #turn(node: SwarmNode): void {
    if (this.#pumping.has(node)) return;
    this.#pumping.add(node);
    this.#queue.at(this.#queue.nowMs + TURN_MS, () => {
      this.#pumping.delete(node);
      this.#pump(node);
    });
  }

  #pump(node: SwarmNode): void {
    if (!node.alive) return;
    const { said } = node;
    node.said = [];
    for (const effect of said) this.#perform(node, effect);
    for (const [to, bytes] of node.owedAcks) this.#acknowledge(node, to, bytes);
    node.owedAcks.clear();
    for (const effect of node.pump(this.#queue.nowMs)) this.#perform(node, effect);
  }

  #acknowledge(node: SwarmNode, to: SwarmNode, bytes: number): void {
    node.streams.get(to)?.send(MESSAGE_BYTES, 0, () => this.#step(to, { type: "acked", peer: node.id, bytes }));
  }

  #wake(node: SwarmNode, atMs: number): void {
    if (node.wakeMs <= atMs) return;
    node.wakeMs = atMs;
    this.#queue.at(atMs, () => {
      if (node.wakeMs === atMs) node.wakeMs = Number.POSITIVE_INFINITY;
      this.#pump(node);
    });
  }

  #perform(node: SwarmNode, effect: SwarmEffect): void {
    switch (effect.type) {
      case "say": {
        const to = this.#nodeOf(effect.to);
        const message = this.#spoken(effect.message);
        const bytes = MESSAGE_BYTES + ("runs" in message ? INTEGER_BYTES * message.runs.length : 0);
        node.streams.get(to)?.send(bytes, 0, () => this.#step(to, { type: "said", peer: node.id, message }));
        return;
      }
      case "send":
        return this.#send(node, this.#nodeOf(effect.to), effect);
      case "wake":
        return this.#wake(node, effect.atMs);
      case "blame":
        node.blamed.add(effect.peer);
        return;
      case "finished":
        return node.finish();
      case "complete":
        node.doneMs ??= this.#queue.nowMs;
        return this.#countWaiting();
      default:
    }
  }

  #spoken(message: SwarmMessage): SwarmMessage {
    const { broken } = this.#options;
    return broken === "veto" && message.type === "decline" ? { type: "accept", chunk: message.chunk } : message;
  }

  #send(from: SwarmNode, to: SwarmNode, send: Send): void {
    const site = this.#topology.sites[to.site];
    if (from.site !== to.site && site !== undefined) site.inBytes += send.bytes;
    const hashes = send.first === 0 ? HASH_BYTES * Math.ceil(this.#ref.chunkBytes / CELL_BYTES) : 0;
    from.streams.get(to)?.send(send.bytes + hashes + MESSAGE_BYTES, send.bytes, () => this.#arrive(from, to, send));
  }

  #arrive(from: SwarmNode, to: SwarmNode, send: Send): void {
    if (!to.alive) return;
    const { chunk, first, count, bytes } = send;
    if (to.expects(from, chunk) !== first) {
      this.#duplicateBytes += bytes;
    } else if (from.liar && this.#options.broken !== "verification") {
      this.#step(to, { type: "fouled", peer: from.id, blame: "bad-cell" });
    } else {
      this.#goodBytes += bytes;
      if (from.liar) this.#wrongCells += count;
      this.#step(to, { type: "cells", peer: from.id, chunk, first, count, bytes });
    }
    if (to.blamed.has(from.id)) return;
    to.owedAcks.set(from, (to.owedAcks.get(from) ?? 0) + bytes);
    this.#turn(to);
  }

  #nodeOf(id: string): SwarmNode {
    const node = this.#nodes[Number(id.slice(5))];
    if (node === undefined) throw new Error(`no such node: ${id}`);
    return node;
  }

  #result(): WorldResult {
    const survivors = this.#survivors();
    const boundMs = this.boundMs();
    const lastMs = Math.max(...survivors.map((node) => node.doneMs ?? this.#queue.nowMs));
    const liars = this.#nodes.filter((node) => node.liar);
    const named = liars.filter((liar) => this.#nodes.some((node) => node.blamed.has(liar.id)));
    const others = this.#topology.sites.slice(1);
    const size = this.#ref.sizeBytes;
    const drops = [
      ...this.#topology.sites.flatMap(({ up, down }) => [up, down]),
      ...this.#nodes.map(({ down }) => down),
    ];
    return {
      ratio: lastMs / boundMs,
      roomRatio: lastMs / this.boundMs("with"),
      boundS: boundMs / 1_000,
      unfinished: survivors.filter((node) => node.doneMs === undefined).length,
      wanCopies: Math.max(0, ...others.map((site) => site.inBytes / size)),
      wanWire: Math.max(0, ...others.map((site) => site.down.bytes / size)),
      duplicateRatio: this.#duplicateBytes / this.#goodBytes,
      wrongCells: this.#wrongCells,
      lossRatio: sum(drops.map((link) => link.lostBytes)) / sum(drops.map((link) => link.bytes)),
      liarsNamed: named.length,
      liars: liars.length,
      decisionUs: this.#decisionUs(),
    };
  }

  #decisionUs(): number {
    let [us, chunks] = [0, 0];
    for (const node of this.#nodes) {
      us += node.replayUs();
      chunks += node.finishedInLog;
    }
    return us / chunks;
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
