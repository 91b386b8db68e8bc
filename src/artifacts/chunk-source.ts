import type { ChunkAssembly } from "./chunk-assembly.ts";
import { CELL_BYTES, cellHashes, type Geometry } from "./chunk-map.ts";
import type { ChunkMemory, Slot } from "./chunk-memory.ts";

/** What a peer is sent: the cells, and the hashes of all cells of the chunk. */
export type Cells = {
  pieces: Uint8Array[];
  hashes: readonly Uint8Array[];
  /** To be called once the peer has them: until then their memory is not used for anything else. */
  release: () => void;
};

type Kept = {
  slot: Slot;
  bytes: Promise<Uint8Array>;
  /** Once they are read. */
  read: Uint8Array | undefined;
  hashes: Uint8Array[] | undefined;
};

/** Gives cells of the chunks of one blob from where they are: arriving, waiting to be written, read before, or on the disk. */
export class ChunkSource {
  readonly #geometry: Geometry;
  readonly #readChunk: (chunk: number, into: Uint8Array) => Promise<Uint8Array>;
  readonly #arriving = new Map<number, ChunkAssembly>();
  readonly #kept = new Map<number, Kept>();
  readonly #memory: ChunkMemory;

  /** `readChunk` fills `into`, and gives the part of it that the chunk takes. */
  constructor(
    geometry: Geometry,
    memory: ChunkMemory,
    readChunk: (chunk: number, into: Uint8Array) => Promise<Uint8Array>,
  ) {
    this.#geometry = geometry;
    this.#memory = memory;
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

  /** Nobody gets anything for now: gives the memory back. */
  rest(): void {
    if (this.#kept.size === 0) return;
    for (const kept of this.#kept.values()) this.#memory.drop(kept.slot);
    this.#memory.trim();
  }

  /** At once when the cells are in memory. Rejects as the store's read does. */
  cells(chunk: number, first: number, count: number): Cells | Promise<Cells> {
    const assembly = this.#arriving.get(chunk);
    if (assembly !== undefined) {
      return { pieces: assembly.cells(first, count), hashes: assembly.hashes, release: () => undefined };
    }
    const kept = this.#kept.get(chunk) ?? this.#read(chunk);
    kept.slot.users += 1;
    if (kept.read !== undefined) return this.#cut(kept, kept.read, chunk, first, count);
    return kept.bytes.then((bytes) => this.#cut(kept, bytes, chunk, first, count));
  }

  #read(chunk: number): Kept {
    const slot = this.#memory.take(this.#geometry.chunkBytes, () => this.#kept.delete(chunk));
    const kept: Kept = { slot, bytes: this.#readChunk(chunk, slot.buffer), read: undefined, hashes: undefined };
    this.#kept.set(chunk, kept);
    void this.#settle(kept);
    return kept;
  }

  async #settle(kept: Kept): Promise<void> {
    try {
      kept.read = await kept.bytes;
    } catch {
      this.#memory.drop(kept.slot); // whoever asked for it sees why
    } finally {
      this.#memory.release(kept.slot);
    }
  }

  #cut(kept: Kept, bytes: Uint8Array, chunk: number, first: number, count: number): Cells {
    const whole = count === this.#geometry.cellsOf(chunk);
    if (!whole) kept.hashes ??= cellHashes([bytes]);
    const piece = whole ? bytes : bytes.subarray(first * CELL_BYTES, (first + count) * CELL_BYTES);
    let released = false;
    const release = (): void => {
      if (!released) this.#memory.release(kept.slot);
      released = true;
    };
    return { pieces: [piece], hashes: kept.hashes ?? [], release };
  }
}
