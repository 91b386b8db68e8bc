import { decode, encode, rfc8949EncodeOptions } from "cborg";
import { Fault } from "./fault.ts";

/** Deterministic CBOR, RFC 8949 §4.2: one value has one encoding. `undefined` members must be left out by the caller. */
export function encodeCbor(value: unknown): Uint8Array {
  return encode(value, rfc8949EncodeOptions);
}

const DECODE_OPTIONS = {
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false, // integers beyond 2^53 are refused, not rounded
  rejectDuplicateMapKeys: true,
  strict: true,
} as const;

/** Deepest nesting of arrays and maps that a peer may send; each level costs one byte, so it must be bounded before decoding. */
export const MAX_CBOR_DEPTH = 16;

/**
 * Decodes exactly one deterministic CBOR value of at most `maxBytes`. The caller still has to check its shape.
 *
 * Throws Fault `core.cbor` (exit `invalid`) for anything oversized, nested deeper than 16, malformed, duplicate or not in the
 * one deterministic encoding.
 */
export function decodeCbor(bytes: Uint8Array, maxBytes: number): unknown {
  if (bytes.length > maxBytes) throw refuse(`message of ${bytes.length} bytes is over the limit of ${maxBytes}`);
  if (cborDepth(bytes) > MAX_CBOR_DEPTH) throw refuse(`message is nested deeper than ${MAX_CBOR_DEPTH}`);
  let value: unknown;
  try {
    value = decode(bytes, DECODE_OPTIONS);
  } catch (error) {
    throw refuse("message is not valid CBOR", error);
  }
  const again = encodeCbor(value);
  if (Buffer.compare(again, bytes) !== 0) throw refuse("message is not deterministic CBOR (RFC 8949 section 4.2)");
  return value;
}

function refuse(message: string, cause?: unknown): Fault {
  return new Fault("core.cbor", message, { exit: "invalid", cause });
}

/** Nesting depth by a scan of the heads, without recursion and without building a value. Malformed input reads as its depth so far. */
function cborDepth(bytes: Uint8Array): number {
  const open: number[] = []; // items still to come at each level
  let deepest = 0;
  let at = 0;
  while (at < bytes.length) {
    const head = bytes[at] as number;
    at += 1;
    const major = head >> 5;
    let count = head & 0x1f;
    if (count >= 24) {
      const width = [1, 2, 4, 8][count - 24];
      if (width === undefined || at + width > bytes.length) return deepest;
      count = 0;
      for (let i = 0; i < width; i++) count = count * 256 + (bytes[at + i] as number);
      at += width;
    }
    if (major === 2 || major === 3) at += count;
    const items = major === 4 ? count : major === 5 ? count * 2 : major === 6 ? 1 : 0;
    if (items > 0) {
      open.push(items);
      deepest = Math.max(deepest, open.length);
      if (deepest > MAX_CBOR_DEPTH) return deepest;
      continue;
    }
    while (open.length > 0) {
      const left = (open.pop() as number) - 1;
      if (left > 0) {
        open.push(left);
        break;
      }
    }
  }
  return deepest;
}
