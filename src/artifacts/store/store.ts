import { constants } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Clock, Fault, type Log } from "#core";
import { Bitset } from "../bitset.ts";
import { type BlobRef, ChunkMap, Geometry, isBlobRef } from "../chunk-map.ts";
import { Asides } from "./asides.ts";
import { BlobFile, type Damage, sourceChanged } from "./blob-file.ts";
import { type BlobEntry, type BlobRow, type BlobState, BlobTable } from "./blob-table.ts";
import { diskFault, errnoOf } from "./disk-fault.ts";
import { syncFolder } from "./file-io.ts";
import { FilePool } from "./file-pool.ts";
import { sameStamp, stampOf } from "./file-stamp.ts";
import { copyAndHash, type Hashed, hashFile } from "./import-file.ts";

import { regularBytes } from "./regular-file.ts";
import { blobPath, dropLost, filesIn, openTable } from "./salvage.ts";
import { type SpaceOptions, StoreSpace } from "./space.ts";

/** Blobs known in memory at once, beside those on their way: a map has 32 bytes a chunk. */
const MAX_KNOWN_BLOBS = 256;

export type StoreDeps = { clock: Clock; log: Log };

export type StoreOptions = SpaceOptions & {
  /** What the store says that it has turned out not to be what was hashed. */
  onDamaged?: (root: string, what: Damage) => void;
};

export type ImportOptions = {
  /** Keep the bytes where they are, and serve them from there. */
  inPlace: boolean;
  signal: AbortSignal;
  onBytes?: (bytes: number) => void;
};

/**
 * The blobs of one node: `store.db` says which, `blobs/` has their bytes in files named by root. What it says that it has was
 * verified and is durable; what is read from it is verified again. Everything else is thought missing.
 */
export class Store implements AsyncDisposable {
  readonly #dir: string;
  readonly #deps: StoreDeps;
  readonly #options: StoreOptions;
  readonly #table: BlobTable;
  readonly #files = new FilePool();
  /** The room there is. */
  readonly space: StoreSpace;
  /** Files that are to be taken in by `importAside`. */
  readonly asides: Asides;
  /** Roots whose files are in place and whose rows are not yet. */
  readonly #adopting = new Set<string>();
  /** The least recently asked for is first. */
  readonly #open = new Map<string, { opening: Promise<BlobFile>; blob?: BlobFile }>();

  private constructor(dir: string, table: BlobTable, deps: StoreDeps, options: StoreOptions) {
    this.#dir = dir;
    this.#table = table;
    this.#deps = deps;
    this.#options = options;
    this.space = new StoreSpace(dir, table, options);
    this.asides = new Asides(dir, this.space);
  }

  /** Opens the store in `dir`, and makes it there if there is none. Throws Fault `artifacts.newer-store`, `artifacts.read-only`, `artifacts.disk-full`. */
  static async open(dir: string, deps: StoreDeps, options: StoreOptions = {}): Promise<Store> {
    try {
      await mkdir(join(dir, "blobs"), { recursive: true, mode: 0o700 });
      await Asides.clear(dir);
      const table = await openTable(dir, deps.log, deps.clock.wallMs());
      await dropLost(table, dir, deps.log);
      return new Store(dir, table, deps, options);
    } catch (error) {
      throw await diskFault(error, dir, 0, "the artifact store");
    }
  }

  /** Where the store is. */
  get dir(): string {
    return this.#dir;
  }

  /** All blobs that the store knows, whole or not. */
  list(): BlobEntry[] {
    return this.#table.list();
  }

  /** `undefined` when the store has nothing of it. */
  stateOf(root: string): BlobState | undefined {
    return this.#table.stateOf(root);
  }

  /** The blob's open file; `undefined` when the store has nothing of it, or its file is gone. */
  async get(root: string): Promise<BlobFile | undefined> {
    const known = this.#open.get(root);
    if (known !== undefined) return this.#keep(root, known).opening;
    const row = this.#table.get(root);
    if (row === undefined) return undefined;
    return this.#keep(root, { opening: this.#openRow(row) }).opening.catch((error: unknown) => {
      if (errnoOf(error) !== "ENOENT") throw error;
      this.#deps.log.warn("the file of a blob is gone", { root, path: row.path ?? blobPath(this.#dir, root) });
      this.#table.delete(root);
      return undefined;
    });
  }

  /**
   * The file of a blob that is to be filled; the one there is, if it was begun before. Throws Fault `artifacts.no-room` when
   * what is missing does not fit and room was not promised, `artifacts.disk-full`, `artifacts.read-only`.
   */
  async create(ref: BlobRef): Promise<BlobFile> {
    if (!isBlobRef(ref)) throw new Fault("artifacts.bad-ref", "not the name of a blob", { exit: "invalid" });
    const known = await this.get(ref.root);
    if (known !== undefined) {
      if (known.ref.sizeBytes !== ref.sizeBytes) throw sizeMismatch(ref, known.ref);
      return known;
    }
    return this.space.withRoom([ref], `blob ${ref.root.slice(0, 12)}`, () => {
      const opened = this.#open.get(ref.root); // somebody else was faster
      return (opened ?? this.#keep(ref.root, { opening: this.#createFile(ref) })).opening;
    });
  }

  async #createFile(ref: BlobRef): Promise<BlobFile> {
    const path = blobPath(this.#dir, ref.root);
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await using handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
      const { size } = await handle.stat();
      await handle.truncate(ref.sizeBytes); // sparse: chunks land where they belong
      await syncFolder(dirname(path));
      const map = ChunkMap.ofSmall(ref);
      const row: BlobRow = {
        ref,
        state: "partial",
        map: map?.bytes,
        durable: undefined,
        path: undefined,
        stamp: undefined,
        addedMs: this.#deps.clock.wallMs(),
      };
      this.#table.put(row);
      // A file that was there is one that the database lost: what is good of it counts.
      const blob = this.#blobFile(row, path, map, size > 0);
      if (ref.sizeBytes === 0) await blob.complete();
      return blob;
    } catch (error) {
      throw await diskFault(error, this.#dir, ref.sizeBytes, `blob ${ref.root.slice(0, 12)}`);
    }
  }

  async #openRow(row: BlobRow): Promise<BlobFile> {
    const { ref } = row;
    const path = row.path ?? blobPath(this.#dir, ref.root);
    const { size } = await stat(path);
    if (size !== ref.sizeBytes) {
      if (row.state === "linked") {
        this.#onDamaged(ref.root, "source");
        throw sourceChanged(path, ref.root);
      }
      await this.#mendSize(row, path, size);
    }
    const map = row.map === undefined ? undefined : ChunkMap.verify(ref, row.map);
    if (row.map !== undefined && map === undefined) this.#deps.log.warn("a chunk map is damaged", { root: ref.root });
    return this.#blobFile(row, path, map, row.state === "partial");
  }

  /** A file that was cut or grew is made as long as it was; chunks beyond the cut are missing. */
  async #mendSize(row: BlobRow, path: string, sizeBytes: number): Promise<void> {
    const { root } = row.ref;
    this.#deps.log.warn("the file of a blob has another size", { root, path, sizeBytes });
    await using handle = await open(path, "r+");
    await handle.truncate(row.ref.sizeBytes);
    const geometry = new Geometry(row.ref);
    const left = new Bitset(geometry.chunkCount);
    const known = row.durable && Bitset.fromBytes(geometry.chunkCount, row.durable);
    const uncut = Math.min(geometry.chunkCount, Math.floor(sizeBytes / geometry.chunkBytes));
    for (let chunk = 0; chunk < uncut; chunk++)
      if (row.state === "whole" || known?.has(chunk) === true) left.add(chunk);
    row.state = "partial";
    row.durable = left.toBytes();
    this.#table.setPartial(root, row.durable);
    this.#onDamaged(root, "chunk");
  }

  #blobFile(row: BlobRow, path: string, map: ChunkMap | undefined, leftovers: boolean): BlobFile {
    const { ref, state, stamp } = row;
    const durable = row.durable && Bitset.fromBytes(new Geometry(ref).chunkCount, row.durable);
    return new BlobFile(
      { ref, state, map, durable, path, stamp, leftovers },
      {
        table: this.#table,
        files: this.#files,
        clock: this.#deps.clock,
        damaged: (root, what) => this.#onDamaged(root, what),
      },
    );
  }

  #onDamaged(root: string, what: Damage): void {
    if (what !== "chunk") {
      this.#open.delete(root);
      this.#table.delete(root);
    }
    this.#deps.log.warn("a blob is damaged", { root, what });
    this.#options.onDamaged?.(root, what);
  }

  #keep(root: string, entry: { opening: Promise<BlobFile>; blob?: BlobFile }): { opening: Promise<BlobFile> } {
    this.#open.delete(root);
    this.#open.set(root, entry);
    entry.opening.then(
      (blob) => {
        entry.blob = blob;
      },
      () => (this.#open.get(root) === entry ? this.#open.delete(root) : undefined),
    );
    for (const [oldest, { blob }] of this.#open) {
      if (this.#open.size <= MAX_KNOWN_BLOBS) break;
      // Two of one that is on its way would not know of each other's chunks.
      if (blob !== undefined && blob.state !== "partial") this.#open.delete(oldest);
    }
    return entry;
  }

  /** Takes in the content of a regular file, by reference, shared blocks or copy. Throws Fault `artifacts.not-found`, `.not-a-file`, `.source-changed`, `.no-room`, `.disk-full`. */
  async import(path: string, options: ImportOptions): Promise<BlobRef> {
    const { inPlace, signal, onBytes = () => undefined } = options;
    if (inPlace) return this.#link(path, await hashFile(path, signal, onBytes));
    const sizeBytes = await regularBytes(path);
    const shared = await this.asides.share(path);
    if (shared !== undefined) return this.#adopt(shared, await hashFile(shared, signal, onBytes));
    using aside = await this.asides.make(sizeBytes, `a copy of ${path}`);
    return await this.#adopt(aside.path, await copyAndHash(path, aside.path, signal, onBytes));
  }

  /** Takes in a file made aside. */
  async importAside(path: string, signal: AbortSignal): Promise<BlobRef> {
    const hashed = await hashFile(path, signal, () => undefined);
    await using handle = await open(path, "r");
    await handle.datasync();
    return this.#adopt(path, hashed);
  }

  async #adopt(aside: string, { ref, map }: Hashed): Promise<BlobRef> {
    if (await this.#hasWhole(ref.root)) {
      await rm(aside, { force: true });
      return ref;
    }
    await this.close(ref.root); // one that was on its way is replaced
    const path = blobPath(this.#dir, ref.root);
    this.#adopting.add(ref.root);
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await rename(aside, path);
      await syncFolder(dirname(path));
      await this.#takeUp({ ref, state: "whole", map: map.bytes, path: undefined, stamp: undefined }, true);
    } finally {
      this.#adopting.delete(ref.root);
    }
    return ref;
  }

  async #link(path: string, { ref, map, stamp }: Hashed): Promise<BlobRef> {
    if (await this.#hasWhole(ref.root)) return ref;
    await this.#discard(ref.root);
    await using handle = await open(path, "r");
    const untouched = sameStamp(stamp, await stampOf(handle));
    await this.#takeUp({ ref, state: "linked", map: map.bytes, path, stamp }, untouched);
    return ref;
  }

  async #takeUp(row: Omit<BlobRow, "durable" | "addedMs">, trusted: boolean): Promise<void> {
    this.#table.put({ ...row, durable: undefined, addedMs: this.#deps.clock.wallMs() });
    const blob = await this.get(row.ref.root);
    if (trusted) blob?.trustAll();
  }

  async #hasWhole(root: string): Promise<boolean> {
    const blob = await this.get(root).catch(() => undefined);
    return blob !== undefined && blob.state === "whole" && blob.have.full;
  }

  /** Removes a blob and its bytes; those of a file outside the store stay. */
  async remove(root: string): Promise<void> {
    await this.#discard(root);
  }

  /** Removes files of blobs that the store knows nothing of. */
  async removeStrays(): Promise<void> {
    const strays = [...(await filesIn(this.#dir))].filter((root) => this.stateOf(root) === undefined);
    for (const root of strays) {
      const isComing = this.#open.has(root) || this.#adopting.has(root);
      if (!isComing) await rm(blobPath(this.#dir, root), { force: true });
    }
  }

  async #discard(root: string): Promise<void> {
    await this.close(root);
    this.#table.delete(root);
    await rm(blobPath(this.#dir, root), { force: true });
  }

  /** Closes one blob's file; `get` opens it again. */
  async close(root: string): Promise<void> {
    const entry = this.#open.get(root);
    this.#open.delete(root);
    const blob = await entry?.opening.catch(() => undefined);
    await blob?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const root of this.#open.keys()) {
      await this.close(root).catch(async (error: unknown) => {
        const cause = await diskFault(error, this.#dir, 0, root);
        this.#deps.log.warn("a blob could not be closed in good order", { root, reason: String(cause) });
      });
    }
    await this.#files[Symbol.asyncDispose]();
    this.#table.close();
  }
}

function sizeMismatch(wanted: BlobRef, known: BlobRef): Fault {
  return new Fault("artifacts.bad-ref", `blob ${wanted.root} has ${known.sizeBytes} bytes, not ${wanted.sizeBytes}`, {
    exit: "invalid",
  });
}
