import { statfs } from "node:fs/promises";
import { Fault } from "#core";

/** Left free for everything else on the disk: the database, logs, the system. */
const RESERVE_BYTES = 64 * 1024 * 1024;

/** Throws Fault `artifacts.disk-full`, saying how much is needed and free, unless `neededBytes` fit where `folder` is. */
export async function requireSpace(folder: string, neededBytes: number, what: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const freeBytes = Math.max(0, bavail * bsize - RESERVE_BYTES);
  if (neededBytes > freeBytes) throw diskFull(folder, neededBytes, freeBytes, what);
}

/** Turns "no space" and "read-only" of the file system into faults that say what to do; anything else is passed on. */
export async function diskFault(error: unknown, folder: string, neededBytes: number, what: string): Promise<unknown> {
  const code = errnoOf(error);
  if (code === "ENOSPC" || code === "EDQUOT") {
    const { bavail, bsize } = await statfs(folder);
    return diskFull(folder, neededBytes, bavail * bsize, what, error);
  }
  if (code === "EROFS") {
    return new Fault("artifacts.read-only", `cannot write ${what}: ${folder} is on a read-only file system`, {
      fix: "Mount it writable, or choose another data directory.",
      cause: error,
    });
  }
  return error;
}

/** The system's error code, as in `ENOENT`. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

function diskFull(folder: string, neededBytes: number, freeBytes: number, what: string, cause?: unknown): Fault {
  return new Fault(
    "artifacts.disk-full",
    `${what} needs ${mib(neededBytes)} in ${folder}, and ${mib(freeBytes)} are free`,
    {
      fix: "Make room on the disk and try again: what has arrived is kept.",
      details: { neededBytes, freeBytes },
      cause,
    },
  );
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / 1024 ** 2)} MiB`;
}
