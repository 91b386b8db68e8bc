import { createCipheriv, createSecretKey, hkdfSync, type KeyObject, timingSafeEqual } from "node:crypto";
import { Fault } from "#core";

/*
 * One frame; numbers are big-endian. The tag is there once both ends have a key.
 *
 *  0        1                 4                           12
 *  +--------+-----------------+---------------------------+----------------+----------+
 *  | type   | payload length  | value: an offset, or 0    | payload        | tag (16) |
 *  +--------+-----------------+---------------------------+----------------+----------+
 */
const HEADER_BYTES = 12;
const TAG_BYTES = 16;
/** Payload of one frame. It is passed on when it is whole, so a large one delays. */
export const MAX_PAYLOAD_BYTES = 64 * 1024;

/** `data`: value is the offset of its first byte. `ack`: the offset up to which all was taken. `end`: the offset at which the sender has no more. */
const TYPES = ["data", "ack", "end", "ping", "pong", "keyed", "reset"] as const;
export type FrameType = (typeof TYPES)[number];
export type CircuitFrame = { type: FrameType; value: number; payload: Uint8Array[]; payloadBytes: number };

/** Who sends: the source opened the circuit. */
export type Role = "source" | "target";

/** Makes the tags of the frames that one end sends over one path: AES-GCM over nothing but additional data, which is GMAC (NIST SP 800-38D). */
export class FrameTags {
  readonly #key: KeyObject;
  readonly #nonce = Buffer.alloc(12);
  #frames = 0n;

  /** `secret`: of the circuit. No two `FrameTags` of a sender may have the same secret and epoch. */
  constructor(secret: Uint8Array, sender: Role, epoch: number) {
    const info = `portolan-circuit frames of the ${sender}`;
    this.#key = createSecretKey(Buffer.from(hkdfSync("sha256", secret, "", info, 32)));
    this.#nonce.writeUInt32BE(epoch, 0);
  }

  next(header: Uint8Array, payload: readonly Uint8Array[]): Buffer {
    this.#nonce.writeBigUInt64BE(this.#frames++, 4);
    const cipher = createCipheriv("aes-256-gcm", this.#key, this.#nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(header);
    for (const piece of payload) cipher.setAAD(piece);
    cipher.final();
    return cipher.getAuthTag();
  }
}

/** The pieces of one frame; the payload is passed on uncopied. */
export function encodeCircuitFrame(
  type: FrameType,
  value: number,
  payload: readonly Uint8Array[],
  tags: FrameTags | undefined,
): Uint8Array[] {
  let payloadBytes = 0;
  for (const piece of payload) payloadBytes += piece.length;
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32BE(payloadBytes, 0);
  header[0] = TYPES.indexOf(type);
  header.writeBigUInt64BE(BigInt(value), 4);
  return tags === undefined ? [header, ...payload] : [header, ...payload, tags.next(header, payload)];
}

/**
 * Cuts what comes over one path into frames. Holds at most one that is not whole.
 *
 * `push` throws Fault `routing.circuit-frame`; the path must not be used any more.
 */
export class CircuitFrameReader {
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  #header: Buffer | undefined;
  #payloadBytes = 0;
  #held = false;
  #tags: FrameTags | undefined;

  constructor(tags?: FrameTags) {
    this.#tags = tags;
  }

  /** From the next frame on each has a tag. */
  expect(tags: FrameTags): void {
    this.#tags = tags;
  }

  /** Adds a piece and hands on what is whole, until `onFrame` calls `hold`. */
  push(piece: Uint8Array, onFrame: (frame: CircuitFrame) => void): void {
    if (piece.length > 0) this.#pieces.push(piece);
    this.#bytes += piece.length;
    while (!this.#held) {
      const frame = this.#next();
      if (frame === undefined) return;
      onFrame(frame);
    }
  }

  /** Keeps what comes until `release`. */
  hold(): void {
    this.#held = true;
  }

  release(onFrame: (frame: CircuitFrame) => void): void {
    this.#held = false;
    this.push(new Uint8Array(0), onFrame);
  }

  /** Bytes that wait, of a frame that is not whole or behind a `hold`. */
  get waitingBytes(): number {
    return this.#bytes;
  }

  #next(): CircuitFrame | undefined {
    const header = this.#header ?? this.#readHeader();
    const tagBytes = this.#tags === undefined ? 0 : TAG_BYTES;
    if (header === undefined || this.#bytes < this.#payloadBytes + tagBytes) return undefined;
    const payloadBytes = this.#payloadBytes;
    const payload = this.#take(payloadBytes);
    if (this.#tags !== undefined) {
      const tag = Buffer.concat(this.#take(TAG_BYTES));
      if (!timingSafeEqual(tag, this.#tags.next(header, payload))) throw malformed("a frame was changed on its way");
    }
    this.#header = undefined;
    const type = TYPES[header[0] as number];
    if (type === undefined) throw malformed(`type ${header[0]}`);
    return { type, value: Number(header.readBigUInt64BE(4)), payload, payloadBytes };
  }

  #readHeader(): Buffer | undefined {
    if (this.#bytes < HEADER_BYTES) return undefined;
    const header = Buffer.concat(this.#take(HEADER_BYTES));
    this.#payloadBytes = header.readUInt32BE(0) & 0xffffff;
    const isData = header[0] === TYPES.indexOf("data");
    if (this.#payloadBytes > (isData ? MAX_PAYLOAD_BYTES : 0))
      throw malformed(`${this.#payloadBytes} bytes of payload`);
    if (header.readUInt32BE(4) >= 2 ** 21) throw malformed("an offset beyond 2^53");
    this.#header = header;
    return header;
  }

  #take(bytes: number): Uint8Array[] {
    const taken: Uint8Array[] = [];
    let left = bytes;
    this.#bytes -= bytes;
    while (left > 0) {
      const piece = this.#pieces[0] as Uint8Array;
      if (piece.length > left) {
        taken.push(piece.subarray(0, left));
        this.#pieces[0] = piece.subarray(left);
        break;
      }
      taken.push(piece);
      this.#pieces.shift();
      left -= piece.length;
    }
    return taken;
  }
}

function malformed(what: string): Fault {
  return new Fault("routing.circuit-frame", `not a frame of a circuit: ${what}`, { exit: "invalid" });
}
