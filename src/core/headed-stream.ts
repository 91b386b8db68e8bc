import { type ByteSink, type ByteStream, lengthOf, streamEnded } from "./byte-stream.ts";
import { asError, Fault } from "./fault.ts";
import { type FrameLimits, FrameReader } from "./frame.ts";

export type HeadLimits = FrameLimits & {
  /** Bytes behind the frame that may come before somebody listens; the stream ends at more. */
  maxHeldBytes: number;
};

/**
 * A stream in which one frame comes before raw bytes. Once the frame has been read this is the stream of those bytes; what arrives before
 * somebody listens is held.
 */
export class HeadedStream implements ByteStream {
  /** The header of the frame. Rejects with what ended the stream before it. */
  readonly head: Promise<unknown>;
  readonly #inner: ByteStream;
  readonly #maxHeldBytes: number;
  #reader: FrameReader | undefined;
  #sink: ByteSink | undefined;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #delivering = false;
  #paused = false;
  #ended: { error?: Error } | undefined;

  constructor(inner: ByteStream, limits: Readonly<HeadLimits>) {
    this.#inner = inner;
    this.#maxHeldBytes = limits.maxHeldBytes;
    this.#reader = new FrameReader(limits);
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.head = promise;
    promise.catch(() => undefined); // also when nobody waits for it any more
    inner.listen({
      data: (bytes) => {
        try {
          if (this.#reader === undefined) this.#arrived(bytes);
          else this.#readHead(this.#reader, bytes, resolve);
        } catch (error) {
          inner.abort(asError(error));
        }
      },
      end: (error) => {
        if (this.#reader !== undefined) reject(error ?? streamEnded());
        this.#ended = error === undefined ? {} : { error };
        if (error !== undefined) this.#held = [];
        this.#deliver();
      },
    });
  }

  get heldBytes(): number {
    return this.#inner.heldBytes + lengthOf(this.#held);
  }

  send(...pieces: Uint8Array[]): boolean {
    return this.#inner.send(...pieces);
  }

  drained(signal?: AbortSignal): Promise<void> {
    return this.#inner.drained(signal);
  }

  listen(sink: ByteSink): void {
    this.#sink = sink;
    queueMicrotask(() => {
      this.#delivering = true;
      this.#deliver();
    });
  }

  pause(): void {
    this.#paused = true;
    this.#inner.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#deliver();
    if (!this.#paused) this.#inner.resume();
  }

  close(): void {
    this.#inner.close();
  }

  abort(reason: Error): void {
    this.#inner.abort(reason);
  }

  #readHead(reader: FrameReader, bytes: Uint8Array, resolve: (header: unknown) => void): void {
    let rest: Uint8Array[] = [];
    reader.push(bytes, ({ header }) => {
      this.#reader = undefined;
      rest = reader.rest();
      resolve(header);
    });
    for (const piece of rest) this.#arrived(piece);
  }

  #arrived(bytes: Uint8Array): void {
    if (this.#delivering && !this.#paused && this.#held.length === 0) return this.#sink?.data(bytes);
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#sink !== undefined || this.#heldBytes <= this.#maxHeldBytes) return;
    throw new Fault("core.stream-early", `over ${this.#maxHeldBytes} bytes came before the stream was open`, {
      exit: "invalid",
    });
  }

  #deliver(): void {
    while (this.#delivering && !this.#paused) {
      const piece = this.#held.shift();
      if (piece === undefined) break;
      this.#sink?.data(piece);
    }
    if (!this.#delivering || this.#ended === undefined || this.#held.length > 0) return;
    const sink = this.#sink;
    this.#sink = undefined;
    if (this.#ended.error === undefined) sink?.end();
    else sink?.end(this.#ended.error);
  }
}
