import { CELL_BYTES, cellHashes, type Geometry } from "./chunk-map.ts";
import type { ChunkAssembly } from "./chunk-assembly.ts";

/** Chunks kept in memory for those who get them next; with 256 KiB chunks 8 MiB, and 32 MiB with 1 MiB. */
const MAX_KEPT = 32;

/** What a peer is sent: the cells, and the hashes of all cells of the chunk. */
export type Cells = { pieces: Uint8Array[]; hashes: readonly Uint8Array[] };

type Kept = { bytes: Promise<Uint8Array>; read: Uint8Array | undefined; hashes: Uint8Array[] | undefined };

/** Gives cells of chunks from where they are: arriving, waiting to be written, read before, or on the disk. */
export class ChunkSource {
  readonly #geometry: Geometry;
  readonly #readChunk: (chunk: number) => Promise<Uint8Array>;
  readonly #arriving = new Map<number, ChunkAssembly>();
  readonly #kept = new Map<number, Kept>();

  constructor(geometry: Geometry, readChunk: (chunk: number) => Promise<Uint8Array>) {
    this.#geometry = geometry;
    this.#readChunk = readChunk;
  }

  /** The chunk comes in here until it is written or dropped. */
  hold(chunk: number, assembly: ChunkAssembly): void {
    this.#arriving.set(chunk, assembly);
  }

  held(chunk: number): ChunkAssembly | undefined {
    return this.#arriving.get(chunk);
  }

  letGo(chunk: number): void {
    this.#arriving.delete(chunk);
  }

  /** At once when the cells are in memory. Rejects as the store's read does. */
  cells(chunk: number, first: number, count: number): Cells | Promise<Cells> {
    const assembly = this.#arriving.get(chunk);
    if (assembly !== undefined) return { pieces: assembly.cells(first, count), hashes: assembly.hashes };
    const kept = this.#kept.get(chunk) ?? this.#read(chunk);
    if (kept.read !== undefined) return this.#cut(kept, kept.read, chunk, first, count);
    return kept.bytes.then((bytes) => this.#cut(kept, bytes, chunk, first, count));
  }

  #read(chunk: number): Kept {
    const kept: Kept = { bytes: this.#readChunk(chunk), read: undefined, hashes: undefined };
    this.#kept.set(chunk, kept);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MAX_KEPT) break;
      this.#kept.delete(oldest);
    }
    void this.#settle(chunk, kept);
    return kept;
  }

  async #settle(chunk: number, kept: Kept): Promise<void> {
    try {
      kept.read = await kept.bytes;
    } catch {
      this.#kept.delete(chunk); // whoever asked for it sees why
    }
  }

  #cut(kept: Kept, bytes: Uint8Array, chunk: number, first: number, count: number): Cells {
    const whole = count === this.#geometry.cellsOf(chunk);
    if (!whole) kept.hashes ??= cellHashes([bytes]);
    const piece = whole ? bytes : bytes.subarray(first * CELL_BYTES, (first + count) * CELL_BYTES);
    return { pieces: [piece], hashes: kept.hashes ?? [] };
  }
}
