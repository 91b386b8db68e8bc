import { decode, encode, rfc8949EncodeOptions } from "cborg";
import { errorMessage, Fault } from "./fault.ts";

/**
 * Deterministic CBOR, RFC 8949 §4.2: one value has one encoding. What this returns, `decodeCbor` takes.
 *
 * Throws Fault `core.cbor-encode` for a value that has no such form: `undefined`, NaN, infinity, an integer beyond 2^53, a Map, a lone surrogate.
 */
export function encodeCbor(value: unknown): Uint8Array {
  try {
    return encode(value, ENCODE_OPTIONS);
  } catch (error) {
    throw new Fault("core.cbor-encode", `cannot be sent as CBOR: ${errorMessage(error)}`, { cause: error });
  }
}

function unsupported(what: string): never {
  throw new TypeError(`${what} has no form that a peer accepts`);
}

/** `null`: the usual encoder goes on. */
const ENCODE_OPTIONS = {
  ...rfc8949EncodeOptions,
  typeEncoders: {
    undefined: () => unsupported("undefined"),
    Map: () => unsupported("a Map"),
    number: (value: number) => (Number.isFinite(value) ? null : unsupported(String(value))),
    bigint: (value: bigint) => (Number.isSafeInteger(Number(value)) ? null : unsupported(`${value}`)),
    string: (value: string) => (value.isWellFormed() ? null : unsupported("a lone surrogate")),
  },
};

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
  const again = encode(value, rfc8949EncodeOptions);
  if (Buffer.compare(again, bytes) !== 0) throw refuse("message is not deterministic CBOR (RFC 8949 section 4.2)");
  return value;
}

function refuse(message: string, cause?: unknown): Fault {
  return new Fault("core.cbor", message, { exit: "invalid", cause });
}

/** Nesting depth by a scan of the heads, without recursion and without building a value. Malformed input reads as its depth so far. */
function cborDepth(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const open: number[] = []; // items still to come at each level
  let deepest = 0;
  let at = 0;
  while (at < bytes.length) {
    const head = view.getUint8(at);
    const major = head >> 5;
    const widthBytes = argumentBytes(head & 0x1f);
    if (widthBytes === undefined || at + 1 + widthBytes > bytes.length) return deepest;
    const argument = widthBytes === 0 ? head & 0x1f : readUint(view, at + 1, widthBytes);
    at += 1 + widthBytes + (major === 2 || major === 3 ? argument : 0);
    const items = major === 4 ? argument : major === 5 ? argument * 2 : major === 6 ? 1 : 0;
    if (items > 0) {
      open.push(items);
      deepest = Math.max(deepest, open.length);
      if (deepest > MAX_CBOR_DEPTH) return deepest;
      continue;
    }
    for (let left = open.pop(); left !== undefined; left = open.pop()) {
      if (left === 1) continue; // that was its last item: it closes, and is an item of the level above
      open.push(left - 1);
      break;
    }
  }
  return deepest;
}

/** Bytes of argument after a head with this additional information (RFC 8949 §3); `undefined` where we allow none. */
function argumentBytes(additional: number): number | undefined {
  return additional < 24 ? 0 : [1, 2, 4, 8][additional - 24];
}

function readUint(view: DataView, at: number, bytes: number): number {
  let value = 0;
  for (let i = 0; i < bytes; i++) value = value * 256 + view.getUint8(at + i);
  return value;
}
