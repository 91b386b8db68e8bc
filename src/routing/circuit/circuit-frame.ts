import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject } from "node:crypto";
import { Fault } from "#core";
import type { CarrierSecret } from "#mesh";

/*
 * One frame; numbers are big-endian. Once an end has its key its payloads are encrypted and the tag is there.
 *
 *  0        1                 4                           12
 *  +--------+-----------------+---------------------------+----------------+----------+
 *  | type   | payload length  | value: an offset, or 0    | payload        | tag (16) |
 *  +--------+-----------------+---------------------------+----------------+----------+
 */
const HEADER_BYTES = 12;
const TAG_BYTES = 16;
const TAG = { authTagLength: TAG_BYTES };
/** Payload of one frame. It is passed on when it is whole, so a large one delays. */
export const MAX_PAYLOAD_BYTES = 64 * 1024;

/**
 * `data`: value is the offset of its first byte. `ack`: the offset up to which all was taken. `end`: the offset at which the sender has no more.
 * `handshake`: bytes of TLS.
 */
const TYPES = ["data", "ack", "end", "ping", "pong", "keyed", "reset", "handshake"] as const;
export type FrameType = (typeof TYPES)[number];
export type CircuitFrame = { type: FrameType; value: number; payload: Uint8Array[]; payloadBytes: number };

/** Which frames mean something before their sender has its key, and which after. */
const BARE: readonly FrameType[] = ["handshake", "ping", "pong", "keyed", "reset"];
const SEALED: readonly FrameType[] = ["data", "ack", "end", "ping", "pong", "reset"];
const WITH_PAYLOAD: readonly FrameType[] = ["data", "handshake"];

/** Who sends: the source opened the circuit. */
export type Role = "source" | "target";

/** Seals the frames that one end sends over one path, in order, or opens them: AEAD (RFC 5116) with the header as associated data. */
export class FrameCipher {
  readonly #key: KeyObject;
  readonly #isAes: boolean;
  readonly #nonce = Buffer.alloc(12);
  #frames = 0n;

  /** `secret`: of the circuit. No two that seal for one sender may have the same secret and epoch. */
  constructor(secret: CarrierSecret, sender: Role, epoch: number) {
    const info = `portolan-circuit frames of the ${sender}`;
    this.#isAes = secret.cipher === "aes-128-gcm";
    this.#key = createSecretKey(Buffer.from(hkdfSync("sha256", secret.bytes, "", info, this.#isAes ? 16 : 32)));
    this.#nonce.writeUInt32BE(epoch, 0);
  }

  /** Header, encrypted payload and tag. */
  seal(header: Buffer, payload: readonly Uint8Array[], payloadBytes: number): Uint8Array[] {
    const cipher = this.#isAes
      ? createCipheriv("aes-128-gcm", this.#key, this.#next(), TAG)
      : createCipheriv("chacha20-poly1305", this.#key, this.#next(), TAG);
    cipher.setAAD(header, { plaintextLength: payloadBytes });
    const sealed: Uint8Array[] = [header];
    for (const piece of payload) sealed.push(cipher.update(piece));
    cipher.final();
    sealed.push(cipher.getAuthTag());
    return sealed;
  }

  /** The payload as it was. Throws Fault `routing.circuit-frame` when the peer did not seal exactly this as its next frame. */
  open(header: Buffer, payload: readonly Uint8Array[], payloadBytes: number, tag: Uint8Array): Uint8Array[] {
    const decipher = this.#isAes
      ? createDecipheriv("aes-128-gcm", this.#key, this.#next(), TAG)
      : createDecipheriv("chacha20-poly1305", this.#key, this.#next(), TAG);
    decipher.setAAD(header, { plaintextLength: payloadBytes });
    const opened = payload.map((piece) => decipher.update(piece));
    decipher.setAuthTag(tag);
    try {
      decipher.final();
    } catch {
      throw malformed("a frame was changed on its way");
    }
    return opened;
  }

  #next(): Buffer {
    this.#nonce.writeBigUInt64BE(this.#frames++, 4);
    return this.#nonce;
  }
}

/** The pieces of one frame; without a cipher the payload is passed on uncopied. */
export function encodeCircuitFrame(
  type: FrameType,
  value: number,
  payload: readonly Uint8Array[],
  cipher: FrameCipher | undefined,
): Uint8Array[] {
  let payloadBytes = 0;
  for (const piece of payload) payloadBytes += piece.length;
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32BE(payloadBytes, 0);
  header[0] = TYPES.indexOf(type);
  header.writeBigUInt64BE(BigInt(value), 4);
  return cipher === undefined ? [header, ...payload] : cipher.seal(header, payload, payloadBytes);
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
  #cipher: FrameCipher | undefined;

  constructor(cipher?: FrameCipher) {
    this.#cipher = cipher;
  }

  /** From the next frame on each is sealed. */
  expect(cipher: FrameCipher): void {
    this.#cipher = cipher;
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
    const tagBytes = this.#cipher === undefined ? 0 : TAG_BYTES;
    if (header === undefined || this.#bytes < this.#payloadBytes + tagBytes) return undefined;
    const payloadBytes = this.#payloadBytes;
    let payload = this.#take(payloadBytes);
    if (this.#cipher !== undefined)
      payload = this.#cipher.open(header, payload, payloadBytes, Buffer.concat(this.#take(TAG_BYTES)));
    this.#header = undefined;
    return { type: typeOf(header), value: Number(header.readBigUInt64BE(4)), payload, payloadBytes };
  }

  #readHeader(): Buffer | undefined {
    if (this.#bytes < HEADER_BYTES) return undefined;
    const header = Buffer.concat(this.#take(HEADER_BYTES));
    const type = typeOf(header);
    if (!(this.#cipher === undefined ? BARE : SEALED).includes(type)) throw malformed(`"${type}" at the wrong time`);
    this.#payloadBytes = header.readUInt32BE(0) & 0xffffff;
    if (this.#payloadBytes > (WITH_PAYLOAD.includes(type) ? MAX_PAYLOAD_BYTES : 0))
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

function typeOf(header: Buffer): FrameType {
  const type = TYPES[header[0] as number];
  if (type === undefined) throw malformed(`type ${header[0]}`);
  return type;
}

function malformed(what: string): Fault {
  return new Fault("routing.circuit-frame", `not a frame of a circuit: ${what}`, { exit: "invalid" });
}
