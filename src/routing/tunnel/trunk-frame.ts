import { Fault } from "#core";

/** What a frame says about its flow (docs/spec/tunnel.md). */
export const FRAME = { open: 0, accept: 1, data: 2, window: 3, end: 4, reset: 5 } as const;
export type FrameType = (typeof FRAME)[keyof typeof FRAME];
/** All but data: read whole. */
export type ControlType = Exclude<FrameType, typeof FRAME.data>;

/*
 *  0        1                 4                 8
 *  +--------+-----------------+-----------------+-----------------+
 *  | type   | length, BE      | flow, BE        | payload         |
 *  +--------+-----------------+-----------------+-----------------+
 */
export const HEADER_BYTES = 8;
/** Largest payload of a data frame: what a trunk passes on in one piece. */
export const MAX_DATA_BYTES = 256 * 1024;
/** A request, or why there is no tunnel: names of 63 characters, or a sentence. */
export const MAX_MESSAGE_BYTES = 1_024;
const CREDIT_BYTES = 4;

/** Shortest and longest payload by type. */
const LENGTHS: readonly (readonly [number, number])[] = [
  [1, MAX_MESSAGE_BYTES], // open
  [0, 0], // accept
  [1, MAX_DATA_BYTES], // data
  [CREDIT_BYTES, CREDIT_BYTES], // window
  [0, 0], // end
  [0, MAX_MESSAGE_BYTES], // reset
];

/** The header of a frame, to be followed by `payloadBytes` bytes. */
export function encodeHeader(type: FrameType, flow: number, payloadBytes: number): Uint8Array {
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32BE(type * 2 ** 24 + payloadBytes);
  header.writeUInt32BE(flow, 4);
  return header;
}

/** A whole window frame: the receiver has room for `creditBytes` more. */
export function encodeWindow(flow: number, creditBytes: number): Uint8Array {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + CREDIT_BYTES);
  frame.writeUInt32BE(FRAME.window * 2 ** 24 + CREDIT_BYTES);
  frame.writeUInt32BE(flow, 4);
  frame.writeUInt32BE(creditBytes, HEADER_BYTES);
  return frame;
}

/** Reads the payload of a window frame. */
export function readCredit(payload: Uint8Array): number {
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0);
}

/** Hears what a `TrunkReader` finds. */
export type FrameListener = {
  control: (type: ControlType, flow: number, payload: Uint8Array) => void;
  /** A piece of a data frame, never empty, uncopied. */
  data: (flow: number, piece: Uint8Array) => void;
};

/** Cuts a trunk into frames, whatever the pieces it arrives in. Passes data on as it comes; holds at most a header and one message. */
export class TrunkReader {
  readonly #listener: FrameListener;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  #flow = 0;
  /** The message in hand, and how much of it is there; `undefined` within data. */
  #message: { type: ControlType; payload: Buffer; bytes: number } | undefined;
  /** Of the payload in hand, still to come. */
  #leftBytes = 0;

  constructor(listener: FrameListener) {
    this.#listener = listener;
  }

  /** Throws Fault `routing.tunnel-frame` (exit `invalid`), or what the listener throws; the reader must not be used afterwards. */
  push(piece: Uint8Array): void {
    for (let at = 0; at < piece.length; ) {
      if (this.#headerBytes < HEADER_BYTES) {
        at += this.#fillHeader(piece.subarray(at));
        continue;
      }
      const part = piece.subarray(at, at + this.#leftBytes);
      at += part.length;
      this.#leftBytes -= part.length;
      this.#take(part);
    }
  }

  #fillHeader(piece: Uint8Array): number {
    const part = piece.subarray(0, HEADER_BYTES - this.#headerBytes);
    this.#header.set(part, this.#headerBytes);
    this.#headerBytes += part.length;
    if (this.#headerBytes === HEADER_BYTES) this.#begin();
    return part.length;
  }

  #begin(): void {
    const type = this.#header.readUInt8(0);
    const length = this.#header.readUIntBE(1, 3);
    this.#flow = this.#header.readUInt32BE(4);
    const [least, most] = LENGTHS[type] ?? [1, 0];
    if (length < least || length > most)
      throw frameFault(`a frame of type ${type} with ${length} bytes makes no sense`);
    this.#leftBytes = length;
    this.#message =
      type === FRAME.data ? undefined : { type: type as ControlType, payload: Buffer.alloc(length), bytes: 0 };
    if (length === 0) this.#take(this.#header.subarray(0, 0));
  }

  #take(part: Uint8Array): void {
    if (this.#leftBytes === 0) this.#headerBytes = 0;
    const message = this.#message;
    if (message === undefined) return this.#listener.data(this.#flow, part);
    message.payload.set(part, message.bytes);
    message.bytes += part.length;
    if (this.#leftBytes > 0) return;
    this.#message = undefined;
    this.#listener.control(message.type, this.#flow, message.payload);
  }
}

/** A peer broke the rules of the trunk, which ends. */
export function frameFault(message: string): Fault {
  return new Fault("routing.tunnel-frame", message, { exit: "invalid" });
}
