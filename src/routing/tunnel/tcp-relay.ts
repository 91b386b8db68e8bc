import type { Socket } from "node:net";
import { asError, type ByteSink, type ByteStream, Fault } from "#core";
import { MAX_EARLY_BYTES } from "./tunnel-wire.ts";

/** Bytes that may gather within one turn of the event loop before they are sent: the kernel hands out 64 KiB at a time. */
const TURN_BYTES = 256 * 1024;
/** What may wait for the socket before the stream is paused; the stream itself holds a window more. */
const SOCKET_HIGH_WATER_BYTES = 256 * 1024;

/** Counts what all relays of one owner carried, in bytes. */
export type Meter = { fromSocketBytes: number; toSocketBytes: number };

/**
 * Carries a TCP connection over a stream until both have ended: the end of one direction as such, a reset as a reset, and what waits on one
 * side holds the other back. Resolves when nothing is left of either; with the reason when it was a reset. The socket must allow half-open,
 * be connected, and be paused.
 *
 * `opened`: the stream may take only so much before this resolves (docs/spec/tunnel.md); if it rejects, the stream ends, too.
 */
export function relayTcp(
  socket: Socket,
  stream: ByteStream,
  meter: Meter,
  opened?: Promise<void>,
): Promise<Error | undefined> {
  return new Promise((resolve) => {
    new TcpRelay(socket, stream, meter, resolve).start(opened);
  });
}

class TcpRelay implements ByteSink {
  readonly #socket: Socket;
  readonly #stream: ByteStream;
  readonly #meter: Meter;
  readonly #done: (error: Error | undefined) => void;
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;
  #flushing: NodeJS.Immediate | undefined;
  /** What the stream may still take; without limit once the tunnel is open. */
  #leftBytes = Number.POSITIVE_INFINITY;
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

  start(opened: Promise<void> | undefined): void {
    const socket = this.#socket;
    if (opened !== undefined) {
      this.#leftBytes = MAX_EARLY_BYTES;
      opened.then(
        () => this.#open(),
        () => undefined, // the stream says so, too
      );
    }
    socket.on("data", (bytes: Uint8Array) => this.#read(bytes));
    socket.once("end", () => {
      this.#socketEnded = true;
      this.#flush();
    });
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
    if (!socket.write(bytes) && socket.writableLength >= SOCKET_HIGH_WATER_BYTES) this.#stream.pause();
  }

  end(error?: Error): void {
    this.#streamEnded = true;
    if (error === undefined) this.#socket.end();
    else this.#fail(error);
  }

  #read(bytes: Uint8Array): void {
    this.#gathered.push(bytes);
    this.#gatheredBytes += bytes.length;
    if (this.#gatheredBytes >= TURN_BYTES) this.#flush();
    else this.#flushing ??= setImmediate(() => this.#flush());
  }

  #flush(): void {
    clearImmediate(this.#flushing);
    this.#flushing = undefined;
    if (this.#failure !== undefined || this.#closed) return;
    if (this.#gatheredBytes > this.#leftBytes) {
      this.#socket.pause();
      return;
    }
    try {
      if (this.#gatheredBytes > 0) this.#send();
      if (this.#socketEnded) this.#stream.close();
    } catch (error) {
      this.#fail(asError(error));
    }
  }

  #send(): void {
    const pieces = this.#gathered;
    this.#leftBytes -= this.#gatheredBytes;
    this.#meter.fromSocketBytes += this.#gatheredBytes;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    if (this.#stream.send(...pieces)) return;
    this.#socket.pause();
    this.#stream.drained().then(
      () => this.#socket.resume(),
      () => undefined, // the stream has ended, and tells its sink so
    );
  }

  /** The tunnel is open: what was held back may go. */
  #open(): void {
    this.#leftBytes = Number.POSITIVE_INFINITY;
    if (this.#gatheredBytes === 0) return;
    this.#socket.resume();
    this.#flush();
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
    clearImmediate(this.#flushing);
    const isWhole = this.#failure === undefined && this.#socketEnded && this.#streamEnded && this.#gatheredBytes === 0;
    if (isWhole) return this.#done(undefined);
    const reason = this.#failure ?? new Fault("routing.tunnel-reset", "the connection was reset");
    this.#stream.abort(reason);
    this.#done(reason);
  }
}
