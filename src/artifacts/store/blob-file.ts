import { type FileHandle, rm, stat } from "node:fs/promises";
import { type Clock, Fault } from "#core";
import { Bitset } from "../bitset.ts";
import { type BlobRef, type ChunkMap, Geometry } from "../chunk-map.ts";
import type { BlobState, BlobTable } from "./blob-table.ts";
import { diskFault, errnoOf } from "./disk-fault.ts";
import { DurableChunks } from "./durable-chunks.ts";
import type { FilePool } from "./file-pool.ts";
import { type FileStamp, sameStamp, stampOf } from "./file-stamp.ts";
import { isBlank, writeAll } from "./file-io.ts";

/** A file of the store is looked at for changes at most this often; one outside at every read. */
const STAT_MS = 1_000;
/** That a blob is read is noted this often: pruning needs to know no better, and flash wears. */
const USED_MS = 3_600_000;
/** Chunks looked into at once for what a crash left: as many as the system has threads for files. */
const LOOKS_AT_ONCE = 4;

export type BlobFileDeps = {
  table: BlobTable;
  files: FilePool;
  clock: Clock;
  damaged: (root: string, what: Damage) => void;
};

/**
 * What became of a blob that was whole: a `chunk` of it is missing now, its `file` is gone, or its `source`, which it was published from
 * in place, was changed.
 */
export type Damage = "chunk" | "file" | "source";

export type KnownBlob = {
  ref: BlobRef;
  state: BlobState;
  map: ChunkMap | undefined;
  /** Of a partial blob: chunks that are verified and on the disk for sure. */
  durable: Bitset | undefined;
  path: string;
  stamp: FileStamp | undefined;
  /** The file may hold more chunks than are known, written just before a crash. */
  leftovers: boolean;
};

/**
 * One blob and its file. Reads give only bytes that match the map: a chunk is hashed when it is first read since the blob was opened
 * here, and again when the file was touched since. Writes are of verified chunks; they count after a restart once they are durable.
 */
export class BlobFile {
  readonly ref: BlobRef;
  readonly geometry: Geometry;
  readonly path: string;
  /** What can be read. */
  readonly have: Bitset;
  readonly #checked: Bitset;
  readonly #durable: DurableChunks;
  readonly #deps: BlobFileDeps;
  #state: BlobState;
  #map: ChunkMap | undefined;
  #stamp: FileStamp | undefined;
  #statAtMs = Number.NEGATIVE_INFINITY;
  #handle: FileHandle | undefined;
  #leftovers: boolean;
  #usedAtMs = Number.NEGATIVE_INFINITY;

  constructor(blob: KnownBlob, deps: BlobFileDeps) {
    this.ref = blob.ref;
    this.geometry = new Geometry(blob.ref);
    this.path = blob.path;
    this.#state = blob.state;
    this.#map = blob.map;
    this.#stamp = blob.stamp;
    this.#leftovers = blob.leftovers;
    this.#deps = deps;
    this.#checked = new Bitset(this.geometry.chunkCount);
    this.#durable = new DurableChunks(this.geometry, blob.durable, deps.clock);
    this.have = new Bitset(this.geometry.chunkCount);
    if (this.#state !== "partial") this.have.fill();
    else for (const chunk of this.#durable.values()) this.have.add(chunk);
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
    this.#deps.table.setMap(this.ref.root, map.bytes);
  }

  /** The bytes were hashed on their way into this file, in this process. */
  trustAll(): void {
    this.#checked.fill();
  }

  /**
   * The verified bytes of a chunk, put into `into` if that is given and as long as a chunk. Throws Fault `artifacts.damaged`, or `artifacts.source-changed` for a file outside the store,
   * when they are no longer what was hashed; the chunk is then no longer in `have`, and the blob no longer whole.
   */
  async read(chunk: number, into?: Uint8Array): Promise<Uint8Array> {
    const bytes = this.geometry.bytesOf(chunk);
    const buffer = into?.subarray(0, bytes) ?? Buffer.allocUnsafeSlow(bytes);
    const bytesRead = await this.#readInto(buffer, chunk);
    this.#noteUse();
    if (bytesRead === bytes && this.#checked.has(chunk)) return buffer;
    if (bytesRead !== bytes || !this.#requireMap().matches(chunk, buffer)) throw await this.#lose(chunk);
    this.#checked.add(chunk);
    return buffer;
  }

  async #readInto(buffer: Uint8Array, chunk: number): Promise<number> {
    try {
      return await this.#use(async (handle) => {
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, chunk * this.geometry.chunkBytes);
        await this.#watch(handle);
        return bytesRead;
      });
    } catch (error) {
      throw errnoOf(error) === "EIO" ? await this.#lose(chunk, error) : error; // a sector that cannot be read
    }
  }

  async #use<T>(work: (handle: FileHandle) => Promise<T>): Promise<T> {
    try {
      return await this.#deps.files.use(this.path, this.#state === "partial" ? "r+" : "r", work);
    } catch (error) {
      throw errnoOf(error) === "ENOENT" ? this.#loseFile(error) : error;
    }
  }

  #requireMap(): ChunkMap {
    if (this.#map === undefined) throw new Fault("artifacts.no-map", `the chunk map of ${this.ref.root} is not known`);
    return this.#map;
  }

  /** Looks at once whether the file was touched: before it is copied from, where nobody checks what comes out. */
  async look(): Promise<void> {
    await this.#use((handle) => this.#watch(handle, false));
    this.#noteUse();
  }

  /** Forgets what was checked when the file was touched, or is another one since it was opened again. */
  async #watch(handle: FileHandle, mayWait = true): Promise<void> {
    const nowMs = this.#deps.clock.nowMs();
    const reopened = this.#handle !== handle;
    this.#handle = handle;
    const recent = this.#state === "partial" || (this.#state === "whole" && nowMs - this.#statAtMs < STAT_MS);
    if (mayWait && recent && !reopened) return;
    this.#statAtMs = nowMs;
    const stamp = await stampOf(handle);
    const before = this.#stamp;
    this.#stamp = stamp;
    if (before === undefined ? this.#state !== "linked" : sameStamp(before, stamp)) return;
    if (this.#state !== "partial" || before?.inode !== stamp.inode) this.#checked.clear(); // writing changes the time of a partial one
  }

  #noteUse(): void {
    const nowMs = this.#deps.clock.nowMs();
    if (nowMs - this.#usedAtMs < USED_MS) return;
    this.#usedAtMs = nowMs;
    try {
      this.#deps.table.setUsed(this.ref.root, this.#deps.clock.wallMs());
    } catch {
      // a disk that is full or read-only can still be read
    }
  }

  /** A chunk is not what was hashed: it is missing from now on. */
  async #lose(chunk: number, cause?: unknown): Promise<Fault> {
    this.have.delete(chunk);
    this.#durable.delete(chunk);
    const { root } = this.ref;
    if (this.#state === "linked") {
      this.#deps.damaged(root, "source");
      return sourceChanged(this.path, root);
    }
    // The other name of a shared file is somebody's, who may have changed it on purpose: it must not be mended under his hands.
    if (await this.#use(async (handle) => (await handle.stat()).nlink > 1)) {
      await rm(this.path, { force: true });
      return this.#loseFile(cause);
    }
    if (this.#state === "partial") this.#deps.table.setDurable(root, this.#durable.toBytes());
    else this.#becomePartial();
    return new Fault("artifacts.damaged", `chunk ${chunk} of ${root} is damaged on disk`, {
      fix: "It is fetched again from peers; check the disk.",
      details: { root, chunk },
      cause,
    });
  }

  #becomePartial(): void {
    this.#state = "partial";
    this.#stamp = undefined;
    for (const chunk of this.have.values()) this.#durable.add(chunk);
    this.#deps.table.setPartial(this.ref.root, this.#durable.toBytes());
    this.#deps.damaged(this.ref.root, "chunk");
  }

  #loseFile(cause: unknown): Fault {
    const { root } = this.ref;
    this.have.clear();
    this.#durable.clear();
    this.#deps.damaged(root, "file");
    return new Fault("artifacts.damaged", `${this.path}, the file of ${root}, is gone`, {
      fix: "It is fetched again from peers; look for what removes files from the store.",
      details: { root },
      cause,
    });
  }

  /** Writes a chunk whose bytes the caller has verified. */
  async write(chunk: number, pieces: readonly Uint8Array[]): Promise<void> {
    try {
      await this.#use((handle) => writeAll(handle, pieces, chunk * this.geometry.chunkBytes));
    } catch (error) {
      throw await diskFault(error, this.path, this.missingBytes(), `blob ${this.ref.root.slice(0, 12)}`);
    }
    this.have.add(chunk);
    this.#checked.add(chunk);
    this.#durable.wrote(chunk);
    this.#durable.syncWhenDue(() => this.sync());
  }

  /** Makes what was written durable, then says so in the database: in this order, so that a crash leaves nothing half-true. */
  async sync(): Promise<void> {
    try {
      const synced = await this.#durable.sync(
        () => this.#use((handle) => handle.datasync()),
        (chunk) => this.have.has(chunk),
      );
      if (synced && this.#state === "partial") this.#deps.table.setDurable(this.ref.root, this.#durable.toBytes());
    } catch (error) {
      throw await diskFault(error, this.path, this.missingBytes(), `blob ${this.ref.root.slice(0, 12)}`);
    }
  }

  /**
   * Chunks that a crash may have left in the file without its being known: those that are missing and do not begin with a hole. What is
   * known to be durable is not looked at. Empty from the second call on.
   */
  async findLeftovers(signal: AbortSignal): Promise<number[]> {
    if (!this.#leftovers) return [];
    this.#leftovers = false;
    const found: number[] = [];
    const { chunkBytes, chunkCount } = this.geometry;
    let next = this.have.firstMissing();
    const look = async (handle: FileHandle): Promise<void> => {
      while (next !== undefined && next < chunkCount) {
        signal.throwIfAborted();
        const chunk = next;
        next = this.have.firstMissing(chunk + 1);
        if (!(await isBlank(handle, chunk * chunkBytes))) found.push(chunk);
      }
    };
    await this.#use((handle) => Promise.all(Array.from({ length: LOOKS_AT_ONCE }, () => look(handle))));
    return found.filter((chunk) => !this.have.has(chunk)).toSorted((a, b) => a - b);
  }

  /** Reads leftovers of a crash, and tells which are good and so here. Needs the map. */
  async *recheck(leftovers: readonly number[], signal: AbortSignal): AsyncGenerator<{ chunk: number; good: boolean }> {
    for (const chunk of leftovers) {
      signal.throwIfAborted();
      const buffer = Buffer.allocUnsafeSlow(this.geometry.bytesOf(chunk));
      const whole = (await this.#readInto(buffer, chunk)) === buffer.length;
      const good = whole && this.#requireMap().matches(chunk, buffer);
      if (good) this.#found(chunk);
      yield { chunk, good };
    }
  }

  #found(chunk: number): void {
    this.have.add(chunk);
    this.#checked.add(chunk);
    this.#durable.wrote(chunk);
  }

  /** All chunks are written: durable, and whole from now on. */
  async complete(): Promise<void> {
    await this.#durable.settled();
    if (this.#state !== "partial") return;
    await this.sync();
    if (!this.have.full) throw new Fault("artifacts.incomplete", `${this.ref.root} still misses chunks`);
    const stamp = await this.#use(stampOf);
    const there = await stat(this.path, { bigint: true }).catch(() => undefined);
    if (there === undefined || `${there.dev}:${there.ino}` !== stamp.inode) throw this.#loseFile(undefined);
    this.#deps.table.setWhole(this.ref.root);
    this.#state = "whole";
    this.#stamp = stamp;
  }

  /** Reads every chunk that was not checked since opening. Throws as `read` does. */
  async checkAll(signal: AbortSignal): Promise<void> {
    await this.look();
    const buffer = Buffer.allocUnsafeSlow(Math.min(this.geometry.chunkBytes, this.ref.sizeBytes));
    for (let chunk = 0; chunk < this.geometry.chunkCount; chunk++) {
      signal.throwIfAborted();
      if (!this.#checked.has(chunk)) await this.read(chunk, buffer);
    }
    await this.look();
    if (!this.#checked.full) await this.checkAll(signal);
  }

  /** Bytes still to come. */
  missingBytes(): number {
    const { chunkBytes, chunkCount } = this.geometry;
    if (this.have.full) return 0;
    const shortBytes = this.have.has(chunkCount - 1) ? chunkBytes - this.geometry.bytesOf(chunkCount - 1) : 0;
    return this.ref.sizeBytes - this.have.count * chunkBytes + shortBytes;
  }

  /** Makes durable what can be, and closes the file. */
  async close(): Promise<void> {
    await this.#durable.settled();
    try {
      if (this.#state === "partial") await this.sync();
    } finally {
      await this.#deps.files.close(this.path);
    }
  }
}

/** Fault `artifacts.source-changed` (exit `conflict`): what was published in place is no longer what was hashed. */
export function sourceChanged(path: string, root: string): Fault {
  return new Fault("artifacts.source-changed", `${path} was changed after it was published in place`, {
    exit: "conflict",
    fix: "Publish it again, or put the old content back and publish that.",
    details: { root },
  });
}
