import type { ByteStream } from "./byte-stream.ts";
import { streamEnded } from "./byte-stream.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { Fault } from "./fault.ts";

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
    return this.#bytes === 0;
  }

  /** Adds a piece and hands every frame that it completes to `onFrame`, in order. */
  push(piece: Uint8Array, onFrame: (frame: Frame) => void): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    for (;;) {
      if (this.#headerBytes < 0) {
        if (this.#bytes < PREFIX_BYTES) return;
        this.#readPrefix();
      }
      if (this.#bytes < this.#headerBytes + this.#payloadBytes) return;
      const header = decodeCbor(join(this.#take(this.#headerBytes)), this.#limits.maxHeaderBytes);
      const payloadBytes = this.#payloadBytes;
      const payload = this.#take(payloadBytes);
      this.#headerBytes = -1;
      onFrame({ header, payload, payloadBytes });
    }
  }

  #readPrefix(): void {
    const prefix = join(this.#take(PREFIX_BYTES));
    const view = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES);
    const headerBytes = view.getUint32(0);
    const payloadBytes = view.getUint32(4);
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
    let left = bytes;
    while (left > 0) {
      const first = this.#pieces[0] as Uint8Array;
      if (first.length <= left) {
        taken.push(first);
        this.#pieces.shift();
        left -= first.length;
      } else {
        taken.push(first.subarray(0, left));
        this.#pieces[0] = first.subarray(left);
        left = 0;
      }
    }
    this.#bytes -= bytes;
    return taken;
  }
}

function join(pieces: Uint8Array[]): Uint8Array {
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
}

/** Frames a reader may hold unread before the stream is paused. */
const UNREAD_HIGH_WATER = 16;

/** Frames over a stream for protocols that take turns: `send`, then `await read()`. */
export class FrameStream {
  readonly #stream: ByteStream;
  readonly #unread: Frame[] = [];
  #waiter: { resolve: (frame: Frame | undefined) => void; reject: (error: Error) => void } | undefined;
  #ended = false;
  #error: Error | undefined;

  constructor(stream: ByteStream, limits: Readonly<FrameLimits>) {
    this.#stream = stream;
    const reader = new FrameReader(limits);
    stream.listen({
      data: (bytes) => {
        try {
          reader.push(bytes, (frame) => this.#arrived(frame));
        } catch (error) {
          stream.abort(error as Error);
          this.#finish(error as Error);
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

  /** The next frame, or `undefined` after a good end. Rejects with what ended the stream otherwise, or when `signal` fires. One reader at a time. */
  read(signal?: AbortSignal): Promise<Frame | undefined> {
    signal?.throwIfAborted();
    const frame = this.#unread.shift();
    if (frame !== undefined) {
      if (this.#unread.length < UNREAD_HIGH_WATER) this.#stream.resume();
      return Promise.resolve(frame);
    }
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#ended) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiter = undefined;
        reject(signal?.reason as Error);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiter = {
        resolve: (next) => {
          signal?.removeEventListener("abort", onAbort);
          resolve(next);
        },
        reject: (error) => {
          signal?.removeEventListener("abort", onAbort);
          reject(error);
        },
      };
    });
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
    if (this.#unread.length >= UNREAD_HIGH_WATER) this.#stream.pause();
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
