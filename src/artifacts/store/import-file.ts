import { constants, type Stats } from "node:fs";
import { copyFile, type FileHandle, open, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { Fault } from "#core";
import { type BlobRef, ChunkMap, chunkBytesFor, chunkHashes } from "../chunk-map.ts";
import { diskFault, errnoOf } from "./disk-fault.ts";
import { HashThreads } from "./hash-thread.ts";
import { type FileStamp, sameStamp, stampOf } from "./file-stamp.ts";

/** One read; large enough that the cost of a call, and of a message to another thread, does not count. */
const READ_BYTES = 2 * 1024 * 1024;
/** From here on a thread of its own for hashing is worth the 50 ms that it takes to start. */
const LARGE_FILE_BYTES = 128 * 1024 * 1024;

/** All stores of a process share its threads. */
const THREADS = new HashThreads();

/** A copy is handed to the disk after so many bytes, so that little is left to wait for at its end. */
const FLUSH_BYTES = 48 * 1024 * 1024;

export type Hashed = { ref: BlobRef; map: ChunkMap; stamp: FileStamp };

/** Opens a regular file to read. Throws Fault `artifacts.not-found`, `artifacts.unreadable` or `artifacts.not-a-file`. */
export async function openRegular(path: string): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK); // a pipe must not block before it is refused
  } catch (error) {
    throw openFault(path, error);
  }
  const stats = await handle.stat();
  if (stats.isFile()) return handle;
  await handle.close();
  throw notAFile(path, stats);
}

/** Size of a regular file. Throws as `openRegular` does. */
export async function regularBytes(path: string): Promise<number> {
  await using handle = await openRegular(path);
  return (await handle.stat()).size;
}

function openFault(path: string, error: unknown): unknown {
  const code = errnoOf(error);
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new Fault("artifacts.not-found", `${path} does not exist`, {
      exit: "missing",
      fix: "Check the path.",
      cause: error,
    });
  }
  if (code === "ENXIO" || code === "ENODEV") return notAFile(path);
  if (code === "EACCES" || code === "EPERM") {
    return new Fault("artifacts.unreadable", `${path} cannot be read`, {
      exit: "denied",
      fix: "Give the user of the daemon permission to read it.",
      cause: error,
    });
  }
  return error;
}

/** Fault `artifacts.not-a-file` (exit `invalid`): a socket, device or pipe where a file is wanted. */
export function notAFile(path: string, stats?: Pick<Stats, "isSocket" | "isFIFO" | "isDirectory">): Fault {
  const what = stats?.isDirectory()
    ? "a directory"
    : stats?.isFIFO()
      ? "a pipe"
      : stats === undefined || stats.isSocket()
        ? "a socket"
        : "a device";
  return new Fault("artifacts.not-a-file", `${path} is ${what}: only regular files and directories can be published`, {
    exit: "invalid",
    fix: "Leave it out.",
  });
}

/** Hashes a file where it is, in one pass. */
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

async function hashHandle(hashing: Hashing): Promise<Hashed> {
  const before = await stampOf(hashing.handle);
  const chunkBytes = chunkBytesFor(before.sizeBytes);
  const hashes: Uint8Array[] = [];
  if (before.sizeBytes < LARGE_FILE_BYTES) {
    const memory = new ArrayBuffer(2 * READ_BYTES);
    await readThrough(hashing, before.sizeBytes, memory, async (bytes) => {
      hashes.push(...chunkHashes(bytes, chunkBytes));
    });
  } else {
    await THREADS.use(2 * READ_BYTES, (thread) =>
      readThrough(hashing, before.sizeBytes, thread.memory, async (bytes) => {
        hashes.push(...(await thread.hash(bytes, chunkBytes)));
      }),
    );
  }
  if (!sameStamp(before, await stampOf(hashing.handle))) throw changedWhileRead(hashing.path);
  const { map, root } = ChunkMap.of(hashes);
  return { ref: { root, sizeBytes: before.sizeBytes, chunkBytes }, map, stamp: before };
}

/** Hands all bytes to `take`, in order, and reads ahead by half of the memory meanwhile, so that the disk works while the processor hashes. */
async function readThrough(
  { handle, copy, signal, onBytes }: Hashing,
  sizeBytes: number,
  memory: ArrayBufferLike,
  take: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const flush = copy === undefined ? undefined : new Flush(copy);
  const readAt = (at: number): Promise<Uint8Array> => {
    const half = new Uint8Array(memory, ((at / READ_BYTES) % 2) * READ_BYTES, READ_BYTES);
    return readFull(handle, half, at, sizeBytes);
  };
  let reading = readAt(0);
  for (let at = 0; at < sizeBytes; at += READ_BYTES) {
    signal.throwIfAborted();
    const bytes = await reading;
    reading = readAt(at + READ_BYTES);
    reading.catch(() => undefined); // met by the await of the next round
    await Promise.all([take(bytes), copy?.write(bytes, 0, bytes.length, at)]);
    flush?.wrote(bytes.length);
    onBytes(bytes.length);
  }
  await reading;
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

/** The next `READ_BYTES` of the file, fewer only at its end; empty beyond it. */
async function readFull(handle: FileHandle, buffer: Uint8Array, at: number, sizeBytes: number): Promise<Uint8Array> {
  const wanted = Math.max(0, Math.min(READ_BYTES, sizeBytes - at));
  let filled = 0;
  while (filled < wanted) {
    const { bytesRead } = await handle.read(buffer, filled, wanted - filled, at + filled);
    if (bytesRead === 0) break; // shorter than it was: the stamp tells
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

function changedWhileRead(path: string): Fault {
  return new Fault("artifacts.source-changed", `${path} changed while it was read`, {
    exit: "conflict",
    fix: "Publish it when nothing writes to it any more.",
  });
}
