import { HASH_BYTES, lengthOf, merkleRoot } from "#core";
import { CELL_BYTES, type ChunkMap, cellHashes } from "./chunk-map.ts";

/**
 * A chunk that is arriving: its verified cells so far, and their hashes once they are known. The cells are put together in memory that is
 * given: what came off the stream is in small pieces, which are garbage at once, and one write brings the chunk to the disk.
 */
export class ChunkAssembly {
  readonly #map: ChunkMap;
  readonly #chunk: number;
  /** As long as the chunk. */
  readonly #bytes: Uint8Array;
  readonly #cellCount: number;
  #arrived = 0;
  #hashes: Uint8Array[] | undefined;

  constructor(map: ChunkMap, chunk: number, memory: Uint8Array) {
    this.#map = map;
    this.#chunk = chunk;
    this.#bytes = memory;
    this.#cellCount = Math.ceil(memory.length / CELL_BYTES);
  }

  /** Adds the next `count` cells; `hashed`: the hashes of all cells stand before them. False when anything does not match the map. */
  add(first: number, count: number, hashed: boolean, payload: readonly Uint8Array[]): boolean {
    if (first !== this.#arrived || first + count > this.#cellCount) return false;
    let pieces = payload;
    if (hashed) {
      const [head, rest] = cut(payload, this.#cellCount * HASH_BYTES);
      if (first !== 0 || !this.#takeHashes(head)) return false;
      pieces = rest;
    }
    const cells = this.#part(first, count);
    if (!fill(cells, pieces) || !this.#verify(first, cells)) return false;
    this.#arrived += count;
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
  #verify(first: number, cells: Uint8Array): boolean {
    const hashes = this.#hashes;
    const own = cellHashes(cells);
    if (hashes !== undefined) return own.every((hash, at) => equal(hash, hashes[first + at]));
    if (own.length !== this.#cellCount || !equal(merkleRoot(own), this.#map.hashOf(this.#chunk))) return false;
    this.#hashes = own;
    return true;
  }

  /** The hashes of all cells; known from the first cell on. */
  get hashes(): readonly Uint8Array[] {
    return this.#hashes ?? [];
  }

  /** The bytes of these cells, which must have arrived. */
  cells(first: number, count: number): Uint8Array {
    return this.#part(first, Math.min(count, this.#arrived - first));
  }

  #part(first: number, count: number): Uint8Array {
    return this.#bytes.subarray(first * CELL_BYTES, (first + count) * CELL_BYTES);
  }
}

function equal(a: Uint8Array, b: Uint8Array | undefined): boolean {
  return b !== undefined && Buffer.compare(a, b) === 0;
}

/** Puts the pieces together; false unless they are as long as the place for them. */
function fill(place: Uint8Array, pieces: readonly Uint8Array[]): boolean {
  if (lengthOf(pieces) !== place.length) return false;
  let at = 0;
  for (const piece of pieces) {
    place.set(piece, at);
    at += piece.length;
  }
  return true;
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
