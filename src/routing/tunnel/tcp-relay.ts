import type { Socket } from "node:net";
import { asError, type ByteSink, type ByteStream, Fault } from "#core";

/** What may wait for the socket before the stream is paused; the stream itself holds a window more. */
const SOCKET_HIGH_WATER_BYTES = 256 * 1024;

/** Counts what all relays of one owner carried, in bytes. */
export type Meter = { fromSocketBytes: number; toSocketBytes: number };

/**
 * Carries a TCP connection over a stream until both have ended: the end of one direction as such, a reset as a reset, and what waits on one
 * side holds the other back. Resolves when nothing is left of either; with the reason when it was a reset. The socket must allow half-open,
 * be connected, and be paused.
 */
export function relayTcp(socket: Socket, stream: ByteStream, meter: Meter): Promise<Error | undefined> {
  return new Promise((resolve) => {
    new TcpRelay(socket, stream, meter, resolve).start();
  });
}

class TcpRelay implements ByteSink {
  readonly #socket: Socket;
  readonly #stream: ByteStream;
  readonly #meter: Meter;
  readonly #done: (error: Error | undefined) => void;
  #corked = false;
  #socketEnded = false;
  #streamEnded = false;
  #closed = false;
  #failure: Error | undefined;

  constructor(socket: Socket, stream: ByteStream, meter: Meter, done: (error: Error | undefined) => void) {
    this.#socket = socket;
    this.#stream = stream;
    this.#meter = meter;
    this.#done = done;
  }

  start(): void {
    const socket = this.#socket;
    socket.on("data", (bytes: Uint8Array) => this.#read(bytes));
    socket.once("end", () => this.#readEnd());
    socket.on("drain", () => this.#stream.resume());
    socket.on("error", (error) => this.#fail(error));
    socket.once("close", () => this.#finish());
    this.#stream.listen(this);
    if (socket.destroyed) this.#finish();
    else socket.resume();
  }

  data(bytes: Uint8Array): void {
    const socket = this.#socket;
    this.#meter.toSocketBytes += bytes.length;
    if (!this.#corked) this.#cork();
    if (!socket.write(bytes) && socket.writableLength >= SOCKET_HIGH_WATER_BYTES) this.#stream.pause();
  }

  end(error?: Error): void {
    this.#streamEnded = true;
    if (error === undefined) this.#socket.end();
    else this.#fail(error);
  }

  /** What arrives at once, in pieces of a TLS record, is written at once. */
  #cork(): void {
    this.#corked = true;
    this.#socket.cork();
    queueMicrotask(() => {
      this.#corked = false;
      this.#socket.uncork();
    });
  }

  #read(bytes: Uint8Array): void {
    if (this.#failure !== undefined || this.#closed) return;
    this.#meter.fromSocketBytes += bytes.length;
    try {
      if (this.#stream.send(bytes)) return;
    } catch (error) {
      return this.#fail(asError(error));
    }
    this.#socket.pause();
    this.#stream.drained().then(
      () => this.#socket.resume(),
      () => undefined, // the stream has ended, and tells its sink so
    );
  }

  #readEnd(): void {
    this.#socketEnded = true;
    if (this.#failure === undefined) this.#stream.close();
  }

  /** Either side has failed: both are reset. What else happens follows from the socket's close. */
  #fail(error: Error): void {
    this.#failure ??= error;
    if (!this.#socket.destroyed) this.#socket.resetAndDestroy();
  }

  /** The socket closes last: when both directions have ended, or by a reset. */
  #finish(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#failure === undefined && this.#socketEnded && this.#streamEnded) return this.#done(undefined);
    const reason = this.#failure ?? new Fault("routing.tunnel-reset", "the connection was reset");
    this.#stream.abort(reason);
    this.#done(reason);
  }
}
