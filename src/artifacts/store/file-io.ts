import { type FileHandle, open } from "node:fs/promises";

/** The smallest part of a file that a file system leaves out: a page. */
const PAGE_BYTES = 4_096;
const BLANK = Buffer.alloc(PAGE_BYTES);

/** Writes all pieces one after the other, from `offset` on. */
export async function writeAll(handle: FileHandle, pieces: readonly Uint8Array[], offset: number): Promise<void> {
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

/** Whether the page of a file at `offset` holds only zeros, as a hole does. */
export async function isBlank(handle: FileHandle, offset: number): Promise<boolean> {
  const page = Buffer.allocUnsafe(PAGE_BYTES);
  const { bytesRead } = await handle.read(page, 0, PAGE_BYTES, offset);
  return page.subarray(0, bytesRead).equals(BLANK.subarray(0, bytesRead));
}

/** Makes the entries of a folder durable: what was made, renamed or removed in it. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, "r");
  await folder.sync();
}
