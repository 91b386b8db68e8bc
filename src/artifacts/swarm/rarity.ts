import type { Random } from "#core";

/** Random probes for a chunk before a bounded sweep takes over; more do not find better chunks, they only cost time. */
const PROBES = 32;
/** Chunks looked at by one sweep; the next continues where it stopped, so every chunk has its turn. */
const SWEEP = 512;

/**
 * The chunks that can be offered, sorted by how many groups (peers, or sites) cover them. Every change is O(1): chunks of
 * equal count stand together in one array, and a chunk moves by a swap at the edge of its run.
 */
export class Rarity {
  readonly #counts: Uint16Array;
  readonly #order: Uint32Array;
  readonly #position: Int32Array; // in #order; -1: not listed
  readonly #start: Uint32Array; // run of count c: #start[c] … #start[c + 1]
  readonly #maxCount: number;
  #cursor = 0;
  /** Sum of the counts of those listed. */
  #covered = 0;

  constructor(chunkCount: number, maxCount: number) {
    this.#counts = new Uint16Array(chunkCount);
    this.#order = new Uint32Array(chunkCount);
    this.#position = new Int32Array(chunkCount).fill(-1);
    this.#start = new Uint32Array(maxCount + 2);
    this.#maxCount = maxCount;
  }

  /** How many groups cover this chunk. */
  countOf(chunk: number): number {
    return this.#counts[chunk] ?? 0;
  }

  /** Of those that can be offered, to so many groups: how many offers there are left to make. */
  left(groups: number): number {
    return (this.#start[this.#maxCount + 1] ?? 0) * groups - this.#covered;
  }

  /** Makes the chunk one that can be offered. */
  list(chunk: number): void {
    if ((this.#position[chunk] ?? 0) >= 0) return;
    const count = this.countOf(chunk);
    this.#covered += count;
    let hole = this.#start[this.#maxCount + 1] ?? 0;
    this.#start[this.#maxCount + 1] = hole + 1;
    for (let c = this.#maxCount; c > count; c--) {
      const first = this.#start[c] ?? 0;
      if (first !== hole) this.#put(this.#order[first] ?? 0, hole);
      this.#start[c] = first + 1;
      hole = first;
    }
    this.#put(chunk, hole);
  }

  /** The opposite of `list`. */
  unlist(chunk: number): void {
    let hole = this.#position[chunk] ?? 0;
    if (hole < 0) return;
    this.#position[chunk] = -1;
    this.#covered -= this.countOf(chunk);
    for (let c = this.countOf(chunk); c <= this.#maxCount; c++) {
      const last = (this.#start[c + 1] ?? 0) - 1;
      if (last !== hole) this.#put(this.#order[last] ?? 0, hole);
      this.#start[c + 1] = last;
      hole = last;
    }
  }

  /** One more group covers the chunk. */
  raise(chunk: number): void {
    const count = this.countOf(chunk);
    if ((this.#position[chunk] ?? 0) >= 0) {
      const last = (this.#start[count + 1] ?? 0) - 1;
      this.#swap(chunk, last);
      this.#start[count + 1] = last;
      this.#covered += 1;
    }
    this.#counts[chunk] = count + 1;
  }

  /** One group fewer covers the chunk. */
  lower(chunk: number): void {
    const count = this.countOf(chunk);
    if ((this.#position[chunk] ?? 0) >= 0) {
      const first = this.#start[count] ?? 0;
      this.#swap(chunk, first);
      this.#start[count] = first + 1;
      this.#covered -= 1;
    }
    this.#counts[chunk] = count - 1;
  }

  /** A chunk that `fits`, of those covered by fewer than `groups` groups: the least covered, random among equals. */
  pick(groups: number, random: Random, fits: (chunk: number) => boolean): number | undefined {
    let probes = PROBES;
    for (let count = 0; count < groups; count++) {
      const first = this.#start[count] ?? 0;
      const size = (this.#start[count + 1] ?? 0) - first;
      if (size === 0) continue;
      const offset = random.below(size);
      for (let i = 0; i < size; i++) {
        if (probes === 0) return this.#sweep(groups, fits);
        probes -= 1;
        // A small run is walked from a random place; of a large one only random members are tried.
        const at = size <= PROBES ? (offset + i) % size : i === 0 ? offset : random.below(size);
        const chunk = this.#order[first + at] ?? 0;
        if (fits(chunk)) return chunk;
      }
    }
    return undefined;
  }

  #sweep(groups: number, fits: (chunk: number) => boolean): number | undefined {
    const end = this.#start[groups] ?? 0;
    for (let i = 0; i < Math.min(SWEEP, end); i++) {
      this.#cursor = this.#cursor + 1 < end ? this.#cursor + 1 : 0;
      const chunk = this.#order[this.#cursor] ?? 0;
      if (fits(chunk)) return chunk;
    }
    return undefined;
  }

  #put(chunk: number, at: number): void {
    this.#order[at] = chunk;
    this.#position[chunk] = at;
  }

  #swap(chunk: number, at: number): void {
    const other = this.#order[at] ?? 0;
    const from = this.#position[chunk] ?? 0;
    this.#put(other, from);
    this.#put(chunk, at);
  }
}
