import { type ByteSink, type ByteStream, streamEnded } from "./byte-stream.ts";
import { asError } from "./fault.ts";
import { encodeFrame, FrameReader } from "./frame.ts";

/** A stream on which each side says one thing in a frame without payload; what follows is bytes. */
export class HeadedStream implements ByteStream {
  readonly #stream: ByteStream;
  readonly #head = Promise.withResolvers<unknown>();
  #sink: ByteSink | undefined;
  #rest: Uint8Array[] = [];
  #headed = false;
  #paused = false;
  #ended: { error?: Error } | undefined;

  /** Listens at once. */
  constructor(stream: ByteStream, maxHeadBytes: number) {
    this.#stream = stream;
    this.#head.promise.catch(() => undefined); // also where nobody asks
    const reader = new FrameReader({ maxHeaderBytes: maxHeadBytes, maxPayloadBytes: 0 });
    stream.listen({
      data: (piece) => (this.#headed ? this.#data(piece) : this.#read(reader, piece)),
      end: (error) => this.#end(error),
    });
  }

  /** Says this side's part. */
  say(head: unknown): void {
    this.#stream.send(...encodeFrame(head));
  }

  /** What the other side says; the stream then stands still until `listen`. Rejects as the stream ends, also with `core.frame` or `core.cbor`. */
  head(): Promise<unknown> {
    return this.#head.promise;
  }

  send(...pieces: Uint8Array[]): boolean {
    return this.#stream.send(...pieces);
  }
  drained(signal?: AbortSignal): Promise<void> {
    return this.#stream.drained(signal);
  }
  pause(): void {
    this.#paused = true;
    this.#stream.pause();
  }
  resume(): void {
    this.#paused = false;
    this.#deliver();
    if (!this.#paused) this.#stream.resume();
  }
  close(): void {
    this.#stream.close();
  }
  abort(reason: Error): void {
    this.#stream.abort(reason);
  }

  listen(sink: ByteSink): void {
    this.#sink = sink;
    queueMicrotask(() => (this.#paused ? undefined : this.resume()));
  }

  #read(reader: FrameReader, piece: Uint8Array): void {
    try {
      reader.add(piece);
      const frame = reader.next();
      if (frame === undefined) return;
      this.#headed = true;
      this.#rest = reader.rest();
      this.#stream.pause();
      this.#head.resolve(frame.header);
    } catch (error) {
      this.#head.reject(error);
      this.#stream.abort(asError(error));
    }
  }

  #data(piece: Uint8Array): void {
    this.#rest.push(piece);
    if (this.#sink !== undefined) this.#deliver();
  }

  #deliver(): void {
    while (!this.#paused && this.#sink !== undefined) {
      const piece = this.#rest.shift();
      if (piece === undefined) break;
      this.#sink.data(piece);
    }
    if (this.#ended !== undefined) this.#tellEnd();
  }

  #end(error?: Error): void {
    this.#ended = error === undefined ? {} : { error };
    this.#head.reject(error ?? streamEnded());
    if (error !== undefined) this.#rest = [];
    this.#tellEnd();
  }

  #tellEnd(): void {
    if (this.#sink === undefined || this.#rest.length > 0) return;
    const sink = this.#sink;
    this.#sink = undefined;
    if (this.#ended?.error === undefined) sink.end();
    else sink.end(this.#ended.error);
  }
}
