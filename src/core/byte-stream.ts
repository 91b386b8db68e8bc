import { Fault } from "./fault.ts";

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
  /** Queues the pieces in order, uncopied: the caller must not change them afterwards. `false`: wait for `drained` before more. */
  send(...pieces: Uint8Array[]): boolean;
  /** Resolves when `send` would return true again; rejects when the stream has ended. */
  drained(signal?: AbortSignal): Promise<void>;
  /** Starts the flow; what arrived before is delivered first. Called once. */
  listen(sink: ByteSink): void;
  /** Stops and starts delivery, and with it the sender. */
  pause(): void;
  resume(): void;
  /** Closes in good order after what is queued. */
  close(): void;
  /** Ends both directions at once; the other side sees an error. */
  abort(reason: Error): void;
}

/** Bytes a memory stream holds before `send` returns false. */
const MEMORY_HIGH_WATER_BYTES = 256 * 1024;

/** Two ends of one stream in this process: the twin of the libp2p adapter, with the same back-pressure. */
export function memoryStreamPair(): [ByteStream, ByteStream] {
  const a = new MemoryStream();
  const b = new MemoryStream();
  a.connect(b);
  b.connect(a);
  return [a, b];
}

class MemoryStream implements ByteStream {
  #peer: MemoryStream | undefined;
  #sink: ByteSink | undefined;
  #inbox: Uint8Array[] = [];
  #inboxBytes = 0;
  #paused = false;
  #scheduled = false;
  #closing = false; // the peer closed: end after the inbox
  #endError: Error | undefined;
  #ended = false;
  #waiters: { resolve: () => void; reject: (error: Error) => void }[] = [];

  connect(peer: MemoryStream): void {
    this.#peer = peer;
  }

  send(...pieces: Uint8Array[]): boolean {
    const peer = this.#peer as MemoryStream;
    if (this.#ended || peer.#closing) throw streamEnded();
    for (const piece of pieces) {
      if (piece.length === 0) continue;
      peer.#inbox.push(piece);
      peer.#inboxBytes += piece.length;
    }
    peer.#schedule();
    return peer.#inboxBytes < MEMORY_HIGH_WATER_BYTES;
  }

  drained(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#ended) return Promise.reject(streamEnded());
    if ((this.#peer as MemoryStream).#inboxBytes < MEMORY_HIGH_WATER_BYTES) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters = this.#waiters.filter((w) => w !== waiter);
        reject(signal?.reason as Error);
      };
      const settle =
        <A extends unknown[]>(done: (...args: A) => void) =>
        (...args: A): void => {
          signal?.removeEventListener("abort", onAbort);
          done(...args);
        };
      const waiter = { resolve: settle(resolve), reject: settle(reject) };
      this.#waiters.push(waiter);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
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
    const peer = this.#peer as MemoryStream;
    peer.#closing = true;
    peer.#schedule();
  }

  abort(reason: Error): void {
    this.#finish(reason);
    (this.#peer as MemoryStream).#finish(
      new Fault("core.stream-reset", "the peer reset the stream", { cause: reason }),
    );
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    if (this.#sink === undefined) return;
    while (!this.#paused && !this.#ended) {
      const piece = this.#inbox.shift();
      if (piece === undefined) break;
      this.#inboxBytes -= piece.length;
      this.#sink.data(piece);
    }
    if (this.#inboxBytes < MEMORY_HIGH_WATER_BYTES) {
      const peer = this.#peer as MemoryStream;
      for (const waiter of peer.#waiters.splice(0)) waiter.resolve();
    }
    if (this.#closing && !this.#paused && this.#inbox.length === 0) this.#finish();
    else if (this.#ended) this.#finish(this.#endError);
  }

  #finish(error?: Error): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error ?? streamEnded());
    if (!this.#ended) {
      this.#ended = true;
      this.#endError = error;
      this.#inbox = [];
      this.#inboxBytes = 0;
      if (this.#sink === undefined) return;
    }
    const sink = this.#sink;
    if (sink === undefined) return;
    this.#sink = undefined;
    if (this.#endError === undefined) sink.end();
    else sink.end(this.#endError);
  }
}

/** Fault `core.stream-ended`: something was sent on, or awaited from, a stream that is over. */
export function streamEnded(cause?: unknown): Fault {
  return new Fault("core.stream-ended", "the stream has ended", { cause });
}
