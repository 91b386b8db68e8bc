/**
 * Deterministic CBOR of lists of unsigned integers, one level of lists within it: what nearly all messages of a swarm are. Written and read
 * directly: the general encoder takes four times as long, and its decoder, with writing again what it read, ten. `undefined` means: not such
 * a list, ask that one.
 */

const LIST = 0x80;
/** Longer lists, and integers from 2^32 on, are left to the general encoder. */
const MAX_LIST = 0xffff;
const MAX_UINT = 0xffff_ffff;

/** The one encoding of such a list. */
export function encodeList(value: unknown): Uint8Array | undefined {
  if (!Array.isArray(value)) return undefined;
  const size = sizeOf(value, 1);
  if (size === undefined) return undefined;
  const bytes = new Uint8Array(size);
  write(bytes, 0, value);
  return bytes;
}

function sizeOf(list: readonly unknown[], levels: number): number | undefined {
  if (list.length > MAX_LIST) return undefined;
  let size = headBytes(list.length);
  for (const item of list) {
    const bytes = isUint(item)
      ? headBytes(item)
      : levels > 0 && Array.isArray(item)
        ? sizeOf(item, levels - 1)
        : undefined;
    if (bytes === undefined) return undefined;
    size += bytes;
  }
  return size;
}

function isUint(value: unknown): value is number {
  return (
    typeof value === "number" && value >= 0 && value <= MAX_UINT && Number.isInteger(value) && !Object.is(value, -0)
  );
}

function headBytes(argument: number): number {
  return argument < 24 ? 1 : argument < 0x100 ? 2 : argument < 0x1_0000 ? 3 : 5;
}

/** Returns where the list ends. */
function write(bytes: Uint8Array, start: number, list: readonly unknown[]): number {
  let at = writeHead(bytes, start, LIST, list.length);
  for (const item of list) {
    at = Array.isArray(item) ? write(bytes, at, item) : writeHead(bytes, at, 0, item as number);
  }
  return at;
}

function writeHead(bytes: Uint8Array, at: number, major: number, argument: number): number {
  const width = headBytes(argument) - 1;
  bytes[at] = major + (width === 0 ? argument : width === 1 ? 24 : width === 2 ? 25 : 26);
  for (let i = 1; i <= width; i++) bytes[at + i] = argument >>> (8 * (width - i));
  return at + 1 + width;
}

/** Reads such a list; `undefined` also for what is malformed or not in its one encoding, which the general decoder then refuses. */
export function decodeList(bytes: Uint8Array): unknown[] | undefined {
  const reader = new Reader(bytes);
  const list = reader.list(1);
  return reader.at === bytes.length ? list : undefined;
}

class Reader {
  readonly #bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  list(levels: number): unknown[] | undefined {
    const length = this.#argument(LIST);
    if (length === undefined || length > MAX_LIST || length > this.#bytes.length - this.at) return undefined;
    const list: unknown[] = [];
    for (let i = 0; i < length; i++) {
      const isList = ((this.#bytes[this.at] ?? 0) & 0xe0) === LIST;
      const item = !isList ? this.#argument(0) : levels > 0 ? this.list(levels - 1) : undefined;
      if (item === undefined) return undefined;
      list.push(item);
    }
    return list;
  }

  /** The argument of the next head if it is of this major type and as short as can be. */
  #argument(major: number): number | undefined {
    const head = this.#bytes[this.at];
    if (head === undefined || (head & 0xe0) !== major) return undefined;
    const low = head & 0x1f;
    const width = low < 24 ? 0 : low === 24 ? 1 : low === 25 ? 2 : low === 26 ? 4 : undefined;
    if (width === undefined || this.at + 1 + width > this.#bytes.length) return undefined;
    let argument = width === 0 ? low : 0;
    for (let i = 1; i <= width; i++) argument = argument * 256 + (this.#bytes[this.at + i] ?? 0);
    if (headBytes(argument) - 1 !== width) return undefined;
    this.at += 1 + width;
    return argument;
  }
}
