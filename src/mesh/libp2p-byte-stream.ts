import type { Stream, StreamCloseEvent, StreamMessageEvent } from "@libp2p/interface";
import { Uint8ArrayList } from "uint8arraylist";
import { asError, type ByteSink, type ByteStream, Fault, lengthOf, streamEnded, Waiters } from "#core";

/**
 * A libp2p stream as core's ByteStream; the twin of `memoryStreamPair`, under the same contract suite. Pieces pass through
 * uncopied in both directions. Waits for the stream's `drain` events itself: `onDrain()` of @libp2p/utils stops blocking
 * after the first one.
 */
export class Libp2pByteStream implements ByteStream {
  readonly #stream: Stream;
  #sink: ByteSink | undefined;
  #held: Uint8Array[] = []; // the rest of a message whose sink paused in the middle
  /** What the peer has still to say before what is passed on. */
  #expected: Uint8Array;
  #paused = false;
  #finReceived = false;
  #ended: { error?: Error } | undefined;
  readonly #waiters = new Waiters();

  /** `expected`: what the peer says first, which is not passed on. It resets a stream on which it says anything else. */
  constructor(stream: Stream, expected: Uint8Array = new Uint8Array()) {
    this.#stream = stream;
    this.#expected = expected;
    // what happened while the stream was being opened has no event any more
    if (stream.status !== "open") this.#ended = { error: connectionLost() };
    else this.#finReceived = stream.remoteWriteStatus === "closed";
    if (this.#finReceived && stream.readableEnded) this.#ended = {};
    stream.addEventListener("remoteCloseWrite", () => {
      this.#finReceived = true;
    });
    stream.addEventListener("end", () => {
      // also sent by a connection that died, which must not pass for a good end
      if (this.#finReceived && stream.status !== "aborted" && stream.status !== "reset") this.#end();
    });
    stream.addEventListener("close", (event) => this.#closed(event));
    stream.addEventListener("drain", () => queueMicrotask(() => this.#drained())); // after libp2p has sent what it held
  }

  get heldBytes(): number {
    return this.#stream.readBufferLength + this.#stream.writeBufferLength + lengthOf(this.#held);
  }

  send(...pieces: Uint8Array[]): boolean {
    try {
      this.#stream.send(new Uint8ArrayList(...pieces));
    } catch (cause) {
      throw streamEnded(cause);
    }
    return !this.#stream.writableNeedsDrain;
  }

  drained(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    if (this.#stream.writeStatus !== "writable") return Promise.reject(this.#ended?.error ?? streamEnded());
    if (!this.#stream.writableNeedsDrain) return Promise.resolve();
    return this.#waiters.wait(signal);
  }

  listen(sink: ByteSink): void {
    this.#sink = sink;
    if (this.#ended !== undefined) {
      queueMicrotask(() => this.#tellEnd());
      return;
    }
    this.#stream.addEventListener("message", (event) => this.#message(event));
  }

  pause(): void {
    this.#paused = true;
    if (this.#flows()) this.#stream.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#deliver();
    if (this.#paused || !this.#flows()) return;
    try {
      this.#stream.resume();
    } catch {
      // what was unread has been delivered; only the window update to a connection that is gone failed
    }
  }

  close(): void {
    this.#stream.close().catch((error: Error) => this.#stream.abort(error));
  }

  abort(reason: Error): void {
    this.#stream.abort(reason);
  }

  #flows(): boolean {
    return this.#stream.readStatus === "readable" || this.#stream.readStatus === "paused";
  }

  #message(event: StreamMessageEvent): void {
    if (event.data instanceof Uint8Array) this.#hold(event.data);
    else for (const piece of event.data) this.#hold(piece);
    this.#deliver();
  }

  #hold(piece: Uint8Array): void {
    if (this.#expected.length === 0) {
      this.#held.push(piece);
      return;
    }
    const length = Math.min(piece.length, this.#expected.length);
    if (Buffer.compare(piece.subarray(0, length), this.#expected.subarray(0, length)) !== 0) {
      this.#stream.abort(new Fault("mesh.no-protocol", "the peer does not speak this protocol", { exit: "offline" }));
      return;
    }
    this.#expected = this.#expected.subarray(length);
    if (length < piece.length) this.#held.push(piece.subarray(length));
  }

  #deliver(): void {
    try {
      while (!this.#paused && this.#sink !== undefined) {
        const piece = this.#held.shift();
        if (piece === undefined) break;
        this.#sink.data(piece);
      }
    } catch (error) {
      this.#stream.abort(asError(error)); // thrown inside an event it would end the process
    }
    if (this.#ended !== undefined && this.#held.length === 0) this.#tellEnd();
  }

  #drained(): void {
    if (this.#stream.writableNeedsDrain) return;
    this.#waiters.resolve();
  }

  #closed(event: StreamCloseEvent): void {
    const over = event.error ?? streamEnded();
    this.#waiters.reject(event.local === true ? over : streamEnded(over));
    if (event.error !== undefined) this.#end(event.local === true ? event.error : streamReset(event.error));
    else if (!this.#finReceived) this.#end(connectionLost());
  }

  #end(error?: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = error === undefined ? {} : { error };
    if (error !== undefined) this.#held = [];
    if (this.#held.length === 0) this.#tellEnd();
  }

  #tellEnd(): void {
    const sink = this.#sink;
    this.#sink = undefined;
    if (this.#ended?.error === undefined) sink?.end();
    else sink?.end(this.#ended.error);
  }
}

function streamReset(cause: Error): Fault {
  return new Fault("core.stream-reset", "the peer reset the stream", { cause });
}

function connectionLost(): Fault {
  return new Fault("mesh.connection-lost", "the connection ended before the stream did", { exit: "offline" });
}
