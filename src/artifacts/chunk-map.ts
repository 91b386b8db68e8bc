import { HASH_BYTES, leafHash, merkleRoot } from "#core";

/**
 * The unit of verification: a leaf of the Merkle tree (RFC 6962). Each sender has one on the way to each receiver at least, so that eight of them
 * fill what a switch port holds (256 KiB); with cells of 64 KiB more was lost there (docs/spec/chunk-map.md).
 */
export const CELL_BYTES = 32 * 1024;

/** Blobs beyond this use large chunks, so that a map stays under 1 MiB per 32 GiB of content. */
const LARGE_BLOB_BYTES = 4 * 1024 ** 3;
const SMALL_CHUNK_BYTES = 256 * 1024;
const LARGE_CHUNK_BYTES = 1024 * 1024;

/** Chunks in one blob; with 1 MiB chunks that is 1 TiB, and a map of 32 MiB. */
export const MAX_CHUNKS = 1024 * 1024;

/** What names a blob: all three are signed together, because an RFC 6962 root alone does not bind the size. */
export type BlobRef = {
  /** Hex RFC 6962 root over the blob's cells; of an empty blob: SHA-256 of nothing. */
  root: string;
  sizeBytes: number;
  /** 256 KiB up to 4 GiB of content, 1 MiB beyond; a chunk's hash is an interior node, so it does not change the root. */
  chunkBytes: number;
};

/** The one chunk size that a blob of this size may have. */
export function chunkBytesFor(sizeBytes: number): number {
  return sizeBytes <= LARGE_BLOB_BYTES ? SMALL_CHUNK_BYTES : LARGE_CHUNK_BYTES;
}

/** Whether root, size and chunk size have the shape and the values that a blob can have. */
export function isBlobRef(value: BlobRef): boolean {
  const { root, sizeBytes, chunkBytes } = value;
  if (typeof root !== "string" || !/^[0-9a-f]{64}$/u.test(root)) return false;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || chunkBytes !== chunkBytesFor(sizeBytes)) return false;
  return Math.ceil(sizeBytes / chunkBytes) <= MAX_CHUNKS;
}

/** How a blob is cut: which bytes and how many cells each chunk has. */
export class Geometry {
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  readonly chunkCount: number;

  constructor(ref: Pick<BlobRef, "sizeBytes" | "chunkBytes">) {
    this.sizeBytes = ref.sizeBytes;
    this.chunkBytes = ref.chunkBytes;
    this.chunkCount = Math.ceil(ref.sizeBytes / ref.chunkBytes);
  }

  /** Bytes in this chunk; only the last may be shorter. */
  bytesOf(chunk: number): number {
    return Math.min(this.chunkBytes, this.sizeBytes - chunk * this.chunkBytes);
  }

  cellsOf(chunk: number): number {
    return Math.ceil(this.bytesOf(chunk) / CELL_BYTES);
  }

  /** Bytes in the `count` cells of this chunk from `first` on. */
  bytesOfCells(chunk: number, first: number, count: number): number {
    const bytes = this.bytesOf(chunk);
    return Math.min(bytes, (first + count) * CELL_BYTES) - Math.min(bytes, first * CELL_BYTES);
  }
}

/** The leaf hashes of bytes that begin with a cell. */
export function cellHashes(bytes: Uint8Array): Uint8Array[] {
  const count = Math.ceil(bytes.length / CELL_BYTES);
  return Array.from({ length: count }, (_, cell) =>
    leafHash(bytes.subarray(cell * CELL_BYTES, (cell + 1) * CELL_BYTES)),
  );
}

/** The hash of a chunk: the root of the subtree over its cells. */
export function chunkHash(bytes: Uint8Array): Uint8Array {
  return merkleRoot(cellHashes(bytes));
}

/** The hashes of chunks from those of all their cells, 32 bytes each in both. */
export function chunkHashesOf(cells: Uint8Array, chunkBytes: number): Uint8Array {
  const perChunk = (chunkBytes / CELL_BYTES) * HASH_BYTES;
  const chunks = Array.from({ length: Math.ceil(cells.length / perChunk) }, (_, chunk) =>
    merkleRoot(hashesIn(cells.subarray(chunk * perChunk, (chunk + 1) * perChunk))),
  );
  return Buffer.concat(chunks);
}

function hashesIn(bytes: Uint8Array): Uint8Array[] {
  const count = bytes.length / HASH_BYTES;
  return Array.from({ length: count }, (_, at) => bytes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES));
}

/** The chunk hashes of one blob, verified against its root. */
export class ChunkMap {
  readonly #hashes: Uint8Array;

  private constructor(hashes: Uint8Array) {
    this.#hashes = hashes;
  }

  /** A map of a blob that was hashed here, with the root it has. */
  static of(hashes: Uint8Array): { map: ChunkMap; root: string } {
    const map = new ChunkMap(hashes);
    return { map, root: map.#root() };
  }

  /** A map that somebody gave us; `undefined` unless it has one hash per chunk and they lead to the root. */
  static verify(ref: BlobRef, hashes: Uint8Array): ChunkMap | undefined {
    const count = Math.ceil(ref.sizeBytes / ref.chunkBytes);
    if (hashes.length !== count * HASH_BYTES) return undefined;
    const map = new ChunkMap(hashes);
    return map.#root() === ref.root ? map : undefined;
  }

  /** The map of a blob of at most one chunk, which its root already says. */
  static ofSmall(ref: BlobRef): ChunkMap | undefined {
    return ref.sizeBytes > ref.chunkBytes
      ? undefined
      : ChunkMap.verify(ref, ref.sizeBytes === 0 ? new Uint8Array() : Buffer.from(ref.root, "hex"));
  }

  /** 32 bytes per chunk, in order: the form in which a map is stored and sent. */
  get bytes(): Uint8Array {
    return this.#hashes;
  }

  #root(): string {
    return Buffer.from(merkleRoot(hashesIn(this.#hashes))).toString("hex");
  }

  hashOf(chunk: number): Uint8Array {
    return this.#hashes.subarray(chunk * HASH_BYTES, (chunk + 1) * HASH_BYTES);
  }

  /** Whether these are the chunk's bytes. */
  matches(chunk: number, bytes: Uint8Array): boolean {
    return Buffer.compare(chunkHash(bytes), this.hashOf(chunk)) === 0;
  }
}
