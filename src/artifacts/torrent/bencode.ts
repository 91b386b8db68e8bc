import { Fault } from "#core";

/** What BEP 3 can say. Strings are bytes; the keys of a dictionary are read as Latin-1, so that none is lost. */
export type Bencoded = number | Uint8Array | readonly Bencoded[] | BencodedMap;
export type BencodedMap = ReadonlyMap<string, Bencoded>;

/** Hybrid torrents nest one dictionary per folder of a path. */
const MAX_DEPTH = 64;
/** Ten for each of 20,000 files; read in 30 ms. */
const MAX_ITEMS = 200_000;

const [OPEN_LIST, OPEN_MAP, CLOSE] = [Buffer.from("l"), Buffer.from("d"), Buffer.from("e")];
const [DIGIT_0, DIGIT_9, COLON, MINUS, LETTER_D, LETTER_E, LETTER_I, LETTER_L] = Buffer.from("09:-deil");

/** The one form of a value: keys sorted, integers without zeros in front. */
export function encodeBencode(value: Bencoded): Uint8Array {
  const out: Uint8Array[] = [];
  append(out, value);
  return Buffer.concat(out);
}

function append(out: Uint8Array[], value: Bencoded): void {
  if (typeof value === "number") out.push(Buffer.from(`i${value}e`));
  else if (value instanceof Uint8Array) out.push(Buffer.from(`${value.length}:`), value);
  else if (value instanceof Map) appendMap(out, value);
  else {
    out.push(OPEN_LIST);
    for (const one of value as readonly Bencoded[]) append(out, one);
    out.push(CLOSE);
  }
}

function appendMap(out: Uint8Array[], map: BencodedMap): void {
  out.push(OPEN_MAP);
  for (const [key, value] of [...map].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    append(out, Buffer.from(key, "latin1"));
    append(out, value);
  }
  out.push(CLOSE);
}

/**
 * Reads exactly one value in its one form. Throws Fault `artifacts.torrent` (exit `invalid`) for anything else: keys out of order or
 * standing twice, zeros in front, integers beyond 2^53, more than 64 levels or 200,000 values, bytes left over.
 */
export function decodeBencode(bytes: Uint8Array): Bencoded {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (!reader.atEnd) throw badTorrent("bytes are left over at its end");
  return value;
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;
  #items = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  value(depth: number): Bencoded {
    this.#items += 1;
    if (depth > MAX_DEPTH || this.#items > MAX_ITEMS) throw badTorrent("it nests too deep or holds too much");
    const head = this.#bytes[this.#at];
    if (head === LETTER_I) return this.#integer();
    if (head === LETTER_L) return this.#list(depth);
    if (head === LETTER_D) return this.#map(depth);
    return this.#string();
  }

  #integer(): number {
    this.#at += 1;
    return this.#number(LETTER_E, this.#bytes[this.#at] === MINUS);
  }

  #list(depth: number): Bencoded[] {
    const list: Bencoded[] = [];
    this.#at += 1;
    while (this.#bytes[this.#at] !== LETTER_E) list.push(this.value(depth + 1));
    this.#at += 1;
    return list;
  }

  #map(depth: number): BencodedMap {
    const map = new Map<string, Bencoded>();
    let last: string | undefined;
    this.#at += 1;
    while (this.#bytes[this.#at] !== LETTER_E) {
      const key = Buffer.from(this.#string()).toString("latin1");
      if (last !== undefined && key <= last) throw badTorrent("keys stand twice or out of order");
      last = key;
      map.set(key, this.value(depth + 1));
    }
    this.#at += 1;
    return map;
  }

  #string(): Uint8Array {
    const length = this.#number(COLON, false);
    const end = this.#at + length;
    if (end > this.#bytes.length) throw badTorrent("it is cut off");
    const string = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return string;
  }

  /** Decimal digits up to and with `end`. */
  #number(end: number | undefined, negative: boolean): number {
    const first = negative ? this.#at + 1 : this.#at;
    let at = first;
    let value = 0;
    for (let byte = this.#bytes[at]; byte !== end; byte = this.#bytes[++at]) {
      if (!isDigit(byte)) throw badTorrent("what should be a number is none");
      value = value * 10 + (byte - (DIGIT_0 ?? 0));
      if (!Number.isSafeInteger(value)) throw badTorrent("a number is too large");
    }
    const zeroInFront = this.#bytes[first] === DIGIT_0 && at > first + 1;
    if (at === first || zeroInFront || (negative && value === 0)) throw badTorrent("a number is not in its one form");
    this.#at = at + 1;
    return negative ? -value : value;
  }
}

function isDigit(byte: number | undefined): byte is number {
  return byte !== undefined && byte >= (DIGIT_0 ?? 0) && byte <= (DIGIT_9 ?? 0);
}

/** Fault `artifacts.torrent` (exit `invalid`): not a torrent that can be taken in. */
export function badTorrent(why: string): Fault {
  return new Fault("artifacts.torrent", `the torrent cannot be read: ${why}`, {
    exit: "invalid",
    fix: "Ask whoever made it for another one, or publish its content as files.",
  });
}
