import { Fault } from "./fault.ts";
import { Waiters } from "./waiters.ts";

/** Receives what arrives on a stream. */
export interface ByteSink {
  /** A piece as it arrived, of any size. It may be kept: it is never reused. */
  data(bytes: Uint8Array): void;
  /** Called once. Without `error` the other side closed in good order. */
  end(error?: Error): void;
}

/**
 * A two-way stream of bytes to one peer, under back-pressure. The protocols of ours are written against this, so they run
 * over libp2p and in memory alike.
 */
export interface ByteStream {
  /**
   * Queues the pieces in order, uncopied: the caller must not change them until the peer has said that it got them.
   * `false`: wait for `drained` before more.
   */
  send(...pieces: Uint8Array[]): boolean;
  /** Resolves when `send` would return true again; rejects when the stream has ended. */
  drained(signal?: AbortSignal): Promise<void>;
  /** Starts the flow; what arrived before is delivered first. Called once. */
  listen(sink: ByteSink): void;
  /** Stops and starts delivery, and with it the sender. */
  pause(): void;
  resume(): void;
  /** Says that nothing more will be sent, after what is queued. The other direction goes on until the peer closes it too. */
  close(): void;
  /** Ends both directions at once and drops what is queued; both sides see an error. */
  abort(reason: Error): void;
  /** Bytes that this end keeps: those that arrived and were not delivered yet, and those that have not been sent. */
  readonly heldBytes: number;
}

/** The length of all pieces. */
export function lengthOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

/** Bytes a memory stream holds before `send` returns false. */
const MEMORY_HIGH_WATER_BYTES = 256 * 1024;

/** Two ends of one stream in this process: the twin of the libp2p adapter, with the same back-pressure. */
export function memoryStreamPair(): [ByteStream, ByteStream] {
  return MemoryStream.pair();
}

class MemoryStream implements ByteStream {
  #peer: MemoryStream = this;
  #sink: ByteSink | undefined;
  readonly #inbox: Uint8Array[] = [];
  #inboxBytes = 0;
  #paused = false;
  #scheduled = false;
  #closed = false; // this side sends no more
  #ended = false; // the sink has been told so
  #failure: Error | undefined;
  readonly #waiters = new Waiters();

  static pair(): [MemoryStream, MemoryStream] {
    const a = new MemoryStream();
    const b = new MemoryStream();
    a.#peer = b;
    b.#peer = a;
    return [a, b];
  }

  get heldBytes(): number {
    return this.#inboxBytes; // what was sent is at the other end at once
  }

  send(...pieces: Uint8Array[]): boolean {
    if (this.#closed || this.#failure !== undefined) throw streamEnded(this.#failure);
    const peer = this.#peer;
    for (const piece of pieces) {
      if (piece.length === 0) continue;
      peer.#inbox.push(new Uint8Array(piece)); // as a network would: what the peer keeps is its own
      peer.#inboxBytes += piece.length;
    }
    peer.#schedule();
    return peer.#inboxBytes < MEMORY_HIGH_WATER_BYTES;
  }

  drained(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    if (this.#closed || this.#failure !== undefined) return Promise.reject(streamEnded(this.#failure));
    if (this.#peer.#inboxBytes < MEMORY_HIGH_WATER_BYTES) return Promise.resolve();
    return this.#waiters.wait(signal);
  }

  listen(sink: ByteSink): void {
    this.#sink = sink;
    this.#schedule();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    this.#waiters.reject(streamEnded(this.#failure));
    this.#peer.#schedule();
  }

  abort(reason: Error): void {
    this.#fail(reason);
    this.#peer.#fail(new Fault("core.stream-reset", "the peer reset the stream", { cause: reason }));
  }

  #fail(reason: Error): void {
    if (this.#failure !== undefined || (this.#closed && this.#ended)) return;
    this.#failure = reason;
    this.#inbox.length = 0;
    this.#inboxBytes = 0;
    this.#waiters.reject(streamEnded(this.#failure));
    this.#schedule();
  }

  /** Delivery never happens inside a caller's own call, as over a network. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    const sink = this.#sink;
    if (sink === undefined || this.#ended) return;
    while (!this.#paused) {
      const piece = this.#inbox.shift();
      if (piece === undefined) break;
      this.#inboxBytes -= piece.length;
      sink.data(piece);
    }
    if (this.#inboxBytes < MEMORY_HIGH_WATER_BYTES) {
      this.#peer.#waiters.resolve();
    }
    const finished = this.#peer.#closed && this.#inbox.length === 0 && !this.#paused;
    if (!finished && this.#failure === undefined) return;
    this.#ended = true;
    if (this.#failure === undefined) sink.end();
    else sink.end(this.#failure);
  }
}

/** Fault `core.stream-ended`: something was sent on, or awaited from, a stream that is over. */
export function streamEnded(cause?: unknown): Fault {
  return new Fault("core.stream-ended", "the stream has ended", { cause });
}
