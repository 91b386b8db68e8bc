import { createHash } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { mkdir, open, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SystemRandom } from "#core";

const PREFIX = "portolan-bench-";
const PIECE_BYTES = 4 * 1024 * 1024;

/** Makes this process's directory, removes it when the process exits, and removes those of processes that were killed. */
export async function makeWorkspace(): Promise<string> {
  for (const name of await readdir(tmpdir())) {
    if (name.startsWith(PREFIX) && !existsSync(`/proc/${name.slice(PREFIX.length)}`)) {
      await rm(join(tmpdir(), name), { recursive: true, force: true });
    }
  }
  const directory = join(tmpdir(), PREFIX + process.pid);
  await mkdir(directory, { mode: 0o700 });
  process.on("exit", () => rmSync(directory, { recursive: true, force: true, maxRetries: 3 }));
  return directory;
}

/** Writes a file of random bytes; returns its SHA-256 in hex. */
export async function writeRandomFile(path: string, sizeBytes: number): Promise<string> {
  const hash = createHash("sha256");
  const random = new SystemRandom();
  await using file = await open(path, "wx");
  for (let left = sizeBytes; left > 0; left -= PIECE_BYTES) {
    const bytes = random.bytes(Math.min(left, PIECE_BYTES));
    hash.update(bytes);
    await file.writeFile(bytes);
  }
  await file.sync(); // the write-back of this file is not the benchmark's
  return hash.digest("hex");
}

/**
 * Writes so many bytes and drops them, so that the next to write finds memory that this machine has: a virtual one with free page reporting gives it back
 * when a file is removed, and pays for it when it is touched again, 1 to 2 s of processor time for a GiB. Whose run comes first would pay.
 */
export async function touchPageCache(directory: string, sizeBytes: number): Promise<void> {
  const path = join(directory, "touched");
  const zeros = Buffer.alloc(PIECE_BYTES);
  try {
    await using file = await open(path, "wx");
    for (let left = sizeBytes; left > 0; left -= PIECE_BYTES) await file.writeFile(zeros);
  } finally {
    await rm(path, { force: true });
  }
}
