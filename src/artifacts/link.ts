import { type ByteStream, Fault, type Frame, FrameReader } from "#core";
import type { NodeId } from "#identity";
import type { BlobRef } from "./chunk-map.ts";
import type { PeerStatus } from "./swarm/swarm-event.ts";
import { MAX_WINDOW_BYTES } from "./swarm/swarm-limits.ts";
import { decodeLinkMessage, encodeLinkMessage, type LinkMessage, MAX_REFS, SWARM_FRAME_LIMITS } from "./wire.ts";

/** What a link tells its owner. */
export type LinkEvents = {
  message(link: Link, message: LinkMessage, frame: Frame): void;
  /** Called once. */
  end(link: Link, error?: Error): void;
};

/** One message with cells: whose they are, how many bytes of cells, and of payload in all; `release` when the peer has them. */
export type Parcel = { root: string; bytes: number; payloadBytes: number; release: () => void };

type Outbound = { parcel: Parcel; pieces: readonly Uint8Array[] | undefined };

/** Payload that a peer may have unacknowledged before it breaks the protocol: every blob's window, and as much again. */
const MAX_UNACKED_BYTES = 8 * MAX_WINDOW_BYTES;

/** The stream to one peer with what is said on it: names of blobs in both directions, payload in order, acknowledgements. */
export class Link {
  readonly peer: NodeId;
  /** Who opened the stream; of two streams between two nodes, the one that the lower id opened stays. */
  readonly opener: NodeId;
  /** Blobs that the peer joined, by its numbers. */
  readonly joined = new Map<number, { blob: BlobRef; status: PeerStatus }>();
  /** Sent and not acknowledged, in order. */
  readonly #unacked: Parcel[] = [];
  readonly #stream: ByteStream;
  readonly #events: LinkEvents;
  readonly #refs = new Map<string, number>();
  readonly #freeRefs: number[] = [];
  /** Payload messages wait for their bytes here, so that they leave in order. */
  readonly #outbox: Outbound[] = [];
  #pending: Uint8Array[] = [];
  #flushing = false;
  #owedAckBytes = 0;
  #receivedBytes = 0;
  #ended = false;

  constructor(stream: ByteStream, peer: NodeId, opener: NodeId, events: LinkEvents) {
    this.peer = peer;
    this.opener = opener;
    this.#stream = stream;
    this.#events = events;
    const reader = new FrameReader(SWARM_FRAME_LIMITS);
    stream.listen({
      data: (bytes) => {
        if (this.#ended) return;
        try {
          reader.push(bytes, (frame) => this.#arrived(frame));
        } catch (error) {
          this.abort(error instanceof Error ? error : new Error(String(error)));
        }
      },
      end: (error) => this.#finish(error),
    });
  }

  #arrived(frame: Frame): void {
    if (this.#ended) return;
    const message = decodeLinkMessage(frame);
    if (message.type === "cells") {
      this.#receivedBytes += frame.payloadBytes;
      if (this.#receivedBytes > MAX_UNACKED_BYTES) throw broken("more payload than was acknowledged");
    }
    if (message.type === "join") {
      if (this.joined.size >= MAX_REFS) throw broken("too many blobs");
      this.joined.set(message.ref, { blob: message.blob, status: message.status });
    }
    this.#events.message(this, message, frame);
  }

  /** The number under which I speak of this blob; `undefined` before I joined. */
  refOf(root: string): number | undefined {
    return this.#refs.get(root);
  }

  /** Says that I take part in the swarm of this blob. False when the stream carries too many already. */
  join(blob: BlobRef, status: PeerStatus): boolean {
    if (this.#refs.has(blob.root)) return true;
    if (this.#refs.size >= MAX_REFS) return false;
    const ref = this.#freeRefs.pop() ?? this.#refs.size;
    this.#refs.set(blob.root, ref);
    this.say({ type: "join", ref, blob, status });
    return true;
  }

  /** Says that I take part no more, or do not at all. */
  leave(root: string): void {
    this.#forgetRef(root);
    this.say({ type: "leave", root });
  }

  #forgetRef(root: string): void {
    const ref = this.#refs.get(root);
    this.#refs.delete(root);
    if (ref !== undefined) this.#freeRefs.push(ref);
  }

  /** The peer takes part no more, or never did: to meet it there, both have to join again. */
  left(root: string): void {
    this.#forgetRef(root);
    for (const [ref, { blob }] of this.joined) if (blob.root === root) this.joined.delete(ref);
  }

  hasJoined(root: string): boolean {
    return [...this.joined.values()].some(({ blob }) => blob.root === root);
  }

  say(message: LinkMessage, payload: readonly Uint8Array[] = []): void {
    if (this.#ended) return;
    this.#queue(encodeLinkMessage(message, payload));
  }

  /** Sends cells, which may still have to be read from the disk; those behind them wait. No pieces: they cannot be sent. */
  sendCells(parcel: Parcel, pieces: readonly Uint8Array[] | Promise<readonly Uint8Array[]>): void {
    if (this.#ended) return;
    if (!(pieces instanceof Promise)) {
      this.#outbox.push({ parcel, pieces });
      this.#drainOutbox();
      return;
    }
    const entry: Outbound = { parcel, pieces: undefined };
    this.#outbox.push(entry);
    void this.#await(entry, pieces);
  }

  async #await(entry: Outbound, pieces: Promise<readonly Uint8Array[]>): Promise<void> {
    entry.pieces = await pieces;
    this.#drainOutbox();
  }

  #drainOutbox(): void {
    for (let head = this.#outbox[0]; head?.pieces !== undefined; head = this.#outbox[0]) {
      this.#outbox.shift();
      if (head.pieces.length === 0) continue;
      this.#unacked.push(head.parcel);
      this.#queue(head.pieces);
    }
  }

  /** The parcels that an acknowledgement of this many payload bytes is for. Throws Fault `artifacts.wire` when there are none. */
  acknowledged(payloadBytes: number): Parcel[] {
    const parcels: Parcel[] = [];
    let left = payloadBytes;
    while (left > 0) {
      const parcel = this.#unacked.shift();
      if (parcel === undefined || parcel.payloadBytes > left) throw broken("it acknowledged what was not sent");
      left -= parcel.payloadBytes;
      parcel.release();
      parcels.push(parcel);
    }
    return parcels;
  }

  /** Payload bytes that were taken in; told to the peer at the end of this turn of the event loop. */
  ack(bytes: number): void {
    this.#owedAckBytes += bytes;
    this.#receivedBytes -= bytes;
    this.#scheduleFlush();
  }

  /** Ends the stream in good order. */
  close(): void {
    if (this.#ended) return;
    this.#stream.close();
    this.#finish();
  }

  abort(reason: Error): void {
    if (this.#ended) return;
    this.#stream.abort(reason);
    this.#finish(reason);
  }

  #queue(pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) this.#pending.push(piece);
    this.#scheduleFlush();
  }

  /** Everything said in one turn of the event loop goes out in one write. */
  #scheduleFlush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      if (this.#ended) return;
      if (this.#owedAckBytes > 0) {
        this.#pending.push(...encodeLinkMessage({ type: "ack", bytes: this.#owedAckBytes }));
        this.#owedAckBytes = 0;
      }
      const pieces = this.#pending;
      this.#pending = [];
      try {
        // What is queued is bounded by the windows of the swarms, so there is no waiting for `drained`.
        if (pieces.length > 0) this.#stream.send(...pieces);
      } catch (error) {
        this.abort(error instanceof Error ? error : new Error(String(error)));
      }
    });
  }

  #finish(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#outbox.length = 0;
    this.#pending = [];
    this.#events.end(this, error);
  }
}

function broken(what: string): Fault {
  return new Fault("artifacts.wire", `a peer broke the swarm protocol: ${what}`, { exit: "invalid" });
}
