import type { ChunkAssembly } from "./chunk-assembly.ts";
import { CELL_BYTES, cellHashes, type Geometry } from "./chunk-map.ts";

/** Bytes of chunks kept in memory for those who get them next. */
const MAX_KEPT_BYTES = 8 * 1024 * 1024;

/** What a peer is sent: the cells, and the hashes of all cells of the chunk. */
export type Cells = {
  pieces: Uint8Array[];
  hashes: readonly Uint8Array[];
  /** To be called once the peer has them: until then their memory is not used for anything else. */
  release: () => void;
};

type Kept = {
  bytes: Promise<Uint8Array>;
  read: Uint8Array | undefined;
  hashes: Uint8Array[] | undefined;
  /** Sends that were not released, and whether the chunk is still to be found here. */
  users: number;
  kept: boolean;
};

/**
 * Gives cells of chunks from where they are: arriving, waiting to be written, read before, or on the disk. Chunks are read into
 * memory that is used again: new memory for each makes the garbage collector work harder than all the rest.
 */
export class ChunkSource {
  readonly #geometry: Geometry;
  readonly #readChunk: (chunk: number, into: Uint8Array) => Promise<Uint8Array>;
  readonly #arriving = new Map<number, ChunkAssembly>();
  readonly #kept = new Map<number, Kept>();
  readonly #maxKept: number;
  #free: Uint8Array[] = [];

  /** `readChunk` fills `into`, and gives the part of it that the chunk takes. */
  constructor(geometry: Geometry, readChunk: (chunk: number, into: Uint8Array) => Promise<Uint8Array>) {
    this.#geometry = geometry;
    this.#readChunk = readChunk;
    this.#maxKept = Math.ceil(MAX_KEPT_BYTES / geometry.chunkBytes);
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
    for (const chunk of this.#kept.keys()) this.#forget(chunk);
    this.#free = [];
  }

  /** At once when the cells are in memory. Rejects as the store's read does. */
  cells(chunk: number, first: number, count: number): Cells | Promise<Cells> {
    const assembly = this.#arriving.get(chunk);
    if (assembly !== undefined) {
      return { pieces: assembly.cells(first, count), hashes: assembly.hashes, release: () => undefined };
    }
    const kept = this.#kept.get(chunk) ?? this.#read(chunk);
    kept.users += 1;
    if (kept.read !== undefined) return this.#cut(kept, kept.read, chunk, first, count);
    return kept.bytes.then((bytes) => this.#cut(kept, bytes, chunk, first, count));
  }

  #read(chunk: number): Kept {
    const into = this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#geometry.chunkBytes);
    const kept: Kept = {
      bytes: this.#readChunk(chunk, into),
      read: undefined,
      hashes: undefined,
      users: 0,
      kept: true,
    };
    this.#kept.set(chunk, kept);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= this.#maxKept) break;
      this.#forget(oldest);
    }
    void this.#settle(chunk, kept);
    return kept;
  }

  async #settle(chunk: number, kept: Kept): Promise<void> {
    try {
      kept.read = await kept.bytes;
      this.#recycle(kept);
    } catch {
      this.#kept.delete(chunk); // whoever asked for it sees why
    }
  }

  #forget(chunk: number): void {
    const kept = this.#kept.get(chunk);
    this.#kept.delete(chunk);
    if (kept === undefined) return;
    kept.kept = false;
    this.#recycle(kept);
  }

  #recycle(kept: Kept): void {
    if (kept.kept || kept.users > 0 || kept.read === undefined || this.#free.length >= this.#maxKept) return;
    this.#free.push(new Uint8Array(kept.read.buffer));
    kept.read = undefined;
  }

  #cut(kept: Kept, bytes: Uint8Array, chunk: number, first: number, count: number): Cells {
    const whole = count === this.#geometry.cellsOf(chunk);
    if (!whole) kept.hashes ??= cellHashes([bytes]);
    const piece = whole ? bytes : bytes.subarray(first * CELL_BYTES, (first + count) * CELL_BYTES);
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      kept.users -= 1;
      this.#recycle(kept);
    };
    return { pieces: [piece], hashes: kept.hashes ?? [], release };
  }
}
