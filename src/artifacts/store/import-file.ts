import { constants } from "node:fs";
import { copyFile, type FileHandle, open, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { Fault, HASH_BYTES } from "#core";
import { Bounded } from "../bounded.ts";
import { type BlobRef, ChunkMap, chunkBytesFor, chunkHash, chunkHashesOf, MAX_CHUNKS } from "../chunk-map.ts";
import { diskFault } from "./disk-fault.ts";
import { writeAll } from "./file-io.ts";
import { type FileStamp, sameStamp, stampOf } from "./file-stamp.ts";
import { HashThreads } from "./hash-thread.ts";
import { openRegular } from "./regular-file.ts";

/** What a thread hashes at a time: whole chunks, and so much that the cost of a message, or of a disk's seek, does not count. */
const RANGE_BYTES = 8 * 1024 * 1024;
/** Ranges of one file that are read at once: one for each thread. */
const RANGES_AT_ONCE = 2;
/** From here on threads for hashing are worth the 50 ms that they take to start. */
const LARGE_FILE_BYTES = 32 * 1024 * 1024;

/** All stores of a process share its threads. */
const THREADS = new HashThreads();

/** A copy is handed to the disk after so many bytes, so that little is left to wait for at its end. */
const FLUSH_BYTES = 48 * 1024 * 1024;

export type Hashed = { ref: BlobRef; map: ChunkMap; stamp: FileStamp };

/** Hashes a file where it is, in one pass. Throws Fault `artifacts.source-changed`, `artifacts.too-large`, and what opening it throws. */
export async function hashFile(path: string, signal: AbortSignal, onBytes: (bytes: number) => void): Promise<Hashed> {
  const handle = await openRegular(path);
  try {
    return await hashHandle({ handle, path, signal, onBytes });
  } finally {
    await handle.close();
  }
}

/** Makes `target` a file that shares the blocks of `source`; false where the file system cannot, or across two. */
export async function shareBlocks(source: string, target: string): Promise<boolean> {
  try {
    await copyFile(source, target, constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    await rm(target, { force: true });
    return false;
  }
}

/** Copies a file to `target` and hashes what it puts there, in one pass; it is durable then. */
export async function copyAndHash(
  source: string,
  target: string,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<Hashed> {
  await using handle = await openRegular(source);
  try {
    await using copy = await open(target, "wx", 0o600);
    const hashed = await hashHandle({ handle, path: source, copy, signal, onBytes });
    await copy.datasync();
    return { ...hashed, stamp: await stampOf(copy) };
  } catch (error) {
    await rm(target, { force: true });
    throw await diskFault(error, dirname(target), (await handle.stat()).size, `a copy of ${source}`);
  }
}

type Hashing = {
  handle: FileHandle;
  path: string;
  /** Where to write what is read. */
  copy?: FileHandle;
  signal: AbortSignal;
  onBytes: (bytes: number) => void;
};

/** A file that is being hashed, and the hashes of its chunks so far. */
type HashRun = Hashing & { sizeBytes: number; chunkBytes: number; hashes: Uint8Array };

async function hashHandle(hashing: Hashing): Promise<Hashed> {
  const before = await stampOf(hashing.handle);
  const { sizeBytes } = before;
  const chunkBytes = chunkBytesFor(sizeBytes);
  const chunkCount = Math.ceil(sizeBytes / chunkBytes);
  if (chunkCount > MAX_CHUNKS) throw tooLarge(hashing.path, sizeBytes);
  const hashes = Buffer.alloc(chunkCount * HASH_BYTES);
  const run: HashRun = { ...hashing, sizeBytes, chunkBytes, hashes };
  const threaded = sizeBytes >= (THREADS.running ? RANGE_BYTES : LARGE_FILE_BYTES);
  await (threaded ? THREADS.use(() => hashOnThreads(run)) : hashHere(run));
  if (!sameStamp(before, await stampOf(hashing.handle))) throw changedWhileRead(hashing.path);
  const { map, root } = ChunkMap.of(hashes);
  return { ref: { root, sizeBytes, chunkBytes }, map, stamp: before };
}

/** Chunk by chunk, on this thread. */
async function hashHere({ handle, copy, signal, onBytes, sizeBytes, chunkBytes, hashes }: HashRun): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(chunkBytes, sizeBytes));
  for (let at = 0; at < sizeBytes; at += chunkBytes) {
    signal.throwIfAborted();
    const bytes = await readFull(handle, buffer.subarray(0, sizeBytes - at), at);
    if (copy !== undefined) await writeAll(copy, [bytes], at);
    hashes.set(chunkHash(bytes), (at / chunkBytes) * HASH_BYTES);
    onBytes(bytes.length);
  }
}

/** Ranges of it at the same time, so that one large file is read as fast as several. */
async function hashOnThreads({ handle, copy, signal, onBytes, sizeBytes, chunkBytes, hashes }: HashRun): Promise<void> {
  const flush = copy === undefined ? undefined : new Flush(copy);
  const ranges = new Bounded(RANGES_AT_ONCE);
  const hash = async (offset: number): Promise<void> => {
    const bytes = Math.min(RANGE_BYTES, sizeBytes - offset);
    const cells = await THREADS.hash({ source: handle.fd, copy: copy?.fd, offset, bytes });
    hashes.set(chunkHashesOf(cells, chunkBytes), (offset / chunkBytes) * HASH_BYTES);
    flush?.wrote(bytes);
    onBytes(bytes);
  };
  try {
    for (let offset = 0; offset < sizeBytes; offset += RANGE_BYTES) {
      signal.throwIfAborted();
      await ranges.run(() => hash(offset));
    }
  } finally {
    await ranges.settled(); // the files must stay open until then
  }
  await flush?.settled();
}

/** Hands what is written to the disk bit by bit, so that little is left to wait for at the end. */
class Flush {
  readonly #file: FileHandle;
  #waitingBytes = 0;
  #flushing: Promise<void> | undefined;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  wrote(bytes: number): void {
    this.#waitingBytes += bytes;
    if (this.#flushing !== undefined || this.#waitingBytes < FLUSH_BYTES) return;
    this.#waitingBytes = 0;
    this.#flushing = this.#file.datasync().finally(() => {
      this.#flushing = undefined;
    });
    this.#flushing.catch(() => undefined); // the last sync, which the caller waits for, meets it again
  }

  async settled(): Promise<void> {
    await this.#flushing;
  }
}

/** Fills the buffer from the file; what it gives back is shorter where the file ends, which its stamp will tell. */
async function readFull(handle: FileHandle, buffer: Uint8Array, at: number): Promise<Uint8Array> {
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, at + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

function tooLarge(path: string, sizeBytes: number): Fault {
  return new Fault("artifacts.too-large", `${path} has ${sizeBytes} bytes, and a file may have 1 TiB`, {
    exit: "invalid",
    fix: "Split it, and publish the parts as a directory.",
  });
}

function changedWhileRead(path: string): Fault {
  return new Fault("artifacts.source-changed", `${path} changed while it was read`, {
    exit: "conflict",
    fix: "Publish it when nothing writes to it any more.",
  });
}
