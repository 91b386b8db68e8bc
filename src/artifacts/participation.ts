import { errorMessage, type Clock, Fault, HASH_BYTES, type Log, type Random } from "#core";
import type { NodeId } from "#identity";
import { type Cells, ChunkSource } from "./chunk-source.ts";
import type { BlobRef } from "./chunk-map.ts";
import type { ChunkMemory } from "./chunk-memory.ts";
import { ChunkWriter, type DiskQueue } from "./chunk-writer.ts";
import type { FlowRoom } from "./flow-gate.ts";
import type { Link } from "./link.ts";
import { MapExchange } from "./map-exchange.ts";
import type { Precedence } from "./precedence.ts";
import type { BlobFile } from "./store/blob-file.ts";
import { Swarm } from "./swarm/swarm.ts";
import type { Blame, PeerStatus, SwarmEffect, SwarmEvent } from "./swarm/swarm-event.ts";
import { encodeLinkMessage, type LinkMessage } from "./wire.ts";

/** Memory for chunks is given back when nobody got any for so long. */
const REST_MS = 2_000;

/** Where the bytes of one blob came from. `bytes` counts what was here before, too. */
export type Progress = {
  bytes: number;
  sizeBytes: number;
  fromSite: number;
  fromWan: number;
  /** Payload bytes by the peer they came from. */
  sources: Map<NodeId, number>;
};

export type ParticipationDeps = {
  clock: Clock;
  random: Random;
  log: Log;
  self: NodeId;
  ownSite: string;
  /** `undefined` when it is not known; such a node counts as one of another site. */
  siteOf(peer: NodeId): string | undefined;
  disk: DiskQueue;
  memory: ChunkMemory;
  /** So many bytes are coming from now on. */
  accepted(bytes: { lan: number; wan: number }, precedence: Precedence): void;
  /** Something changed: decide again soon. */
  pumpSoon(): void;
  /** Decide again at this time of the clock. */
  pumpAt(atMs: number): void;
  blamed(peer: NodeId, root: string, blame: Blame): void;
  /** Says to everybody who was told otherwise, whether it takes part itself or not, that I take part no more. */
  leave(root: string): void;
};

/** This node's part in the swarm of one blob: its scheduler, its file, and the links on which it is spoken of. */
export class Participation {
  readonly ref: BlobRef;
  readonly progress: Progress;
  readonly links = new Map<NodeId, Link>();
  /** Callers that wait for it. */
  readonly waiters = new Set<Precedence>();
  /** Whether it goes before others: somebody waits for it, here or at a peer. */
  foreground = false;
  readonly #banned = new Set<NodeId>();
  readonly #blob: BlobFile;
  readonly #deps: ParticipationDeps;
  readonly #swarm: Swarm;
  readonly #source: ChunkSource;
  readonly #writer: ChunkWriter;
  readonly #stop = new AbortController();
  readonly #map: MapExchange;
  #begun = false;
  #wants: boolean;
  /** When somebody last wanted something here. */
  usedAtMs: number;

  constructor(blob: BlobFile, wants: boolean, deps: ParticipationDeps) {
    this.#blob = blob;
    this.#deps = deps;
    this.ref = blob.ref;
    this.#wants = wants;
    this.usedAtMs = deps.clock.nowMs();
    const { self, ownSite: site, random } = deps;
    this.#swarm = new Swarm({ ref: blob.ref, self, site, random, wants, nowMs: this.usedAtMs });
    this.#source = new ChunkSource(blob.geometry, deps.memory, (chunk, into) => blob.read(chunk, into));
    this.progress = { bytes: 0, sizeBytes: blob.ref.sizeBytes, fromSite: 0, fromWan: 0, sources: new Map() };
    this.#writer = new ChunkWriter(blob, deps.disk, deps.log);
    for (const chunk of blob.have.values()) this.step({ type: "stored", chunk });
    this.progress.bytes = blob.ref.sizeBytes - blob.missingBytes();
    this.#map = new MapExchange(blob, {
      links: this.links,
      fetched: () => void this.#begin(),
      fouled: (peer) => this.step({ type: "fouled", peer, blame: "protocol" }),
    });
    if (blob.map !== undefined) void this.#begin();
  }

  /** Resolves when the blob is whole and durable; rejects when it cannot become so. */
  get done(): Promise<void> {
    return this.#writer.done;
  }

  get wants(): boolean {
    return this.#wants;
  }

  /** Whether all of it is here, on the disk. */
  get whole(): boolean {
    return this.#blob.state !== "partial";
  }

  get status(): PeerStatus {
    return { wants: this.#wants, yields: false, foreground: this.#isAwaited(), reach: [] };
  }

  /** Chunks here, and peers that have or want some. */
  describe(): { chunks: number; chunkCount: number; holders: number; wanting: number } {
    return { chunks: this.#swarm.have.count, chunkCount: this.#blob.geometry.chunkCount, ...this.#swarm.counts() };
  }

  /** Whether peers in the site and over the WAN were told that there is no room now. */
  declined(): { lan: boolean; wan: boolean } {
    return this.#swarm.declined();
  }

  /** Reads what an earlier run left, while new chunks already come in. */
  async #begin(): Promise<void> {
    this.#begun = true;
    const { signal } = this.#stop;
    try {
      const leftovers = await this.#blob.findLeftovers(signal);
      for (const chunk of leftovers) this.step({ type: "checking", chunk });
      this.step({ type: "begin" });
      for await (const { chunk, good } of this.#blob.recheck(leftovers, signal)) {
        if (good) this.progress.bytes += this.#blob.geometry.bytesOf(chunk);
        this.step({ type: good ? "stored" : "lost", chunk });
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#writer.fail(error);
    }
  }

  /** A peer takes part, too, and so do I: both have said so on this link. */
  meet(link: Link, status: PeerStatus): void {
    if (this.#banned.has(link.peer)) return;
    this.links.set(link.peer, link);
    this.step({ type: "peer-up", peer: link.peer, site: this.#deps.siteOf(link.peer) ?? `?${link.peer}`, status });
  }

  /** Nothing is offered, sent or awaited between a peer and me. */
  isIdle(peer: NodeId): boolean {
    return this.#swarm.isIdle(peer);
  }

  /** Members of the own site that I am linked with and that have a link into that one. */
  reaching(site: string): NodeId[] {
    return this.#swarm.reaching(site);
  }

  /** It sent wrong bytes or broke the protocol here. */
  isBanned(peer: NodeId): boolean {
    return this.#banned.has(peer);
  }

  /** A peer is gone, takes part no more, or I leave it. */
  part(peer: NodeId): void {
    if (this.links.delete(peer)) this.step({ type: "peer-down", peer });
  }

  /** Hands an event to the scheduler and does what it says. */
  step(event: SwarmEvent): void {
    for (const effect of this.#swarm.step(event, this.#deps.clock.nowMs())) this.#perform(effect);
    this.#deps.pumpSoon();
  }

  /** Offers, sends and accepts what these budgets (bytes) allow; returns what was sent. */
  pump(room: FlowRoom): { lan: number; wan: number } {
    const sent = { lan: 0, wan: 0 };
    for (const effect of this.#swarm.step({ type: "pump", ...room }, this.#deps.clock.nowMs())) {
      if (effect.type === "send") sent[this.#isNear(effect.to) ? "lan" : "wan"] += effect.bytes;
      this.#perform(effect);
    }
    return sent;
  }

  #isNear(peer: NodeId): boolean {
    return this.#deps.siteOf(peer) === this.#deps.ownSite;
  }

  #perform(effect: SwarmEffect): void {
    switch (effect.type) {
      case "say": {
        const link = this.links.get(effect.to);
        const ref = link?.refOf(this.ref.root);
        if (ref !== undefined) link?.say({ type: "swarm", ref, message: effect.message });
        if (effect.message.type === "accept") this.#accepted(effect.to, effect.message.chunk);
        return;
      }
      case "send":
        return this.#send(effect);
      case "drop":
        return this.#source.letGo(effect.chunk);
      case "finished":
        return this.#finish(effect.chunk);
      case "blame":
        if (effect.blame !== "ignored") this.#banned.add(effect.peer);
        return this.#deps.blamed(effect.peer, this.ref.root, effect.blame);
      case "wake":
        return this.#deps.pumpAt(effect.atMs);
      case "complete":
        this.#wants = false;
        return this.#writer.completeWhenWritten();
    }
  }

  #accepted(from: NodeId, chunk: number): void {
    const bytes = this.#blob.geometry.bytesOf(chunk);
    this.#deps.accepted(this.#isNear(from) ? { lan: bytes, wan: 0 } : { lan: 0, wan: bytes }, this);
  }

  #send(effect: SwarmEffect & { type: "send" }): void {
    const link = this.links.get(effect.to);
    const ref = link?.refOf(this.ref.root);
    if (link === undefined || ref === undefined) return;
    this.usedAtMs = this.#deps.clock.nowMs();
    const { chunk, first, count, bytes } = effect;
    const total = this.#blob.geometry.cellsOf(chunk);
    const hashed = first === 0 && count < total;
    const payloadBytes = bytes + (hashed ? total * HASH_BYTES : 0);
    const parcel = { root: this.ref.root, bytes, payloadBytes, release: (): void => undefined };
    const encode = ({ bytes: cells, hashes, release }: Cells): Uint8Array[] => {
      parcel.release = release;
      const payload = hashed ? [...hashes, cells] : [cells];
      return encodeLinkMessage({ type: "cells", ref, chunk, first, count, hashed }, payload);
    };
    const cells = this.#source.cells(chunk, first, count);
    if (!(cells instanceof Promise)) return link.sendCells(parcel, encode(cells));
    const unread = (error: unknown): Uint8Array[] => {
      this.#lose(chunk, error);
      this.step({ type: "acked", peer: effect.to, bytes }); // nothing is on the way
      return [];
    };
    link.sendCells(parcel, cells.then(encode, unread));
  }

  #lose(chunk: number, error: unknown): void {
    this.#deps.log.warn("a chunk can no longer be served", { root: this.ref.root, chunk, reason: errorMessage(error) });
    this.step({ type: "lost", chunk });
  }

  /** A message about this blob. */
  receive(link: Link, message: LinkMessage, payload: readonly Uint8Array[]): void {
    if (message.type === "swarm") this.step({ type: "said", peer: link.peer, message: message.message });
    else if (message.type === "cells") this.#onCells(link, message, payload);
    else if (message.type === "map-want") this.#map.tell(link, message.first, message.count);
    else if (message.type === "map") this.#map.receive(link, message.first, payload, this.#deps.clock.nowMs());
  }

  #onCells(link: Link, message: LinkMessage & { type: "cells" }, payload: readonly Uint8Array[]): void {
    const { chunk, first, count, hashed } = message;
    const map = this.#blob.map;
    if (map === undefined || this.#swarm.expects(link.peer, chunk) !== first) return; // sent before it was cancelled
    const arriving = first === 0 ? undefined : this.#source.arriving(chunk);
    const assembly = arriving ?? this.#source.begin(chunk, map);
    if (!assembly.add(first, count, hashed, payload)) {
      this.step({ type: "fouled", peer: link.peer, blame: "bad-cell" });
      return;
    }
    const bytes = this.#blob.geometry.bytesOfCells(chunk, first, count);
    this.#account(link.peer, bytes);
    this.step({ type: "cells", peer: link.peer, chunk, first, count, bytes });
  }

  #account(peer: NodeId, bytes: number): void {
    const { sources } = this.progress;
    sources.set(peer, (sources.get(peer) ?? 0) + bytes);
    if (this.#isNear(peer)) this.progress.fromSite += bytes;
    else this.progress.fromWan += bytes;
  }

  #finish(chunk: number): void {
    const cells = this.#source.arrived(chunk, 0, this.#blob.geometry.cellsOf(chunk));
    if (cells !== undefined) void this.#write(chunk, cells);
  }

  async #write(chunk: number, { bytes, release }: Cells): Promise<void> {
    if (await this.#writer.write(chunk, bytes)) this.progress.bytes += bytes.length;
    release();
    this.#source.letGo(chunk);
    this.#deps.pumpSoon();
  }

  #isAwaited(): boolean {
    return this.#wants && [...this.waiters].some(({ foreground }) => foreground);
  }

  /** Looks at who waits for it: at once when that changed here, with the next tick when it changed elsewhere. */
  reconsider(): void {
    const awaited = this.#isAwaited();
    if (awaited !== this.#swarm.status.foreground) this.step({ type: "awaited", foreground: awaited });
    this.foreground = awaited || this.#swarm.isAwaited();
  }

  /** About every 100 ms while anybody wants anything. */
  tick(): void {
    this.reconsider();
    const nowMs = this.#deps.clock.nowMs();
    if (this.#wants || this.#swarm.counts().wanting > 0) this.usedAtMs = nowMs;
    else if (nowMs - this.usedAtMs > REST_MS) this.#source.rest();
    this.#map.ask(nowMs);
    this.step({ type: "tick" });
  }

  /** Whether it is still of use: it wants, or somebody wants from it. */
  get busy(): boolean {
    return this.#wants || !this.#begun || this.#swarm.counts().wanting > 0;
  }

  /** Takes part no more. */
  stop(): void {
    this.#stop.abort(new Fault("artifacts.stopped", `the transfer of ${this.ref.root} was stopped`));
    this.#writer.stop(this.#stop.signal.reason);
    this.#deps.leave(this.ref.root);
    this.#source.rest();
    this.links.clear();
  }
}
