import { HASH_BYTES, leafHash, merkleRoot } from "#core";
import { type ChunkMap, cellHashes, splitCells } from "./chunk-map.ts";

/** A chunk that is arriving: its verified cells so far, and their hashes once they are known. */
export class ChunkAssembly {
  readonly #map: ChunkMap;
  readonly #chunk: number;
  readonly #cellCount: number;
  readonly #cells: Uint8Array[][] = [];
  #hashes: Uint8Array[] | undefined;

  constructor(map: ChunkMap, chunk: number, cellCount: number) {
    this.#map = map;
    this.#chunk = chunk;
    this.#cellCount = cellCount;
  }

  /** Adds the next `count` cells; `hashed`: the hashes of all cells stand before them. False when anything does not match the map. */
  add(first: number, count: number, hashed: boolean, payload: readonly Uint8Array[]): boolean {
    if (first !== this.#cells.length || first + count > this.#cellCount) return false;
    let pieces = payload;
    if (hashed) {
      const [head, rest] = cut(payload, this.#cellCount * HASH_BYTES);
      if (first !== 0 || !this.#takeHashes(head)) return false;
      pieces = rest;
    }
    const cells = splitCells(pieces);
    if (cells.length !== count || !this.#verify(first, pieces, cells)) return false;
    this.#cells.push(...cells);
    return true;
  }

  #takeHashes(bytes: Uint8Array): boolean {
    if (bytes.length !== this.#cellCount * HASH_BYTES) return false;
    const hashes = Array.from({ length: this.#cellCount }, (_, cell) =>
      bytes.subarray(cell * HASH_BYTES, (cell + 1) * HASH_BYTES),
    );
    if (Buffer.compare(merkleRoot(hashes), this.#map.hashOf(this.#chunk)) !== 0) return false;
    this.#hashes = hashes;
    return true;
  }

  /** Against the hashes that came, or, when the whole chunk came at once, against the map. */
  #verify(first: number, pieces: readonly Uint8Array[], cells: readonly Uint8Array[][]): boolean {
    const hashes = this.#hashes;
    if (hashes === undefined) {
      if (cells.length !== this.#cellCount) return false;
      const own = cellHashes(pieces);
      if (Buffer.compare(merkleRoot(own), this.#map.hashOf(this.#chunk)) !== 0) return false;
      this.#hashes = own;
      return true;
    }
    return cells.every((cell, at) => Buffer.compare(leafHash(...cell), hashes[first + at] ?? new Uint8Array()) === 0);
  }

  /** The hashes of all cells; known from the first cell on. */
  get hashes(): readonly Uint8Array[] {
    return this.#hashes ?? [];
  }

  /** The bytes of these cells, which must have arrived. */
  cells(first: number, count: number): Uint8Array[] {
    return this.#cells.slice(first, first + count).flat();
  }
}

/** The first `bytes` as one array, and the rest uncopied. */
function cut(pieces: readonly Uint8Array[], bytes: number): [Uint8Array, Uint8Array[]] {
  const head: Uint8Array[] = [];
  const rest: Uint8Array[] = [];
  let left = bytes;
  for (const piece of pieces) {
    if (left > 0) head.push(piece.subarray(0, left));
    if (left < piece.length) rest.push(piece.subarray(left));
    left = Math.max(0, left - piece.length);
  }
  return [Buffer.concat(head), rest];
}
