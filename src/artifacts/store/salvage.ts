import { readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage, type Log } from "#core";
import { BlobTable } from "./blob-table.ts";
import { errnoOf } from "./disk-fault.ts";
import { hashFile } from "./import-file.ts";

const BLOB_NAME = /^[0-9a-f]{64}$/u;

/** Where the file of a blob is, below `blobs/`. */
export function blobPath(dir: string, root: string): string {
  return join(dir, "blobs", root.slice(0, 2), root);
}

/** Roots that have a file in the store, whatever is in it. */
export async function filesIn(dir: string): Promise<Set<string>> {
  const found = new Set<string>();
  for (const name of await readdir(join(dir, "blobs"), { recursive: true })) {
    const root = name.slice(name.lastIndexOf("/") + 1);
    if (BLOB_NAME.test(root) && name === `${root.slice(0, 2)}/${root}`) found.add(root);
  }
  return found;
}

/**
 * Opens the store's database. A damaged one is put aside as `store.db.damaged`, and what the files themselves prove to be whole is taken
 * up anew; the rest is checked chunk by chunk when it is asked for. Throws Fault `artifacts.newer-store`.
 */
export async function openTable(dir: string, log: Log, nowMs: number): Promise<BlobTable> {
  const path = join(dir, "store.db");
  try {
    return new BlobTable(path);
  } catch (error) {
    if (errnoOf(error) !== "EBADMSG") throw error;
    log.warn("the store's database is damaged; it is made anew from the files", { path, reason: errorMessage(error) });
  }
  await rename(path, `${path}.damaged`);
  for (const side of ["-wal", "-shm"]) await rm(path + side, { force: true });
  const table = new BlobTable(path);
  await salvage(table, dir, log, nowMs);
  return table;
}

async function salvage(table: BlobTable, dir: string, log: Log, nowMs: number): Promise<void> {
  const never = new AbortController().signal;
  let whole = 0;
  for (const root of await filesIn(dir)) {
    const { ref, map } = await hashFile(blobPath(dir, root), never, () => undefined);
    if (ref.root !== root) continue; // a part of a blob: `Store.create` goes on with it
    table.put({
      ref,
      map: map.bytes,
      state: "whole",
      durable: undefined,
      path: undefined,
      stamp: undefined,
      addedMs: nowMs,
    });
    whole += 1;
  }
  log.warn("blobs were found again", { whole });
}

/** Forgets blobs whose files are gone, and those published in place whose files have another size. */
export async function dropLost(table: BlobTable, dir: string, log: Log): Promise<void> {
  const drop = (root: string, path: string): void => {
    log.warn("the file of a blob is gone or was changed", { root, path });
    table.delete(root);
  };
  const files = await filesIn(dir);
  for (const { ref, state } of table.list()) {
    if (state !== "linked" && !files.has(ref.root)) drop(ref.root, blobPath(dir, ref.root));
  }
  for (const { root, sizeBytes, path } of table.linked()) {
    const size = await stat(path).then(
      (found) => found.size,
      () => undefined,
    );
    if (size !== sizeBytes) drop(root, path);
  }
}
