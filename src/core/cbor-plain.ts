/**
 * Deterministic CBOR of plain values: whole numbers, ASCII text, bytes, `true`, `false`, `null`, and lists and objects of those, which is nearly all
 * that nodes say to each other. Written and read directly: the general encoder takes several times as long, and its decoder, with writing again what
 * it read, ten. `undefined` means: not such a value, or malformed, or not in its one encoding; ask the general one, which then refuses what is to be.
 */

/** Major types (RFC 8949 §3.1), as the first three bits of a head. */
const UINT = 0x00;
const NEGATIVE = 0x20;
const BYTES = 0x40;
const TEXT = 0x60;
const LIST = 0x80;
const MAP = 0xa0;
const [FALSE, TRUE, NULL] = [0xf4, 0xf5, 0xf6];

const TWO_32 = 2 ** 32;

/** The one encoding of such a value. `maxDepth`: lists and objects within each other. */
export function encodePlain(value: unknown, maxDepth: number): Uint8Array | undefined {
  const size = sizeOf(value, maxDepth);
  if (size === 0) return undefined;
  const bytes = allocate(size);
  write(bytes, 0, value);
  return bytes;
}

/** From the pool that buffers share: memory of its own takes 1 µs from some 64 bytes on, and a thirtieth of that from the pool. To be filled. */
function allocate(sizeBytes: number): Uint8Array {
  const { buffer, byteOffset } = Buffer.allocUnsafe(sizeBytes);
  return new Uint8Array(buffer, byteOffset, sizeBytes);
}

/** Bytes of its encoding; 0: it is not plain. */
function sizeOf(value: unknown, levels: number): number {
  switch (typeof value) {
    case "number":
      if (!Number.isSafeInteger(value) || Object.is(value, -0)) return 0;
      return headBytes(value < 0 ? -1 - value : value);
    case "string":
      return isAscii(value) ? headBytes(value.length) + value.length : 0;
    case "boolean":
      return 1;
    case "object":
      if (value === null) return 1;
      if (value instanceof Uint8Array) return headBytes(value.length) + value.length;
      if (levels === 0) return 0;
      if (Array.isArray(value)) return sizeOfList(value, levels - 1);
      return isObject(value) ? sizeOfObject(value, levels - 1) : 0;
    default:
      return 0;
  }
}

function sizeOfList(list: readonly unknown[], levels: number): number {
  let size = headBytes(list.length);
  for (const item of list) {
    const bytes = sizeOf(item, levels);
    if (bytes === 0) return 0;
    size += bytes;
  }
  return size;
}

function sizeOfObject(object: Record<string, unknown>, levels: number): number {
  const keys = Object.keys(object);
  let size = headBytes(keys.length);
  for (const key of keys) {
    const bytes = sizeOf(object[key], levels);
    if (bytes === 0 || !isAscii(key)) return 0;
    size += headBytes(key.length) + key.length + bytes;
  }
  return size;
}

function isObject(value: object): value is Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(value);
  return (prototype === Object.prototype || prototype === null) && !(Symbol.toStringTag in value);
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}

function headBytes(argument: number): number {
  if (argument < 24) return 1;
  if (argument < 0x100) return 2;
  if (argument < 0x1_0000) return 3;
  return argument < TWO_32 ? 5 : 9;
}

/** Writes a plain value. Returns where it ends. */
function write(bytes: Uint8Array, at: number, value: unknown): number {
  if (typeof value === "number") {
    return value < 0 ? writeHead(bytes, at, NEGATIVE, -1 - value) : writeHead(bytes, at, UINT, value);
  }
  if (typeof value === "string") return writeText(bytes, at, value);
  if (value instanceof Uint8Array) {
    const start = writeHead(bytes, at, BYTES, value.length);
    bytes.set(value, start);
    return start + value.length;
  }
  if (Array.isArray(value)) {
    let end = writeHead(bytes, at, LIST, value.length);
    for (const item of value) end = write(bytes, end, item);
    return end;
  }
  if (typeof value === "object" && value !== null) return writeObject(bytes, at, value as Record<string, unknown>);
  bytes[at] = value === null ? NULL : value === true ? TRUE : FALSE;
  return at + 1;
}

function writeObject(bytes: Uint8Array, at: number, object: Record<string, unknown>): number {
  const keys = Object.keys(object).toSorted(byEncoding);
  let end = writeHead(bytes, at, MAP, keys.length);
  for (const key of keys) end = write(bytes, writeText(bytes, end, key), object[key]);
  return end;
}

/** The order of the bytes of two texts' encodings, which begin with their lengths. */
function byEncoding(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : 1);
}

function writeText(bytes: Uint8Array, at: number, text: string): number {
  const start = writeHead(bytes, at, TEXT, text.length);
  for (let i = 0; i < text.length; i++) bytes[start + i] = text.charCodeAt(i);
  return start + text.length;
}

function writeHead(bytes: Uint8Array, at: number, major: number, argument: number): number {
  const width = headBytes(argument) - 1;
  if (width === 0) {
    bytes[at] = major + argument;
    return at + 1;
  }
  bytes[at] = major + (width === 1 ? 24 : width === 2 ? 25 : width === 4 ? 26 : 27);
  let left = argument;
  for (let i = width; i >= 1; i--) {
    bytes[at + i] = left % 256;
    left = Math.floor(left / 256);
  }
  return at + 1 + width;
}

/** Reads such a value. */
export function decodePlain(bytes: Uint8Array, maxDepth: number): unknown {
  const reader = new Reader(bytes);
  const value = reader.value(maxDepth);
  return reader.at === bytes.length ? value : undefined;
}

class Reader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  value(levels: number): unknown {
    const head = this.#bytes[this.at];
    if (head === undefined) return undefined;
    const major = head & 0xe0;
    if (major > MAP) return this.#simple(head);
    const argument = this.#argument();
    if (argument === undefined) return undefined;
    switch (major) {
      case UINT:
        return argument;
      case NEGATIVE:
        return argument < Number.MAX_SAFE_INTEGER ? -1 - argument : undefined;
      case BYTES:
        return this.#take(argument);
      case TEXT:
        return this.#text(argument);
      case LIST:
        return levels === 0 ? undefined : this.#list(argument, levels - 1);
      default:
        return levels === 0 ? undefined : this.#object(argument, levels - 1);
    }
  }

  #simple(head: number): boolean | null | undefined {
    this.at += 1;
    if (head === NULL) return null;
    return head === TRUE ? true : head === FALSE ? false : undefined;
  }

  /** A copy, which keeps no message, but 8 KiB of others like it: who keeps it for long copies it. */
  #take(length: number): Uint8Array | undefined {
    const end = this.at + length;
    if (end > this.#bytes.length) return undefined;
    const taken = allocate(length);
    taken.set(this.#bytes.subarray(this.at, end));
    this.at = end;
    return taken;
  }

  #text(length: number): string | undefined {
    const [bytes, start] = [this.#bytes, this.at];
    const end = start + length;
    if (end > bytes.length) return undefined;
    for (let i = start; i < end; i++) if ((bytes[i] as number) > 0x7f) return undefined;
    this.at = end;
    return bytes.toString("latin1", start, end);
  }

  #list(length: number, levels: number): unknown[] | undefined {
    if (length > this.#bytes.length - this.at) return undefined;
    const list: unknown[] = [];
    for (let i = 0; i < length; i++) {
      const item = this.value(levels);
      if (item === undefined) return undefined;
      list.push(item);
    }
    return list;
  }

  #object(size: number, levels: number): Record<string, unknown> | undefined {
    if (2 * size > this.#bytes.length - this.at) return undefined;
    const object: Record<string, unknown> = {};
    let before: string | undefined;
    for (let i = 0; i < size; i++) {
      const key = this.value(0);
      if (typeof key !== "string" || key === "__proto__") return undefined;
      if (before !== undefined && byEncoding(before, key) > 0) return undefined;
      const value = before === key ? undefined : this.value(levels);
      if (value === undefined) return undefined;
      object[key] = value;
      before = key;
    }
    return object;
  }

  /** The argument of the next head if it is as short as can be, and exact as a number. */
  #argument(): number | undefined {
    const low = (this.#bytes[this.at] as number) & 0x1f;
    if (low < 24) {
      this.at += 1;
      return low;
    }
    const width = low === 24 ? 1 : low === 25 ? 2 : low === 26 ? 4 : low === 27 ? 8 : undefined;
    if (width === undefined || this.at + 1 + width > this.#bytes.length) return undefined;
    let argument = 0;
    for (let i = 1; i <= width; i++) argument = argument * 256 + (this.#bytes[this.at + i] as number);
    if (argument > Number.MAX_SAFE_INTEGER || headBytes(argument) - 1 !== width) return undefined;
    this.at += 1 + width;
    return argument;
  }
}
