import { type ByteStream, streamEnded } from "./byte-stream.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { asError, Fault } from "./fault.ts";

/** One message: a CBOR header, then raw bytes that the header describes. */
export type Frame = {
  header: unknown;
  /** Views of what arrived, in order, uncopied. Empty when the frame has no payload. */
  payload: Uint8Array[];
  payloadBytes: number;
};

export type FrameLimits = {
  /** Largest header, in bytes of CBOR. */
  maxHeaderBytes: number;
  /** Largest payload; 0 for protocols that carry none. */
  maxPayloadBytes: number;
};

/*
 *  0                   4                   8
 *  +-------------------+-------------------+----------------+-----------------+
 *  | header length, BE | payload length,BE | header (CBOR)  | payload (raw)   |
 *  +-------------------+-------------------+----------------+-----------------+
 */
const PREFIX_BYTES = 8;

/** The pieces of one frame, ready for `ByteStream.send`; the payload is passed on uncopied. */
export function encodeFrame(header: unknown, payload: readonly Uint8Array[] = []): Uint8Array[] {
  const body = encodeCbor(header);
  let payloadBytes = 0;
  for (const piece of payload) payloadBytes += piece.length;
  const head = Buffer.allocUnsafe(PREFIX_BYTES + body.length);
  head.writeUInt32BE(body.length, 0);
  head.writeUInt32BE(payloadBytes, 4);
  head.set(body, PREFIX_BYTES);
  return [head, ...payload];
}

/** Pieces below this are joined while they wait, so that a peer that sends single bytes costs no more memory than bytes. */
const SMALL_PIECE_BYTES = 4_096;

/**
 * Cuts a stream of bytes into frames, whatever the pieces it arrives in. Holds at most one frame, and no more than the limits.
 *
 * `push` throws Fault `core.frame` (a length over the limits) or `core.cbor` (a bad header), both exit `invalid`; the reader
 * must not be used afterwards.
 */
export class FrameReader {
  readonly #limits: Readonly<FrameLimits>;
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  #headerBytes = -1; // -1: the prefix is still incomplete
  #payloadBytes = 0;

  constructor(limits: Readonly<FrameLimits>) {
    this.#limits = limits;
  }

  /** True when nothing of a next frame has arrived, so that an end of the stream here loses nothing. */
  get idle(): boolean {
    return this.#bytes === 0 && this.#headerBytes < 0;
  }

  /** Adds a piece and hands every frame that it completes to `onFrame`, in order. */
  push(piece: Uint8Array, onFrame: (frame: Frame) => void): void {
    this.#hold(piece);
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) onFrame(frame);
  }

  /** Takes what has arrived behind the last frame; within `onFrame`, where raw bytes follow it. */
  rest(): Uint8Array[] {
    return this.#take(this.#bytes);
  }

  /** Small pieces are merged in doubling sizes (each byte is copied at most 12 times), so that few of them wait. */
  #hold(piece: Uint8Array): void {
    this.#bytes += piece.length;
    let held = piece;
    while (held.length < SMALL_PIECE_BYTES) {
      const last = this.#pieces.at(-1);
      if (last === undefined || last.length > held.length) break;
      this.#pieces.pop();
      held = Buffer.concat([last, held]);
    }
    if (held.length > 0) this.#pieces.push(held);
  }

  #next(): Frame | undefined {
    if (this.#headerBytes < 0) {
      if (this.#bytes < PREFIX_BYTES) return undefined;
      this.#readPrefix();
    }
    if (this.#bytes < this.#headerBytes + this.#payloadBytes) return undefined;
    const header = decodeCbor(Buffer.concat(this.#take(this.#headerBytes)), this.#limits.maxHeaderBytes);
    const payloadBytes = this.#payloadBytes;
    const payload = this.#take(payloadBytes);
    this.#headerBytes = -1;
    return { header, payload, payloadBytes };
  }

  #readPrefix(): void {
    const prefix = Buffer.concat(this.#take(PREFIX_BYTES));
    const headerBytes = prefix.readUInt32BE(0);
    const payloadBytes = prefix.readUInt32BE(4);
    const { maxHeaderBytes, maxPayloadBytes } = this.#limits;
    if (headerBytes === 0 || headerBytes > maxHeaderBytes || payloadBytes > maxPayloadBytes) {
      throw new Fault(
        "core.frame",
        `frame of ${headerBytes} + ${payloadBytes} bytes is outside the limits of ${maxHeaderBytes} + ${maxPayloadBytes}`,
        { exit: "invalid" },
      );
    }
    this.#headerBytes = headerBytes;
    this.#payloadBytes = payloadBytes;
  }

  #take(bytes: number): Uint8Array[] {
    const taken: Uint8Array[] = [];
    let whole = 0;
    let left = bytes;
    for (const piece of this.#pieces) {
      if (left === 0) break;
      if (piece.length > left) {
        taken.push(piece.subarray(0, left));
        this.#pieces[whole] = piece.subarray(left);
        break;
      }
      taken.push(piece);
      whole += 1;
      left -= piece.length;
    }
    this.#pieces.splice(0, whole);
    this.#bytes -= bytes;
    return taken;
  }
}

/** Frames that may wait unread before the stream is paused; those of the piece in hand may add to it. */
const UNREAD_HIGH_WATER = 16;

/** Frames over a stream for protocols that take turns: `send`, then `await read()`. */
export class FrameStream {
  readonly #stream: ByteStream;
  readonly #unread: Frame[] = [];
  #waiter: { resolve: (frame: Frame | undefined) => void; reject: (reason: unknown) => void } | undefined;
  #paused = false;
  #ended = false;
  #error: Error | undefined;

  constructor(stream: ByteStream, limits: Readonly<FrameLimits>) {
    this.#stream = stream;
    const reader = new FrameReader(limits);
    stream.listen({
      data: (bytes) => {
        if (this.#ended) return;
        try {
          reader.push(bytes, (frame) => this.#arrived(frame));
        } catch (error) {
          this.#finish(asError(error));
          stream.abort(asError(error));
        }
      },
      end: (error) => this.#finish(error ?? (reader.idle ? undefined : streamEnded())),
    });
  }

  /** Queues one frame; `false` means: wait for `drained`. */
  send(header: unknown, payload: readonly Uint8Array[] = []): boolean {
    return this.#stream.send(...encodeFrame(header, payload));
  }

  drained(signal?: AbortSignal): Promise<void> {
    return this.#stream.drained(signal);
  }

  /**
   * The next frame, or `undefined` after a good end. Rejects with what ended the stream otherwise, or when `signal` fires.
   *
   * Throws Fault `core.frame-turn` when another read still waits: a protocol that takes turns has one reader.
   */
  async read(signal?: AbortSignal): Promise<Frame | undefined> {
    signal?.throwIfAborted();
    if (this.#waiter !== undefined) throw new Fault("core.frame-turn", "two reads at a time on one stream");
    const frame = this.#unread.shift();
    if (frame !== undefined) {
      this.#resume();
      return frame;
    }
    if (this.#error !== undefined) throw this.#error;
    if (this.#ended) return undefined;
    const { promise, resolve, reject } = Promise.withResolvers<Frame | undefined>();
    const waiter = { resolve, reject };
    this.#waiter = waiter;
    const onAbort = (): void => {
      if (this.#waiter === waiter) this.#waiter = undefined;
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    return promise.finally(() => signal?.removeEventListener("abort", onAbort));
  }

  close(): void {
    this.#stream.close();
  }

  abort(reason: Error): void {
    this.#stream.abort(reason);
  }

  #arrived(frame: Frame): void {
    const waiter = this.#waiter;
    if (waiter !== undefined) {
      this.#waiter = undefined;
      waiter.resolve(frame);
      return;
    }
    this.#unread.push(frame);
    if (this.#unread.length < UNREAD_HIGH_WATER || this.#paused) return;
    this.#paused = true;
    this.#stream.pause();
  }

  #resume(): void {
    if (!this.#paused || this.#unread.length >= UNREAD_HIGH_WATER || this.#ended) return;
    this.#paused = false;
    this.#stream.resume();
  }

  #finish(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (error === undefined) waiter?.resolve(undefined);
    else waiter?.reject(error);
  }
}
