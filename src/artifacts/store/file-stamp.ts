import type { FileHandle } from "node:fs/promises";

/** What tells whether a file was touched since it was hashed. */
export type FileStamp = { inode: string; mtimeNs: string; sizeBytes: number };

/** Inode, modification time and size of an open file. */
export async function stampOf(handle: FileHandle): Promise<FileStamp> {
  const { dev, ino, mtimeNs, size } = await handle.stat({ bigint: true });
  return { inode: `${dev}:${ino}`, mtimeNs: String(mtimeNs), sizeBytes: Number(size) };
}

export function sameStamp(a: FileStamp, b: FileStamp): boolean {
  return a.inode === b.inode && a.mtimeNs === b.mtimeNs && a.sizeBytes === b.sizeBytes;
}
