import { constants } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Clock, Fault, type Log } from "#core";
import { Bitset } from "../bitset.ts";
import { type BlobRef, ChunkMap, Geometry, isBlobRef } from "../chunk-map.ts";
import { BlobFile, sameStamp, stampOf } from "./blob-file.ts";
import { type BlobRow, type BlobState, BlobTable } from "./blob-table.ts";
import { diskFault, errnoOf, requireSpace } from "./disk-fault.ts";
import { copyAndHash, type Hashed, hashFile } from "./import-file.ts";

export type StoreDeps = { clock: Clock; log: Log };

export type ImportOptions = {
  /** Keep the bytes where they are, and serve them from there. */
  inPlace: boolean;
  signal: AbortSignal;
  onBytes?: (bytes: number) => void;
};

/**
 * The blobs of one node: `store.db` says which, `blobs/` has their bytes in files named by root. What it says that it has is
 * durable and verified; everything else is thought missing.
 */
export class Store implements AsyncDisposable {
  readonly #dir: string;
  readonly #deps: StoreDeps;
  readonly #table: BlobTable;
  readonly #open = new Map<string, Promise<BlobFile>>();
  #imports = 0;

  private constructor(dir: string, table: BlobTable, deps: StoreDeps) {
    this.#dir = dir;
    this.#table = table;
    this.#deps = deps;
  }

  /** Opens the store in `dir`, and makes it there if there is none. Throws Fault `artifacts.newer-store`. */
  static async open(dir: string, deps: StoreDeps): Promise<Store> {
    await mkdir(join(dir, "blobs"), { recursive: true, mode: 0o700 });
    await rm(join(dir, "importing"), { recursive: true, force: true }); // left by a crash: never named by a root
    return new Store(dir, new BlobTable(join(dir, "store.db")), deps);
  }

  /** All blobs that the store knows, whole or not. */
  list(): { ref: BlobRef; state: BlobState; addedMs: number }[] {
    return this.#table.list();
  }

  /** `undefined` when the store has nothing of it. */
  stateOf(root: string): BlobState | undefined {
    return this.#table.get(root)?.state;
  }

  /** The blob's open file; `undefined` when the store has nothing of it, or its file is gone. */
  async get(root: string): Promise<BlobFile | undefined> {
    const opening = this.#open.get(root);
    if (opening !== undefined) return opening;
    const row = this.#table.get(root);
    if (row === undefined) return undefined;
    return this.#keep(row.ref, this.#openRow(row)).catch((error: unknown) => {
      if (errnoOf(error) !== "ENOENT") throw error;
      this.#deps.log.warn("the file of a blob is gone", { root, path: row.path ?? this.#pathOf(root) });
      this.#table.delete(root);
      return undefined;
    });
  }

  /**
   * The file of a blob that is to be filled; the one there is, if it was begun before. Throws Fault `artifacts.disk-full` when
   * what is missing does not fit.
   */
  async create(ref: BlobRef): Promise<BlobFile> {
    if (!isBlobRef(ref)) throw new Fault("artifacts.bad-ref", "not the name of a blob", { exit: "invalid" });
    const known = await this.get(ref.root);
    if (known !== undefined) {
      if (known.ref.sizeBytes !== ref.sizeBytes) throw sizeMismatch(ref, known.ref);
      return known;
    }
    await requireSpace(this.#dir, ref.sizeBytes, `blob ${ref.root.slice(0, 12)}`);
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
    return this.#keep(ref, this.#createFile(row));
  }

  async #createFile(row: BlobRow): Promise<BlobFile> {
    const path = this.#pathOf(row.ref.root);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o600);
    await handle.truncate(row.ref.sizeBytes); // sparse: chunks land where they belong
    await syncFolder(dirname(path));
    this.#table.put(row);
    const map = row.map === undefined ? undefined : ChunkMap.verify(row.ref, row.map);
    const blob = new BlobFile(
      { ref: row.ref, state: "partial", map, durable: undefined, path, handle, stamp: undefined },
      this.#table,
      this.#deps.clock,
    );
    if (row.ref.sizeBytes === 0) await blob.complete();
    return blob;
  }

  async #openRow(row: BlobRow): Promise<BlobFile> {
    const { ref, state } = row;
    const path = row.path ?? this.#pathOf(ref.root);
    const handle = await open(path, state === "partial" ? "r+" : "r");
    const stamp = await stampOf(handle);
    if (stamp.sizeBytes !== ref.sizeBytes) {
      await handle.close();
      if (state === "linked") throw sourceChanged(path);
      await this.#discard(ref.root);
      throw Object.assign(new Error("truncated"), { code: "ENOENT" });
    }
    const map = row.map === undefined ? undefined : ChunkMap.verify(ref, row.map);
    const durable = row.durable && Bitset.fromBytes(new Geometry(ref).chunkCount, row.durable);
    return new BlobFile({ ref, state, map, durable, path, handle, stamp }, this.#table, this.#deps.clock);
  }

  #keep(ref: BlobRef, opening: Promise<BlobFile>): Promise<BlobFile> {
    this.#open.set(ref.root, opening);
    opening.catch(() => this.#open.delete(ref.root));
    return opening;
  }

  /** Takes in the content of a regular file, by reference, shared blocks or copy. Throws Fault `artifacts.not-found`, `.not-a-file`, `.source-changed`, `.disk-full`. */
  async import(path: string, options: ImportOptions): Promise<BlobRef> {
    const { inPlace, signal, onBytes = () => undefined } = options;
    if (inPlace) return this.#link(path, await hashFile(path, signal, onBytes));
    await mkdir(join(this.#dir, "importing"), { recursive: true, mode: 0o700 });
    const aside = join(this.#dir, "importing", String(this.#imports++));
    return this.#adopt(aside, await copyAndHash(path, aside, this.#dir, signal, onBytes));
  }

  /** A file to fill with content that is then taken in by `importAside`. */
  async aside(): Promise<string> {
    await mkdir(join(this.#dir, "importing"), { recursive: true, mode: 0o700 });
    return join(this.#dir, "importing", String(this.#imports++));
  }

  /** Takes in a file made at `aside()`. */
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
    const path = this.#pathOf(ref.root);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await rename(aside, path);
    await syncFolder(dirname(path));
    this.#table.put({
      ref,
      state: "whole",
      map: map.bytes,
      durable: undefined,
      path: undefined,
      stamp: undefined,
      addedMs: this.#deps.clock.wallMs(),
    });
    (await this.get(ref.root))?.trustAll();
    return ref;
  }

  async #link(path: string, { ref, map, stamp }: Hashed): Promise<BlobRef> {
    if (await this.#hasWhole(ref.root)) return ref;
    await this.#discard(ref.root);
    this.#table.put({
      ref,
      state: "linked",
      map: map.bytes,
      durable: undefined,
      path,
      stamp,
      addedMs: this.#deps.clock.wallMs(),
    });
    const blob = await this.get(ref.root);
    await using handle = await open(path, "r");
    if (sameStamp(stamp, await stampOf(handle))) blob?.trustAll();
    return ref;
  }

  async #hasWhole(root: string): Promise<boolean> {
    const blob = await this.get(root).catch(() => undefined);
    return blob !== undefined && blob.state === "whole" && blob.have.full;
  }

  /** Removes a blob and its bytes; those of a file outside the store stay. */
  async remove(root: string): Promise<void> {
    await this.#discard(root);
    await syncFolder(join(this.#dir, "blobs"));
  }

  async #discard(root: string): Promise<void> {
    await this.close(root);
    this.#table.delete(root);
    await rm(this.#pathOf(root), { force: true });
  }

  /** Closes one blob's file; `get` opens it again. */
  async close(root: string): Promise<void> {
    const opening = this.#open.get(root);
    this.#open.delete(root);
    const blob = await opening?.catch(() => undefined);
    await blob?.close();
  }

  /** Bytes of content in the store's own files and free on its disk. */
  async usage(): Promise<{ usedBytes: number; blobs: number }> {
    let usedBytes = 0;
    for (const name of await readdir(join(this.#dir, "blobs"), { recursive: true })) {
      const found = await stat(join(this.#dir, "blobs", name)).catch(() => undefined);
      if (found?.isFile()) usedBytes += found.blocks * 512;
    }
    return { usedBytes, blobs: this.#table.list().length };
  }

  /** Where the store is. */
  get dir(): string {
    return this.#dir;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const root of this.#open.keys()) {
      await this.close(root).catch(async (error: unknown) => {
        const cause = await diskFault(error, this.#dir, 0, root);
        this.#deps.log.warn("a blob could not be closed in good order", { root, reason: String(cause) });
      });
    }
    this.#table.close();
  }

  #pathOf(root: string): string {
    return join(this.#dir, "blobs", root.slice(0, 2), root);
  }
}

async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, "r");
  await folder.sync();
}

function sizeMismatch(wanted: BlobRef, known: BlobRef): Fault {
  return new Fault("artifacts.bad-ref", `blob ${wanted.root} has ${known.sizeBytes} bytes, not ${wanted.sizeBytes}`, {
    exit: "invalid",
  });
}

function sourceChanged(path: string): Fault {
  return new Fault("artifacts.source-changed", `${path} was changed after it was published in place`, {
    exit: "conflict",
    fix: "Publish it again, or put the old content back.",
  });
}
