import { decode, encode, rfc8949EncodeOptions } from "cborg";
import { decodePlain, encodePlain } from "./cbor-plain.ts";
import { errorMessage, Fault } from "./fault.ts";

/**
 * Deterministic CBOR, RFC 8949 §4.2: one value has one encoding. What this returns, `decodeCbor` takes.
 *
 * Throws Fault `core.cbor-encode` for a value that has no such form: `undefined`, NaN, infinity, a bigint beyond 2^53, a Map, half a
 * surrogate pair, or more levels or items than a peer takes.
 */
export function encodeCbor(value: unknown): Uint8Array {
  try {
    const plain = encodePlain(value, MAX_CBOR_DEPTH);
    const bytes = plain ?? encode(value, ENCODE_OPTIONS);
    if (plain === undefined || mayHoldTooMuch(bytes)) checkSize(bytes);
    return bytes;
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
    string: (value: string) => (value.isWellFormed() ? null : unsupported("half a surrogate pair")),
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

/** Deepest nesting of arrays and maps that a peer may send. */
export const MAX_CBOR_DEPTH = 16;
/**
 * Values in one message, counting containers, keys and what they hold. A byte on the wire can be an object in memory, so a limit in bytes alone
 * would let 1 MiB cost 50 MiB and 200 ms; the largest message of ours, 20,000 document ids with versions, has 60,003.
 */
export const MAX_CBOR_ITEMS = 65_536;

/**
 * Decodes exactly one deterministic CBOR value of at most `maxBytes`. The caller still has to check its shape.
 *
 * Throws Fault `core.cbor` (exit `invalid`) for anything oversized, nested deeper than 16, with more than 65,536 values,
 * malformed, duplicate or not in the one deterministic encoding.
 */
export function decodeCbor(bytes: Uint8Array, maxBytes: number): unknown {
  if (bytes.length > maxBytes) throw refuse(`message of ${bytes.length} bytes is over the limit of ${maxBytes}`);
  const plain = mayHoldTooMuch(bytes) ? undefined : decodePlain(bytes, MAX_CBOR_DEPTH);
  if (plain !== undefined) return plain;
  checkSize(bytes);
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

/** A value takes a byte at least. */
function mayHoldTooMuch(bytes: Uint8Array): boolean {
  return bytes.length > MAX_CBOR_ITEMS;
}

function refuse(message: string, cause?: unknown): Fault {
  return new Fault("core.cbor", message, { exit: "invalid", cause });
}

/**
 * Depth and number of values, by a scan of the heads without recursion and without building a value: first, because each level and
 * each value costs the sender one byte. Stops at what is malformed, where the decoder stops too.
 */
function checkSize(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const open: number[] = []; // values still to come at each level
  let at = 0;
  for (let count = 1; at < bytes.length; count++) {
    if (count > MAX_CBOR_ITEMS) throw refuse(`message holds more than ${MAX_CBOR_ITEMS} values`);
    const head = view.getUint8(at);
    const major = head >> 5;
    const widthBytes = argumentBytes(head & 0x1f);
    if (widthBytes === undefined || at + 1 + widthBytes > bytes.length) return;
    const argument = widthBytes === 0 ? head & 0x1f : readUint(view, at + 1, widthBytes);
    at += 1 + widthBytes + (major === 2 || major === 3 ? argument : 0);
    if (major >= 4 && major <= 6 && open.length === MAX_CBOR_DEPTH) {
      throw refuse(`message is nested deeper than ${MAX_CBOR_DEPTH}`);
    }
    const values = major === 4 ? argument : major === 5 ? argument * 2 : major === 6 ? 1 : 0;
    if (values > 0) {
      open.push(values);
      continue;
    }
    for (let left = open.pop(); left !== undefined; left = open.pop()) {
      if (left === 1) continue; // that was its last value: it closes, and is a value of the level above
      open.push(left - 1);
      break;
    }
  }
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
