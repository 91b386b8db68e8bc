import type { FileHandle } from "node:fs/promises";
import { type Clock, Fault } from "#core";
import { Bitset } from "../bitset.ts";
import { type BlobRef, type ChunkMap, Geometry } from "../chunk-map.ts";
import type { BlobState, BlobTable, FileStamp } from "./blob-table.ts";
import { diskFault } from "./disk-fault.ts";

/** Written bytes after which they are made durable; what a crash costs at most, and it should stay below 64 MiB. */
const SYNC_BYTES = 48 * 1024 * 1024;
/** The same in time, for slow transfers: what a thin link brought in a second is dearer than a flush. */
const SYNC_MS = 1_000;
/** A file of the store is looked at for changes at most this often; one outside at every read. */
const STAT_MS = 1_000;

export type OpenBlob = {
  ref: BlobRef;
  state: BlobState;
  map: ChunkMap | undefined;
  durable: Bitset | undefined;
  path: string;
  handle: FileHandle;
  stamp: FileStamp | undefined;
};

/**
 * One blob, open. Reads give only bytes that match the map: a chunk is hashed when it is first read after opening, and again when
 * the file was touched since. Writes are of verified chunks; they count after a restart only once they are durable.
 */
export class BlobFile {
  readonly ref: BlobRef;
  readonly geometry: Geometry;
  readonly path: string;
  /** What can be read. Of a partial blob just opened nothing, until `recheck` has read it. */
  readonly have: Bitset;
  readonly #checked: Bitset;
  readonly #durable: Bitset;
  readonly #handle: FileHandle;
  readonly #table: BlobTable;
  readonly #clock: Clock;
  #state: BlobState;
  #map: ChunkMap | undefined;
  #stamp: FileStamp | undefined;
  #statAtMs = Number.NEGATIVE_INFINITY;
  #unsynced: number[] = [];
  #unsyncedBytes = 0;
  #syncedAtMs: number;
  #syncing: Promise<void> | undefined;

  constructor(blob: OpenBlob, table: BlobTable, clock: Clock) {
    this.ref = blob.ref;
    this.geometry = new Geometry(blob.ref);
    this.path = blob.path;
    this.#state = blob.state;
    this.#map = blob.map;
    this.#stamp = blob.stamp;
    this.#handle = blob.handle;
    this.#table = table;
    this.#clock = clock;
    this.#syncedAtMs = clock.nowMs();
    this.have = new Bitset(this.geometry.chunkCount);
    this.#checked = new Bitset(this.geometry.chunkCount);
    this.#durable = blob.durable ?? new Bitset(this.geometry.chunkCount);
    if (this.#state !== "partial") this.have.fill();
  }

  get state(): BlobState {
    return this.#state;
  }

  get map(): ChunkMap | undefined {
    return this.#map;
  }

  /** Keeps the verified map; it is needed before anything can be read or written. */
  setMap(map: ChunkMap): void {
    this.#map = map;
    this.#table.setMap(this.ref.root, map.bytes);
  }

  /** The bytes were hashed on their way into this file, in this process. */
  trustAll(): void {
    this.#checked.fill();
  }

  /**
   * The verified bytes of a chunk, put into `into` if that is given and as long as a chunk. Throws Fault `artifacts.damaged`, or `artifacts.source-changed` for a file outside the store,
   * when they are no longer what was hashed; the chunk is then no longer in `have`.
   */
  async read(chunk: number, into?: Uint8Array): Promise<Uint8Array> {
    const bytes = this.geometry.bytesOf(chunk);
    const buffer = into?.subarray(0, bytes) ?? Buffer.allocUnsafeSlow(bytes);
    const { bytesRead } = await this.#handle.read(buffer, 0, bytes, chunk * this.geometry.chunkBytes);
    await this.#watch();
    if (this.#checked.has(chunk)) return buffer;
    if (bytesRead !== bytes || !this.#requireMap().matches(chunk, [buffer])) throw this.#damaged(chunk);
    this.#checked.add(chunk);
    return buffer;
  }

  #requireMap(): ChunkMap {
    if (this.#map === undefined) throw new Fault("artifacts.no-map", `the chunk map of ${this.ref.root} is not known`);
    return this.#map;
  }

  /** Forgets what was checked when the file was touched. */
  async #watch(): Promise<void> {
    const nowMs = this.#clock.nowMs();
    if (this.#state === "partial" || (this.#state === "whole" && nowMs - this.#statAtMs < STAT_MS)) return;
    this.#statAtMs = nowMs;
    const stamp = await stampOf(this.#handle);
    if (this.#stamp !== undefined && sameStamp(stamp, this.#stamp)) return;
    if (this.#stamp !== undefined || this.#state === "linked") this.#checked.clear();
    this.#stamp = stamp;
  }

  #damaged(chunk: number): Fault {
    this.have.delete(chunk);
    this.#durable.delete(chunk);
    if (this.#state === "linked") {
      return new Fault("artifacts.source-changed", `${this.path} was changed after it was published in place`, {
        exit: "conflict",
        fix: "Publish it again, or put the old content back.",
        details: { root: this.ref.root, chunk },
      });
    }
    return new Fault("artifacts.damaged", `chunk ${chunk} of ${this.ref.root} is damaged on disk`, {
      fix: "It is fetched again from peers; check the disk.",
      details: { root: this.ref.root, chunk },
    });
  }

  /** Writes a chunk whose bytes the caller has verified. */
  async write(chunk: number, pieces: readonly Uint8Array[]): Promise<void> {
    const bytes = this.geometry.bytesOf(chunk);
    try {
      await writeAll(this.#handle, pieces, chunk * this.geometry.chunkBytes);
    } catch (error) {
      throw await diskFault(error, this.path, this.missingBytes(), `blob ${this.ref.root.slice(0, 12)}`);
    }
    this.have.add(chunk);
    this.#checked.add(chunk);
    this.#unsynced.push(chunk);
    this.#unsyncedBytes += bytes;
    const late = this.#clock.nowMs() - this.#syncedAtMs >= SYNC_MS;
    if (this.#syncing === undefined && (this.#unsyncedBytes >= SYNC_BYTES || late)) {
      this.#syncing = this.sync().finally(() => {
        this.#syncing = undefined;
      });
      this.#syncing.catch(() => undefined); // the next sync, and the one that completes the blob, meet it again
    }
  }

  /** Makes what was written durable, then says so in the database: in this order, so that a crash leaves nothing half-true. */
  async sync(): Promise<void> {
    const chunks = this.#unsynced;
    if (chunks.length === 0) return;
    this.#unsynced = [];
    this.#unsyncedBytes = 0;
    this.#syncedAtMs = this.#clock.nowMs();
    try {
      await this.#handle.datasync();
    } catch (error) {
      this.#unsynced.push(...chunks);
      throw await diskFault(error, this.path, this.missingBytes(), `blob ${this.ref.root.slice(0, 12)}`);
    }
    for (const chunk of chunks) if (this.have.has(chunk)) this.#durable.add(chunk);
    if (this.#state === "partial") this.#table.setDurable(this.ref.root, this.#durable.toBytes());
  }

  /** What a crash or stop left and `recheck` has not read yet. */
  unchecked(): number[] {
    return [...this.#durable.values()].filter((chunk) => !this.have.has(chunk));
  }

  /** Reads what a crash or stop left, chunk by chunk, and tells which are good. Needs the map. */
  async *recheck(signal: AbortSignal): AsyncGenerator<{ chunk: number; good: boolean }> {
    for (const chunk of this.unchecked()) {
      signal.throwIfAborted();
      const good = await this.read(chunk).then(
        () => true,
        (error: unknown) => {
          if (error instanceof Fault) return false; // not what was written: it is fetched again
          throw error;
        },
      );
      if (good) this.have.add(chunk);
      yield { chunk, good };
    }
  }

  /** All chunks are written: durable, and whole from now on. */
  async complete(): Promise<void> {
    await this.#syncing?.catch(() => undefined);
    if (this.#state !== "partial") return;
    await this.sync();
    if (!this.have.full) throw new Fault("artifacts.incomplete", `${this.ref.root} still misses chunks`);
    this.#table.setWhole(this.ref.root);
    this.#state = "whole";
    this.#stamp = await stampOf(this.#handle);
  }

  /** Reads every chunk that was not checked since opening. Throws as `read` does. */
  async checkAll(signal: AbortSignal): Promise<void> {
    for (let chunk = 0; chunk < this.geometry.chunkCount; chunk++) {
      signal.throwIfAborted();
      if (!this.#checked.has(chunk)) await this.read(chunk);
    }
    await this.#watch();
    if (!this.#checked.full) await this.checkAll(signal);
  }

  /** Bytes still to come. */
  missingBytes(): number {
    let bytes = this.ref.sizeBytes;
    for (const chunk of this.have.values()) bytes -= this.geometry.bytesOf(chunk);
    return bytes;
  }

  /** Makes durable what can be, and closes the file. */
  async close(): Promise<void> {
    await this.#syncing?.catch(() => undefined);
    try {
      if (this.#state === "partial") await this.sync();
    } finally {
      await this.#handle.close();
    }
  }
}

async function writeAll(handle: FileHandle, pieces: readonly Uint8Array[], offset: number): Promise<void> {
  let left = pieces;
  let at = offset;
  for (;;) {
    const { bytesWritten } = await handle.writev(left, at);
    at += bytesWritten;
    let skip = bytesWritten;
    const rest: Uint8Array[] = [];
    for (const piece of left) {
      if (skip < piece.length) rest.push(skip === 0 ? piece : piece.subarray(skip));
      skip = Math.max(0, skip - piece.length);
    }
    if (rest.length === 0) return;
    left = rest;
  }
}

/** Inode, modification time and size of an open file. */
export async function stampOf(handle: FileHandle): Promise<FileStamp> {
  const { dev, ino, mtimeNs, size } = await handle.stat({ bigint: true });
  return { inode: `${dev}:${ino}`, mtimeNs: String(mtimeNs), sizeBytes: Number(size) };
}

export function sameStamp(a: FileStamp, b: FileStamp): boolean {
  return a.inode === b.inode && a.mtimeNs === b.mtimeNs && a.sizeBytes === b.sizeBytes;
}
