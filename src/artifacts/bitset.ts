/** A set of small integers `0 … length - 1`, one bit each. */
export class Bitset {
  readonly length: number;
  readonly #words: Uint32Array;
  #count = 0;

  constructor(length: number) {
    this.length = length;
    this.#words = new Uint32Array((length + 31) >>> 5);
  }

  /** How many are in the set. */
  get count(): number {
    return this.#count;
  }

  /** Whether all of `0 … length - 1` are in the set. */
  get full(): boolean {
    return this.#count === this.length;
  }

  has(index: number): boolean {
    return (((this.#words[index >>> 5] ?? 0) >>> (index & 31)) & 1) === 1;
  }

  /** Returns whether it was new. */
  add(index: number): boolean {
    if (index >= this.length || this.has(index)) return false;
    this.#words[index >>> 5] = ((this.#words[index >>> 5] ?? 0) | (1 << (index & 31))) >>> 0;
    this.#count += 1;
    return true;
  }

  /** Returns whether it was there. */
  delete(index: number): boolean {
    if (!this.has(index)) return false;
    this.#words[index >>> 5] = ((this.#words[index >>> 5] ?? 0) & ~(1 << (index & 31))) >>> 0;
    this.#count -= 1;
    return true;
  }

  clear(): void {
    this.#words.fill(0);
    this.#count = 0;
  }

  fill(): void {
    for (let index = 0; index < this.length; index++) this.add(index);
  }

  /** The members in rising order. The set may shrink while this runs. */
  *values(): Generator<number> {
    for (let at = 0; at < this.#words.length; at++) {
      for (let word = this.#words[at] ?? 0; word !== 0; word = (word & (word - 1)) >>> 0) {
        yield at * 32 + (31 - Math.clz32(word & -word));
      }
    }
  }

  /** The first integer from `from` that is not in the set; `undefined` when there is none. */
  firstMissing(from = 0): number | undefined {
    for (let index = from; index < this.length; index++) {
      if ((index & 31) === 0 && this.#words[index >>> 5] === 0xffffffff) index += 31;
      else if (!this.has(index)) return index;
    }
    return undefined;
  }

  /** Little-endian words: member `i` is bit `i % 8` of byte `i >> 3`. */
  toBytes(): Uint8Array {
    const bytes = Buffer.alloc(this.#words.length * 4);
    for (const [at, word] of this.#words.entries()) bytes.writeUInt32LE(word, at * 4);
    return bytes;
  }

  /** What `toBytes` wrote for this length; `undefined` for anything else. */
  static fromBytes(length: number, bytes: Uint8Array): Bitset | undefined {
    const set = new Bitset(length);
    if (bytes.length !== set.#words.length * 4) return undefined;
    for (let index = 0; index < bytes.length * 8; index++) {
      if ((((bytes[index >>> 3] ?? 0) >>> (index & 7)) & 1) === 0) continue;
      if (index >= length) return undefined;
      set.add(index);
    }
    return set;
  }
}
