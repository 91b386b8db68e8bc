import { constants } from "node:fs";
import { chmod, copyFile, link, lstat, mkdir, open, rename, rm, stat, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Fault } from "#core";
import { type ArtifactContent, planContent } from "./artifact-content.ts";
import { Bounded } from "./bounded.ts";
import { listingOf } from "./bring.ts";
import { type Listing, parentsOf } from "./listing.ts";
import type { BlobFile } from "./store/blob-file.ts";
import { diskFault, errnoOf } from "./store/disk-fault.ts";
import { syncFolder, writeAll } from "./store/file-io.ts";
import { requireSpace } from "./store/room.ts";
import type { Store } from "./store/store.ts";

/** Small files on their way to the disk at once: their syncs share a commit of the file system's journal. At most as many MiB. */
const FILES_AT_ONCE = 16;

export type MaterialiseOptions = {
  /** Replace what is at the path. */
  force: boolean;
  /** Share the bytes of whole blobs with the store; where blocks cannot be shared, by hard links, which are read-only. */
  link?: boolean;
  signal: AbortSignal;
};

/**
 * Writes an artifact that is in the store to a path: aside first, made durable with its folders, then renamed, so that the path never holds
 * half of it. Blocks are shared where the file system can. A hard link is made only when asked for: whoever changes such a file changes
 * the store's, which notices and drops it.
 *
 * Throws Fault `artifacts.exists` (exit `conflict`) unless `force`, `artifacts.no-folder`, `artifacts.not-here`, `artifacts.no-room` before
 * anything is written, `artifacts.cannot-link`, `artifacts.disk-full`, and what reading a blob throws.
 */
export async function materialise(
  store: Store,
  spec: ArtifactContent,
  output: string,
  { force, link: asLink = false, signal }: MaterialiseOptions,
): Promise<void> {
  if (!force && (await exists(output))) throw alreadyThere(output);
  const aside = join(dirname(output), `.${basename(output)}.portolan-part`);
  await rm(aside, { recursive: true, force: true });
  try {
    const plan = planContent(spec);
    const folder = dirname(output);
    const sharing = await sharingWith(store, folder, asLink);
    const listing = plan.type === "file" ? undefined : await listingOf(store, plan);
    await requireSpace(folder, bytesToWrite(spec, listing, sharing), `writing ${output}`);
    const writing = { sharing, signal };
    if (plan.type === "file") await writeWhole(await blobAt(store, plan.blob.root), aside, plan.mode, writing);
    else if (listing !== undefined) await writeTree(store, listing, aside, writing);
    await putInPlace(aside, output, force);
  } catch (error) {
    await rm(aside, { recursive: true, force: true });
    if (errnoOf(error) === "ENOENT") throw noFolder(output, error);
    throw await diskFault(error, dirname(output), spec.sizeBytes, `writing ${output}`);
  }
}

/** How the bytes of a whole blob get to a path. */
type Sharing = "blocks" | "links" | "none";
type Writing = { sharing: Sharing; signal: AbortSignal };

async function sharingWith(store: Store, folder: string, asLink: boolean): Promise<Sharing> {
  if (await store.asides.sharesBlocksWith(folder)) return "blocks";
  if (!asLink) return "none";
  if ((await stat(store.dir)).dev === (await stat(folder)).dev) return "links";
  throw cannotLink(folder);
}

/** Bytes that are new on the disk. */
function bytesToWrite(spec: ArtifactContent, listing: Listing | undefined, sharing: Sharing): number {
  if (sharing === "none") return spec.sizeBytes;
  return (listing?.entries ?? []).reduce((sum, entry) => {
    const isWhole = "blob" in entry && entry.sizeBytes === listing?.blobs[entry.blob]?.sizeBytes;
    return "blob" in entry && !isWhole ? sum + entry.sizeBytes : sum;
  }, 0);
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

/** A file that is a whole blob: a hard link, or the system copies, or shares, its blocks. */
async function writeWhole(blob: BlobFile, target: string, mode: number, { sharing, signal }: Writing): Promise<void> {
  await blob.checkAll(signal);
  if (sharing === "links" && blob.state === "whole" && (await linkTo(blob.path, target, mode & READ_ONLY))) return;
  await copyFile(blob.path, target, constants.COPYFILE_FICLONE);
  await using file = await open(target, "r+");
  await file.chmod(mode);
  await file.sync();
}

/** All permissions but to write. */
const READ_ONLY = 0o555;

/** False when the file has another name already, with other permissions: they are the file's, not the name's. */
async function linkTo(path: string, target: string, mode: number): Promise<boolean> {
  const found = await stat(path);
  if (found.nlink > 1 && (found.mode & 0o777) !== mode) return false;
  await chmod(path, mode);
  await link(path, target);
  return true;
}

async function writeTree(store: Store, listing: Listing, target: string, writing: Writing): Promise<void> {
  await mkdir(target);
  const made = new Set<string>();
  const pieces = new PieceReader(store);
  const small = new Bounded(FILES_AT_ONCE);
  for (const entry of listing.entries) {
    writing.signal.throwIfAborted();
    const folders = "empty" in entry ? [...parentsOf(entry.path), entry.path] : parentsOf(entry.path);
    for (const folder of folders) {
      if (!made.has(folder)) await mkdir(join(target, folder));
      made.add(folder);
    }
    const path = join(target, entry.path);
    if ("link" in entry) await symlink(entry.link, path);
    if (!("blob" in entry)) continue;
    const blob = await pieces.blob(listing.blobs[entry.blob]?.root ?? "");
    const { offset, sizeBytes, mode } = entry;
    if (offset === 0 && sizeBytes === blob.ref.sizeBytes) await writeWhole(blob, path, mode, writing);
    else {
      const content = await pieces.read(blob, offset, sizeBytes);
      await small.run(() => writeSmall(path, content, mode));
    }
  }
  await small.settled();
  for (const folder of ["", ...made]) await syncFolder(join(target, folder));
}

async function writeSmall(path: string, content: readonly Uint8Array[], mode: number): Promise<void> {
  await using file = await open(path, "wx");
  if (content.length > 0) await writeAll(file, content, 0);
  await file.chmod(mode);
  await file.sync();
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
    const blob = await blobAt(this.#store, root);
    await blob.look();
    this.#blob = blob;
    return blob;
  }

  /** The bytes as pieces of chunks. */
  async read(blob: BlobFile, offset: number, sizeBytes: number): Promise<Uint8Array[]> {
    const { chunkBytes } = blob.geometry;
    const found: Uint8Array[] = [];
    for (let at = offset; at < offset + sizeBytes; ) {
      const chunk = Math.floor(at / chunkBytes);
      if (chunk !== this.#chunk) this.#bytes = await blob.read(chunk);
      this.#chunk = chunk;
      const start = chunk * chunkBytes;
      const piece = this.#bytes.subarray(at - start, offset + sizeBytes - start);
      found.push(piece);
      at += piece.length;
    }
    return found;
  }
}

async function putInPlace(aside: string, output: string, force: boolean): Promise<void> {
  if (force) {
    await rm(output, { recursive: true, force: true });
    await rename(aside, output);
  } else {
    await moveUnlessThere(aside, output);
  }
  await syncFolder(dirname(output));
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

function cannotLink(folder: string): Fault {
  return new Fault(
    "artifacts.cannot-link",
    `${folder} is not on the file system of the store, so nothing can be shared`,
    {
      exit: "conflict",
      fix: "Leave --link out to copy, or write to the store's file system.",
    },
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
