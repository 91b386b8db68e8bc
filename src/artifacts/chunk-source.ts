import { ChunkAssembly } from "./chunk-assembly.ts";
import { CELL_BYTES, type ChunkMap, cellHashes, type Geometry } from "./chunk-map.ts";
import type { ChunkMemory, Slot } from "./chunk-memory.ts";

/** The cells of a chunk as a peer is sent them, and the hashes of all cells of the chunk. */
export type Cells = {
  bytes: Uint8Array;
  hashes: readonly Uint8Array[];
  /** To be called once they are where they go: until then their memory is not used for anything else. */
  release: () => void;
};

type Arriving = { slot: Slot; assembly: ChunkAssembly };

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
  readonly #memory: ChunkMemory;
  readonly #readChunk: (chunk: number, into: Uint8Array) => Promise<Uint8Array>;
  readonly #arriving = new Map<number, Arriving>();
  readonly #kept = new Map<number, Kept>();

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

  /** A chunk begins to arrive: it is found here until it is let go. */
  begin(chunk: number, map: ChunkMap): ChunkAssembly {
    this.letGo(chunk);
    const slot = this.#memory.take(this.#geometry.chunkBytes);
    const assembly = new ChunkAssembly(map, chunk, slot.buffer.subarray(0, this.#geometry.bytesOf(chunk)));
    this.#arriving.set(chunk, { slot, assembly });
    return assembly;
  }

  /** What has arrived of a chunk. */
  arriving(chunk: number): ChunkAssembly | undefined {
    return this.#arriving.get(chunk)?.assembly;
  }

  /** The chunk is on the disk now, or comes no more. */
  letGo(chunk: number): void {
    const arriving = this.#arriving.get(chunk);
    this.#arriving.delete(chunk);
    if (arriving !== undefined) this.#memory.release(arriving.slot);
  }

  /** Nobody gets anything for now: gives the memory back. */
  rest(): void {
    if (this.#kept.size === 0) return;
    for (const kept of this.#kept.values()) this.#memory.drop(kept.slot);
    this.#memory.trim();
  }

  /** Cells that have arrived, while the chunk is not let go. */
  arrived(chunk: number, first: number, count: number): Cells | undefined {
    const arriving = this.#arriving.get(chunk);
    if (arriving === undefined) return undefined;
    arriving.slot.users += 1;
    return this.#lend(arriving.slot, arriving.assembly.cells(first, count), arriving.assembly.hashes);
  }

  /** At once when the cells are in memory. Rejects as the store's read does. */
  cells(chunk: number, first: number, count: number): Cells | Promise<Cells> {
    const arrived = this.arrived(chunk, first, count);
    if (arrived !== undefined) return arrived;
    const kept = this.#kept.get(chunk) ?? this.#read(chunk);
    kept.slot.users += 1;
    if (kept.read !== undefined) return this.#cut(kept, kept.read, chunk, first, count);
    return kept.bytes.then((bytes) => this.#cut(kept, bytes, chunk, first, count));
  }

  #read(chunk: number): Kept {
    const slot = this.#memory.take(this.#geometry.chunkBytes);
    const kept: Kept = { slot, bytes: this.#readChunk(chunk, slot.buffer), read: undefined, hashes: undefined };
    this.#kept.set(chunk, kept);
    this.#memory.keep(slot, () => this.#kept.delete(chunk));
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
    if (!whole) kept.hashes ??= cellHashes(bytes);
    const cells = whole ? bytes : bytes.subarray(first * CELL_BYTES, (first + count) * CELL_BYTES);
    return this.#lend(kept.slot, cells, kept.hashes ?? []);
  }

  #lend(slot: Slot, bytes: Uint8Array, hashes: readonly Uint8Array[]): Cells {
    let released = false;
    const release = (): void => {
      if (!released) this.#memory.release(slot);
      released = true;
    };
    return { bytes, hashes, release };
  }
}
