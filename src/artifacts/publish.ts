import type { Dirent } from "node:fs";
import { lstat, open, readdir, readlink, realpath, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { Fault } from "#core";
import { type ArtifactContent, directoryContent, fileContent } from "./artifact-content.ts";
import { Bounded } from "./bounded.ts";
import type { BlobRef } from "./chunk-map.ts";
import { type Entry, encodeListing, isInnerLink, type Listing, MAX_ENTRIES } from "./listing.ts";
import type { Progress } from "./participation.ts";
import { diskFault, errnoOf } from "./store/disk-fault.ts";
import { notAFile, openRegular } from "./store/regular-file.ts";
import type { Store } from "./store/store.ts";

/** Files below this size share one blob, so that ten thousand of them cost no more than one. */
const PACK_BELOW_BYTES = 1024 * 1024;
/** Files taken in at once: while one is made durable the next is read and hashed. */
const FILES_AT_ONCE = 2;
const DEFAULT_MEDIA_TYPE = "application/octet-stream";

export type PublishOptions = {
  /** Leave the bytes of large files where they are and serve them from there; a changed file is then refused, never served. */
  inPlace: boolean;
  /** Default `application/octet-stream`. */
  mediaType?: string;
  signal: AbortSignal;
  /** `bytes` of `sizeBytes` are read. */
  onProgress?: (progress: Progress) => void;
};

type Found = { path: string; full: string; mode: number; sizeBytes: number };
type Tree = { files: Found[]; others: Entry[] };

/**
 * Reads a file or a directory into the store, or into its index only, and returns the spec of its Artifact document.
 *
 * Throws Fault `artifacts.not-found`, `artifacts.unreadable`, `artifacts.not-a-file` (sockets, devices, pipes), `artifacts.link-outside`,
 * `artifacts.bad-name`, `artifacts.too-many`, `artifacts.too-large`, `artifacts.source-changed`, `artifacts.no-room`, `artifacts.disk-full`.
 */
export async function publishPath(store: Store, path: string, options: PublishOptions): Promise<ArtifactContent> {
  const { inPlace, mediaType = DEFAULT_MEDIA_TYPE, signal } = options;
  const full = await resolvePath(path);
  const stats = await stat(full);
  if (!stats.isDirectory() && !stats.isFile()) throw notAFile(path, stats);
  const tree = stats.isDirectory() ? await readTree(full) : undefined;
  const files = tree?.files ?? [{ path: basename(full), full, mode: stats.mode & 0o777, sizeBytes: stats.size }];
  const onBytes = countBytes(
    files.reduce((sum, file) => sum + file.sizeBytes, 0),
    options.onProgress,
  );
  if (tree === undefined) {
    const blob = await store.import(full, { inPlace, signal, onBytes });
    return fileContent(blob, basename(full), stats.mode & 0o777, mediaType);
  }
  const listing = await takeIn(store, tree, options, onBytes);
  const { content, inline } = directoryContent(listing, mediaType);
  if (!inline) await storeListing(store, listing, signal);
  return content;
}

async function resolvePath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    throw pathFault(path, error);
  }
}

function countBytes(sizeBytes: number, onProgress?: (progress: Progress) => void): (bytes: number) => void {
  const progress: Progress = { bytes: 0, sizeBytes, fromSite: 0, fromWan: 0, sources: new Map() };
  return (bytes) => {
    progress.bytes += bytes;
    onProgress?.(progress);
  };
}

/** Everything below a directory, sorted by path, so that the same tree gives the same artifact. */
async function readTree(root: string): Promise<Tree> {
  const tree: Tree = { files: [], others: [] };
  const walk = async (folder: string, prefix: string): Promise<void> => {
    const found = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
      throw pathFault(folder, error);
    });
    if (found.length === 0 && prefix !== "") tree.others.push({ path: prefix, empty: true });
    for (const one of found) {
      const path = prefix === "" ? one.name : `${prefix}/${one.name}`;
      if (one.name.includes("\ufffd")) throw badName(path);
      if (one.isDirectory()) await walk(join(folder, one.name), path);
      else await readEntry(tree, one, join(folder, one.name), path);
      if (tree.files.length + tree.others.length > MAX_ENTRIES) throw tooMany(root);
    }
  };
  await walk(root, "");
  tree.files.sort(byPath);
  return tree;
}

async function readEntry(tree: Tree, found: Dirent, full: string, path: string): Promise<void> {
  const stats = await lstat(full);
  if (found.isSymbolicLink()) {
    const link = await readlink(full);
    if (!isInnerLink(path, link)) throw linkOutside(full, link);
    tree.others.push({ path, link });
  } else if (found.isFile()) {
    tree.files.push({ path, full, mode: stats.mode & 0o777, sizeBytes: stats.size });
  } else {
    throw notAFile(full, stats);
  }
}

/** Large files become blobs of their own; the small ones share one, in the order of their paths. */
async function takeIn(
  store: Store,
  { files, others }: Tree,
  { inPlace, signal }: PublishOptions,
  onBytes: (bytes: number) => void,
): Promise<Listing> {
  const blobs: Listing["blobs"] = [];
  const entries = [...others];
  const numbers = new Map<string, number>(); // equal files share a blob
  const add = ({ root, sizeBytes }: Listing["blobs"][number]): number => {
    const number = numbers.get(root) ?? blobs.push({ root, sizeBytes }) - 1;
    numbers.set(root, number);
    return number;
  };
  const small = files.filter(({ sizeBytes }) => sizeBytes < PACK_BELOW_BYTES);
  if (small.length > 0) {
    const blob = add(await pack(store, small, signal, onBytes));
    let offset = 0;
    for (const { path, mode, sizeBytes } of small) {
      entries.push({ path, mode, sizeBytes, blob, offset });
      offset += sizeBytes;
    }
  }
  const large = files.filter(({ sizeBytes }) => sizeBytes >= PACK_BELOW_BYTES);
  const refs = new Map<Found, BlobRef>();
  const importing = new Bounded(FILES_AT_ONCE);
  for (const file of large) {
    await importing.run(async () => void refs.set(file, await store.import(file.full, { inPlace, signal, onBytes })));
  }
  await importing.settled();
  for (const [{ path, mode }, ref] of large.map((file) => [file, refs.get(file)] as const)) {
    if (ref !== undefined) entries.push({ path, mode, sizeBytes: ref.sizeBytes, blob: add(ref), offset: 0 });
  }
  return { blobs, entries: entries.toSorted(byPath) };
}

async function pack(
  store: Store,
  files: readonly Found[],
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<{ root: string; sizeBytes: number }> {
  const neededBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  using aside = await store.asides.make(neededBytes, "the small files of the directory");
  try {
    await using target = await open(aside.path, "wx", 0o600);
    for (const { full, sizeBytes } of files) {
      signal.throwIfAborted();
      await using source = await openRegular(full);
      const bytes = await source.readFile();
      if (bytes.length !== sizeBytes) throw changed(full);
      await target.writeFile(bytes); // appends: a handle's position moves on
      onBytes(bytes.length);
    }
  } catch (error) {
    await rm(aside.path, { force: true });
    throw await diskFault(error, store.dir, neededBytes, "the small files of the directory");
  }
  return await store.importAside(aside.path, signal);
}

/** Puts a listing that is too large for its document into the store, as a blob. */
export async function storeListing(store: Store, listing: Listing, signal: AbortSignal): Promise<void> {
  const bytes = encodeListing(listing);
  using aside = await store.asides.make(bytes.length, "the listing of the directory");
  await using target = await open(aside.path, "wx", 0o600);
  await target.writeFile(bytes);
  await store.importAside(aside.path, signal);
}

function byPath(a: { path: string }, b: { path: string }): number {
  return a.path < b.path ? -1 : a.path > b.path ? 1 : 0;
}

function pathFault(path: string, error: unknown): unknown {
  const code = errnoOf(error);
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new Fault("artifacts.not-found", `${path} does not exist`, { exit: "missing", fix: "Check the path." });
  }
  if (code !== "EACCES" && code !== "EPERM") return error;
  return new Fault("artifacts.unreadable", `${path} cannot be read`, {
    exit: "denied",
    fix: "Give the user of the daemon permission to read it.",
  });
}

function badName(path: string): Fault {
  return new Fault("artifacts.bad-name", `the name of ${path} is not valid UTF-8`, {
    exit: "invalid",
    fix: "Rename it: other systems could not tell which file is meant.",
  });
}

function linkOutside(path: string, target: string): Fault {
  return new Fault("artifacts.link-outside", `the link ${path} leads outside of the directory, to ${target}`, {
    exit: "invalid",
    fix: "Put the file itself there, or leave the link out.",
  });
}

function tooMany(path: string): Fault {
  return new Fault("artifacts.too-many", `${path} has more than ${MAX_ENTRIES} entries`, {
    exit: "invalid",
    fix: "Pack it into an archive, or publish its parts.",
  });
}

function changed(path: string): Fault {
  return new Fault("artifacts.source-changed", `${path} changed while it was read`, {
    exit: "conflict",
    fix: "Publish it when nothing writes to it any more.",
  });
}
