import { type BlobRef, type PeerStatus, Swarm, type SwarmEffect, type SwarmEvent } from "#artifacts";
import { SeededRandom } from "#core";
import type { Link, Stream } from "./network.ts";

const UNLIMITED = {
  lanBytes: Number.POSITIVE_INFINITY,
  wanBytes: Number.POSITIVE_INFINITY,
  lanInBytes: Number.POSITIVE_INFINITY,
  wanInBytes: Number.POSITIVE_INFINITY,
};

/** So many events are remembered for `replayUs`. */
const MAX_LOG = 300_000;

type NodeOptions = { index: number; site: number; ref: BlobRef; seed: number; up: Link; down: Link };

/** One node of a simulated swarm: the production scheduler, its links, and what became of it. */
export class SwarmNode {
  readonly index: number;
  readonly id: string;
  readonly site: number;
  readonly up: Link;
  readonly down: Link;
  readonly streams = new Map<SwarmNode, Stream>();
  readonly blamed = new Set<string>();
  /** Bytes of cells that came in this turn and are to be acknowledged. */
  readonly owedAcks = new Map<SwarmNode, number>();
  /** What is said at the end of this turn. */
  said: (SwarmEffect & { type: "say" })[] = [];
  alive = true;
  liar = false;
  doneMs: number | undefined;
  /** When it asked to be pumped. */
  wakeMs = Number.POSITIVE_INFINITY;
  readonly #options: NodeOptions;
  readonly #swarm: Swarm;
  #log: { event: SwarmEvent; nowMs: number }[] | undefined;
  /** Chunks finished while it remembered. */
  finishedInLog = 0;

  constructor(options: NodeOptions) {
    const { index, site, up, down } = options;
    this.index = index;
    this.id = `node-${String(index).padStart(4, "0")}`;
    this.site = site;
    this.up = up;
    this.down = down;
    this.#options = options;
    this.#swarm = this.#newSwarm();
  }

  #newSwarm(): Swarm {
    const { index, site, ref, seed } = this.#options;
    const random = new SeededRandom(seed * 1_000 + index);
    return new Swarm({ ref, self: this.id, site: `site-${site}`, random, wants: index > 0, nowMs: 0 });
  }

  /** Remembers from now on what the scheduler is told, for `replayUs`. */
  record(): void {
    this.#log = [];
  }

  step(event: SwarmEvent, nowMs: number): SwarmEffect[] {
    if (this.recorded) this.#log?.push({ event, nowMs });
    return this.#swarm.step(event, nowMs);
  }

  pump(nowMs: number): SwarmEffect[] {
    return this.step({ type: "pump", ...UNLIMITED }, nowMs);
  }

  /** The cell of this chunk that is due from that peer. */
  expects(peer: SwarmNode, chunk: number): number | undefined {
    return this.#swarm.expects(peer.id, chunk);
  }

  get status(): PeerStatus {
    return this.#swarm.status;
  }

  /** A chunk is here. */
  finish(): void {
    if (this.recorded) this.finishedInLog += 1;
  }

  get recorded(): boolean {
    return this.#log !== undefined && this.#log.length < MAX_LOG;
  }

  /** CPU time of this thread, in microseconds, for all that the scheduler decided, when it is told the same again. */
  replayUs(): number {
    if (this.#log === undefined) return 0;
    const swarm = this.#newSwarm();
    const before = process.threadCpuUsage();
    for (const { event, nowMs } of this.#log) swarm.step(event, nowMs);
    const { user, system } = process.threadCpuUsage(before);
    return user + system;
  }
}
