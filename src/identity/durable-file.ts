import { closeSync, fchmodSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/** Writes a new file that only its owner may read (0600). Throws what the file system says: `EEXIST` rather than replace one. */
export function createPrivateFile(path: string, bytes: Uint8Array): void {
  const file = openSync(path, "wx", 0o600);
  try {
    fchmodSync(file, 0o600); // whatever the umask is
    writeSync(file, bytes);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/**
 * Replaces a small file so that a crash at any moment leaves the old or the new content, never a mix: write aside, fsync,
 * rename, fsync the folder. `mode` holds whatever the umask is. Throws what the file system says.
 */
export function writeDurably(path: string, bytes: Uint8Array, mode: number): void {
  const aside = `${path}.new`;
  rmSync(aside, { force: true }); // left by a crash; opening with "wx" then also refuses a planted link
  const file = openSync(aside, "wx", mode);
  try {
    fchmodSync(file, mode);
    let written = 0;
    while (written < bytes.length) written += writeSync(file, bytes, written);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(aside, path);
  const folder = openSync(dirname(path), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
