import { readSync, writeSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { HASH_BYTES } from "#core";
import { chunkHash } from "../chunk-map.ts";
import type { HashAnswer, HashJob } from "./hash-thread.ts";

/**
 * The other side of `HashThreads`. It reads by itself and waits while it does, because that is all it has to do: no bytes pass between
 * threads, and one chunk is all the memory that it needs.
 */
let memory: Uint8Array = new Uint8Array();

parentPort?.on("message", (job: HashJob) => parentPort?.postMessage(answer(job), []));

function answer(job: HashJob): HashAnswer {
  try {
    return { hashes: hashRange(job) };
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    return { failed: { message, ...(code === undefined ? {} : { code }) } };
  }
}

function hashRange({ source, copy, offset, bytes, chunkBytes }: HashJob): Uint8Array {
  if (memory.length < chunkBytes) memory = Buffer.allocUnsafeSlow(chunkBytes);
  const hashes = Buffer.alloc(Math.ceil(bytes / chunkBytes) * HASH_BYTES);
  for (let at = 0; at < bytes; at += chunkBytes) {
    const chunk = fill(source, memory.subarray(0, Math.min(chunkBytes, bytes - at)), offset + at);
    hashes.set(chunkHash(chunk), (at / chunkBytes) * HASH_BYTES);
    if (copy !== undefined) writeFully(copy, chunk, offset + at);
  }
  return hashes;
}

/** The part of `buffer` that could be filled: all of it, unless the file is shorter than it was, which its stamp will tell. */
function fill(file: number, buffer: Uint8Array, offset: number): Uint8Array {
  let filled = 0;
  while (filled < buffer.length) {
    const bytesRead = readSync(file, buffer, filled, buffer.length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

function writeFully(file: number, bytes: Uint8Array, offset: number): void {
  for (let written = 0; written < bytes.length; ) {
    written += writeSync(file, bytes, written, bytes.length - written, offset + written);
  }
}
