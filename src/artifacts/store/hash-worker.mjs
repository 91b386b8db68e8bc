// The other side of `HashThreads`. JavaScript, and with nothing of ours imported: a thread that loads TypeScript takes 27 MiB until Node
// has cached what it made of it, and this one takes 11.
import { hash } from "node:crypto";
import { readvSync, writevSync } from "node:fs";
import { parentPort } from "node:worker_threads";

const HASH_BYTES = 32;
const CELL_BYTES = 32 * 1024;
/** Cells that are read by one call. */
const CELLS_AT_ONCE = 32;
/** Each cell has the zero byte before it that begins a leaf (RFC 6962), so that it is hashed by one call, too. */
const LEAF_BYTES = 1 + CELL_BYTES;
const memory = Buffer.alloc(CELLS_AT_ONCE * LEAF_BYTES);

parentPort?.on("message", (job) => parentPort?.postMessage(answer(job), []));

function answer(job) {
  try {
    return { hashes: hashRange(job) };
  } catch ({ message, code }) {
    return { failed: { message, code } };
  }
}

/** It waits for the disk, because that is all it has to do: so no bytes pass between threads. */
function hashRange({ source, copy, offset, bytes }) {
  const hashes = Buffer.alloc(Math.ceil(bytes / CELL_BYTES) * HASH_BYTES);
  for (let at = 0; at < bytes; at += CELLS_AT_ONCE * CELL_BYTES) {
    const leaves = leavesOf(Math.min(bytes - at, CELLS_AT_ONCE * CELL_BYTES));
    const cells = leaves.map((leaf) => leaf.subarray(1));
    if (!moveAll(readvSync, source, cells, offset + at)) break; // shorter than it was: its stamp will tell
    if (copy !== undefined) moveAll(writevSync, copy, cells, offset + at);
    for (const [cell, leaf] of leaves.entries()) {
      hashes.set(hash("sha256", leaf, "buffer"), (at / CELL_BYTES + cell) * HASH_BYTES);
    }
  }
  return hashes;
}

/** Places for so many bytes in cells, the last one shorter. */
function leavesOf(bytes) {
  return Array.from({ length: Math.ceil(bytes / CELL_BYTES) }, (_, cell) => {
    const cellBytes = Math.min(CELL_BYTES, bytes - cell * CELL_BYTES);
    return memory.subarray(cell * LEAF_BYTES, cell * LEAF_BYTES + 1 + cellBytes);
  });
}

/** Reads into, or writes, all of the cells; false where the file ends. */
function moveAll(move, file, cells, offset) {
  let left = cells;
  for (let at = offset; left.length > 0; ) {
    let moved = move(file, left, at);
    if (moved === 0) return false;
    at += moved;
    left = left.flatMap((cell) => {
      const skipped = Math.min(moved, cell.length);
      moved -= skipped;
      return skipped === cell.length ? [] : [cell.subarray(skipped)];
    });
  }
  return true;
}
