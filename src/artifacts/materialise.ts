import { constants } from "node:fs";
import { copyFile, link, lstat, mkdir, open, rename, rm, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Fault } from "#core";
import { type ArtifactContent, planContent } from "./artifact-content.ts";
import { listingOf } from "./bring.ts";
import { type Listing, parentsOf } from "./listing.ts";
import type { BlobFile } from "./store/blob-file.ts";
import { diskFault, errnoOf } from "./store/disk-fault.ts";
import type { Store } from "./store/store.ts";

export type MaterialiseOptions = {
  /** Replace what is at the path. */
  force: boolean;
  signal: AbortSignal;
};

/**
 * Writes an artifact that is in the store to a path: aside first, made durable, then renamed, so that the path never holds
 * half of it. Blocks are shared where the file system can; a hard link never is made, because a change to it would change the store.
 *
 * Throws Fault `artifacts.exists` (exit `conflict`) unless `force`, `artifacts.no-folder`, `artifacts.not-here`, `artifacts.disk-full`,
 * and what reading a blob throws.
 */
export async function materialise(
  store: Store,
  spec: ArtifactContent,
  output: string,
  { force, signal }: MaterialiseOptions,
): Promise<void> {
  if (!force && (await exists(output))) throw alreadyThere(output);
  const aside = join(dirname(output), `.${basename(output)}.portolan-part`);
  await rm(aside, { recursive: true, force: true });
  try {
    const plan = planContent(spec);
    if (plan.type === "file") await writeWhole(await blobAt(store, plan.blob.root), aside, plan.mode, signal);
    else await writeTree(store, await listingOf(store, plan), aside, signal);
    await putInPlace(aside, output, force);
  } catch (error) {
    await rm(aside, { recursive: true, force: true });
    if (errnoOf(error) === "ENOENT") throw noFolder(output, error);
    throw await diskFault(error, dirname(output), spec.sizeBytes, `writing ${output}`);
  }
}

/** A blob that the store has whole. Throws Fault `artifacts.not-here` (exit `missing`). */
export async function blobAt(store: Store, root: string): Promise<BlobFile> {
  const blob = await store.get(root);
  if (blob !== undefined && blob.state !== "partial") return blob;
  throw new Fault("artifacts.not-here", `blob ${root.slice(0, 12)} is not in the store`, {
    exit: "missing",
    fix: "Fetch the artifact first.",
  });
}

/** A file that is a whole blob: the system copies, or shares, its blocks. */
async function writeWhole(blob: BlobFile, target: string, mode: number, signal: AbortSignal): Promise<void> {
  await blob.checkAll(signal);
  await copyFile(blob.path, target, constants.COPYFILE_FICLONE);
  await using file = await open(target, "r+");
  await file.chmod(mode);
  await file.sync();
}

async function writeTree(store: Store, listing: Listing, target: string, signal: AbortSignal): Promise<void> {
  await mkdir(target);
  const made = new Set<string>();
  const pieces = new PieceReader(store);
  for (const entry of listing.entries) {
    signal.throwIfAborted();
    const folders = "empty" in entry ? [...parentsOf(entry.path), entry.path] : parentsOf(entry.path);
    for (const folder of folders) {
      if (!made.has(folder)) await mkdir(join(target, folder));
      made.add(folder);
    }
    const path = join(target, entry.path);
    if ("link" in entry) await symlink(entry.link, path);
    else if ("blob" in entry) await writeEntry(pieces, entry, listing.blobs[entry.blob]?.root ?? "", path, signal);
  }
}

async function writeEntry(
  pieces: PieceReader,
  { offset, sizeBytes, mode }: Extract<Listing["entries"][number], { blob: number }>,
  root: string,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  const blob = await pieces.blob(root);
  if (offset === 0 && sizeBytes === blob.ref.sizeBytes) return writeWhole(blob, target, mode, signal);
  // A small file is not synced alone: ten thousand of them would take a minute, and the store still has them after a crash.
  await using file = await open(target, "wx");
  for await (const piece of pieces.read(blob, offset, sizeBytes)) await file.writeFile(piece);
  await file.chmod(mode);
}

/** Reads pieces of blobs in rising order; what two small files share is read once. */
class PieceReader {
  readonly #store: Store;
  #blob: BlobFile | undefined;
  #chunk = -1;
  #bytes: Uint8Array = new Uint8Array();

  constructor(store: Store) {
    this.#store = store;
  }

  async blob(root: string): Promise<BlobFile> {
    if (this.#blob?.ref.root === root) return this.#blob;
    this.#chunk = -1;
    this.#blob = await blobAt(this.#store, root);
    return this.#blob;
  }

  async *read(blob: BlobFile, offset: number, sizeBytes: number): AsyncGenerator<Uint8Array> {
    const { chunkBytes } = blob.geometry;
    for (let at = offset; at < offset + sizeBytes; ) {
      const chunk = Math.floor(at / chunkBytes);
      if (chunk !== this.#chunk) this.#bytes = await blob.read(chunk);
      this.#chunk = chunk;
      const start = chunk * chunkBytes;
      const piece = this.#bytes.subarray(at - start, offset + sizeBytes - start);
      yield piece;
      at += piece.length;
    }
  }
}

async function putInPlace(aside: string, output: string, force: boolean): Promise<void> {
  if (force) {
    await rm(output, { recursive: true, force: true });
    await rename(aside, output);
  } else {
    await moveUnlessThere(aside, output);
  }
  await using folder = await open(dirname(output), "r");
  await folder.sync();
}

/** A rename would replace a file that came there meanwhile; making a link does not. */
async function moveUnlessThere(aside: string, output: string): Promise<void> {
  try {
    if ((await lstat(aside)).isDirectory()) {
      await mkdir(output); // renaming a directory onto an empty one replaces just that
      await rename(aside, output);
    } else {
      await link(aside, output);
      await rm(aside);
    }
  } catch (error) {
    if (errnoOf(error) === "EEXIST") throw alreadyThere(output);
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: unknown) => errnoOf(error) !== "ENOENT",
  );
}

function alreadyThere(output: string): Fault {
  return new Fault("artifacts.exists", `${output} exists`, {
    exit: "conflict",
    fix: "Choose another path, or replace it with --force.",
  });
}

function noFolder(output: string, cause: unknown): Fault {
  return new Fault("artifacts.no-folder", `${dirname(output)} is no folder to write to`, {
    exit: "missing",
    fix: "Make the folder first.",
    cause,
  });
}
