import type { ByteSink, ByteStream } from "#core";

/** A stream whose other end is the fuzzer: what it says arrives at once, what it hears is counted. */
export class FedStream implements ByteStream {
  #sink: ByteSink | undefined;
  readonly heldBytes = 0;
  sentBytes = 0;
  ended = false;

  /** Says something; a stream that was closed hears nothing any more. */
  feed(bytes: Uint8Array): void {
    if (!this.ended) this.#sink?.data(bytes);
  }

  /** Hangs up. */
  end(error?: Error): void {
    if (this.ended) return;
    this.ended = true;
    this.#sink?.end(error);
  }

  send(...pieces: Uint8Array[]): boolean {
    for (const piece of pieces) this.sentBytes += piece.length;
    return true;
  }
  async drained(): Promise<void> {}
  listen(sink: ByteSink): void {
    this.#sink = sink;
  }
  pause(): void {}
  resume(): void {}
  close(): void {}
  abort(reason: Error): void {
    this.end(reason);
  }
}
