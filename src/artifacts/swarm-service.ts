import { type Clock, errorMessage, Fault, type Frame, type Log, type Random } from "#core";
import type { NodeId } from "#identity";
import type { BlobRef } from "./chunk-map.ts";
import { ChunkMemory } from "./chunk-memory.ts";
import { FlowGate, type FlowLimits } from "./flow-gate.ts";
import type { Link } from "./link.ts";
import type { Participation, ParticipationDeps, Progress } from "./participation.ts";
import { Participations } from "./participations.ts";
import type { Holders, Locality, SwarmNet } from "./ports.ts";
import type { Precedence } from "./precedence.ts";
import type { Store } from "./store/store.ts";
import type { Blame, PeerStatus } from "./swarm/swarm-event.ts";
import { MAX_SWARM_PEERS } from "./swarm/swarm-limits.ts";
import { SwarmLinks } from "./swarm-links.ts";
import { SwarmMeeting } from "./swarm-meeting.ts";
import type { LinkMessage } from "./wire.ts";

export type SwarmDeps = {
  clock: Clock;
  random: Random;
  log: Log;
  net: SwarmNet;
  holders: Holders;
  locality: Locality;
  store: Store;
};

export type SwarmServiceOptions = FlowLimits & {
  /** Called when a peer sent wrong bytes, broke the protocol, or did not serve what it said that it has. */
  onBlame?: (peer: NodeId, root: string, blame: Blame) => void;
};

export type FetchOptions = {
  signal: AbortSignal;
  /** Whether somebody waits for it, which may change on the way. Default: somebody does. */
  precedence?: Precedence | undefined;
  /** Nodes that are said to have or be getting it; asked for again and again. */
  holders?: (() => Iterable<NodeId>) | undefined;
  /** Called about every 100 ms, and once at the end. */
  onProgress?: (progress: Progress) => void;
};

/** What this node knows of the swarm of one blob. */
export type SwarmView = {
  ref: BlobRef;
  wants: boolean;
  chunks: number;
  chunkCount: number;
  holders: number;
  wanting: number;
  progress: Progress;
};

const TICK_MS = 100;
/** The swarms of one node, running. */
export interface SwarmService extends AsyncDisposable {
  /**
   * Brings a blob into the store; several calls for one blob share the work. Waits for holders as long as `signal` lets it.
   * Rejects with the signal's reason, or Fault `artifacts.disk-full`, `artifacts.bad-ref`, `artifacts.stopped`.
   */
  fetch(ref: BlobRef, options: FetchOptions): Promise<Progress>;
  /** Takes part no more in the swarm of a blob that is about to be removed from the store; whoever waits for it is told. */
  forget(root: string): void;
  /** Other limits from now on, also for what is on its way. */
  limit(limits: FlowLimits): void;
  /** Swarms that this node takes part in now. */
  views(): SwarmView[];
}

/** Starts serving what the store has, and fetching what is asked for. Spec: docs/spec/swarm.md. */
export async function startSwarm(deps: SwarmDeps, options: SwarmServiceOptions = {}): Promise<SwarmService> {
  return new RunningSwarm(deps, options);
}

class RunningSwarm implements SwarmService {
  readonly #deps: SwarmDeps;
  readonly #links: SwarmLinks;
  readonly #parts: Participations;
  readonly #meeting: SwarmMeeting;
  readonly #gate: FlowGate;
  readonly #stopped = new AbortController();
  readonly #ticking: Promise<void>;
  #pumping = false;
  #nextPumpMs = Number.POSITIVE_INFINITY;
  #wake: () => void = () => undefined;

  constructor(deps: SwarmDeps, options: SwarmServiceOptions) {
    this.#deps = deps;
    this.#gate = new FlowGate(deps.clock, options);
    const opened = (part: Participation): void => this.#onOpened(part);
    this.#parts = new Participations(deps.store, deps.clock, this.#depsOfParts(options), opened);
    this.#links = new SwarmLinks(deps, {
      up: (link) => this.#meeting.onUp(link),
      message: (link, message, frame) => this.#onMessage(link, message, frame),
      failed: (peer) => this.#meeting.onFailed(peer),
      end: (link) => this.#onEnd(link),
    });
    const { clock, log, holders, locality, net } = deps;
    this.#meeting = new SwarmMeeting({ clock, log, holders, locality, self: net.self }, this.#links, this.#parts);
    this.#ticking = this.#tickWhileBusy();
  }

  #depsOfParts(options: SwarmServiceOptions): ParticipationDeps {
    const { clock, random, log, net, locality } = this.#deps;
    return {
      clock,
      random,
      log,
      self: net.self,
      // Read anew by each swarm: a node learns its site when it joins, long after this service started.
      get ownSite() {
        return locality.ownSite;
      },
      siteOf: (peer) => locality.siteOf(peer),
      disk: this.#gate.disk,
      memory: new ChunkMemory(),
      accepted: (bytes, precedence) => this.#gate.accepted(bytes, precedence),
      pumpSoon: () => this.#pumpSoon(),
      pumpAt: (atMs) => void this.#pumpAt(atMs),
      blamed: (peer, root, blame) => {
        log.warn("a peer misbehaved in a swarm", { peer, root, blame });
        options.onBlame?.(peer, root, blame);
      },
      leave: (root) => {
        for (const link of this.#links.all()) if (link.refOf(root) !== undefined) link.leave(root);
      },
    };
  }

  async fetch(ref: BlobRef, options: FetchOptions): Promise<Progress> {
    const { signal, onProgress, holders = () => [] } = options;
    const waiter: Precedence = {
      get foreground() {
        return options.precedence?.foreground ?? true;
      },
    };
    signal.throwIfAborted();
    const part = await this.#parts.want(ref);
    const search = new AbortController();
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true, signal: search.signal });
    });
    part.waiters.add(waiter);
    part.reconsider();
    try {
      if (!part.whole) void this.#meeting.seek(part, holders, search.signal);
      if (onProgress !== undefined) void this.#report(part, search.signal, onProgress);
      await Promise.race([part.done, aborted]);
      onProgress?.(part.progress);
      return part.progress;
    } finally {
      search.abort();
      part.waiters.delete(waiter);
      if (!part.whole && part.waiters.size === 0) this.#parts.drop(part);
    }
  }

  async #report(part: Participation, signal: AbortSignal, onProgress: (progress: Progress) => void): Promise<void> {
    while (!signal.aborted) {
      await this.#deps.clock.sleep(TICK_MS, signal).catch(() => undefined);
      if (!signal.aborted) onProgress(part.progress);
    }
  }

  forget(root: string): void {
    const part = this.#parts.get(root);
    if (part !== undefined) this.#parts.drop(part);
  }

  limit(limits: FlowLimits): void {
    this.#gate.limit(limits);
    this.#pumpSoon();
  }

  views(): SwarmView[] {
    return this.#parts.all().map((part) => {
      return { ref: part.ref, wants: part.wants, progress: part.progress, ...part.describe() };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort(new Fault("artifacts.stopped", "the swarm service was stopped"));
    this.#wake();
    this.#parts.stop();
    this.#links.stop();
    await this.#ticking;
  }

  #onOpened(part: Participation): void {
    // Those who already asked for it learn that we take part.
    for (const link of this.#links.all()) {
      for (const { blob, status } of link.joined.values()) if (sameBlob(blob, part.ref)) this.#meet(link, part, status);
    }
    this.#wake();
  }

  #onEnd(link: Link): void {
    this.#gate.forget(link);
    for (const part of this.#parts.all()) if (part.links.get(link.peer) === link) this.#meeting.parted(part, link.peer);
  }

  #meet(link: Link, part: Participation, status: PeerStatus): void {
    if (part.links.size >= MAX_SWARM_PEERS || !link.join(part.ref, part.status)) return;
    const ref = link.refOf(part.ref.root);
    const peers = this.#meeting.met(part, link.peer);
    if (ref !== undefined && peers.length > 0) link.say({ type: "peers", ref, peers });
    part.meet(link, status);
    this.#wake();
  }

  #onMessage(link: Link, message: LinkMessage, frame: Frame): void {
    switch (message.type) {
      case "join":
        return this.#onJoin(link, message.blob, message.status);
      case "leave":
        return this.#onLeave(link, message.root);
      case "ack":
        for (const { root, bytes } of link.acknowledged(message.bytes)) {
          this.#parts.get(root)?.step({ type: "acked", peer: link.peer, bytes });
        }
        return;
      default:
        this.#onBlobMessage(link, message, frame);
    }
  }

  #onLeave(link: Link, root: string): void {
    link.left(root);
    const part = this.#parts.get(root);
    if (part !== undefined) this.#meeting.parted(part, link.peer);
  }

  #onBlobMessage(link: Link, message: Exclude<LinkMessage, { type: "join" | "leave" | "ack" }>, frame: Frame): void {
    const joined = link.joined.get(message.ref);
    const part = joined && this.#parts.get(joined.blob.root);
    if (part !== undefined && part.links.get(link.peer) === link) {
      if (message.type === "peers") this.#meeting.told(part, message.peers);
      else part.receive(link, message, frame.payload);
    }
    // What a banned peer goes on sending is not acknowledged, so that the link ends when its window is used up.
    if (message.type === "cells" && part?.isBanned(link.peer) !== true) this.#gate.received(link, frame.payloadBytes);
  }

  #onJoin(link: Link, blob: BlobRef, status: PeerStatus): void {
    const known = this.#parts.get(blob.root);
    if (known !== undefined) return this.#answerJoin(link, blob, status, known); // at once: what it says next counts
    this.#parts.serve(blob.root).then(
      (part) => this.#answerJoin(link, blob, status, part),
      (error: unknown) => {
        this.#deps.log.warn("a blob cannot be served", { root: blob.root, reason: errorMessage(error) });
        link.leave(blob.root);
      },
    );
  }

  #answerJoin(link: Link, blob: BlobRef, status: PeerStatus, part: Participation | undefined): void {
    if (this.#links.get(link.peer) !== link || !link.hasJoined(blob.root)) return;
    if (part === undefined || !sameBlob(part.ref, blob)) link.leave(blob.root);
    else if (part.links.get(link.peer) !== link) this.#meet(link, part, status);
  }

  /** One round of decisions per turn of the event loop, however much happened in it. */
  #pumpSoon(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    setImmediate(() => {
      this.#pumping = false;
      if (this.#stopped.signal.aborted) return;
      this.#gate.release();
      const parts = this.#parts.nextInTurn();
      if (parts[0]?.foreground !== true) this.#gate.ease();
      for (const part of parts) {
        this.#gate.sent(part.pump(this.#gate.room(part)), part);
      }
    });
  }

  async #pumpAt(atMs: number): Promise<void> {
    if (this.#nextPumpMs <= atMs) return;
    this.#nextPumpMs = atMs;
    const { clock } = this.#deps;
    await clock.sleep(Math.max(0, atMs - clock.nowMs()), this.#stopped.signal).catch(() => undefined);
    if (this.#nextPumpMs === atMs) this.#nextPumpMs = Number.POSITIVE_INFINITY;
    this.#pumpSoon();
  }

  /** An idle node does not wake. */
  async #tickWhileBusy(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      if (this.#parts.size === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      await clock.sleep(TICK_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      this.#parts.tick();
      this.#meeting.tick();
      for (const part of this.#parts.all()) if (part.foreground) this.#gate.declined(part.declined());
      this.#pumpSoon();
    }
  }
}

function sameBlob(a: BlobRef, b: BlobRef): boolean {
  return a.root === b.root && a.sizeBytes === b.sizeBytes;
}
