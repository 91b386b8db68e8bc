import { statfs } from "node:fs/promises";
import { Fault } from "#core";

/** Turns "no space" and "read-only" of the file system and of SQLite into faults that say what to do; anything else is passed on. */
export async function diskFault(error: unknown, folder: string, neededBytes: number, what: string): Promise<unknown> {
  const code = errnoOf(error);
  if (code === "ENOSPC" || code === "EDQUOT") {
    const { bavail, bsize } = await statfs(folder);
    return diskFull(folder, neededBytes, bavail * bsize, what, error);
  }
  if (code === "EROFS" || code === "EACCES" || code === "EPERM") {
    return new Fault("artifacts.read-only", `cannot write ${what}: ${folder} cannot be written to`, {
      fix: "Mount it writable and give the daemon's user permission, or choose another data directory.",
      cause: error,
    });
  }
  return error;
}

/** The system's error code, as in `ENOENT`; SQLite's errors as the system's that mean the same. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ("errcode" in error && typeof error.errcode === "number") return SQLITE_ERRNO[error.errcode & 0xff];
  return "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** Primary result codes (sqlite.org/rescode.html): READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB. */
const SQLITE_ERRNO: Readonly<Record<number, string>> = {
  8: "EROFS",
  10: "EIO",
  11: "EBADMSG",
  13: "ENOSPC",
  14: "EACCES",
  26: "EBADMSG",
};

function diskFull(folder: string, neededBytes: number, freeBytes: number, what: string, cause?: unknown): Fault {
  return new Fault(
    "artifacts.disk-full",
    `${what} needs ${mib(neededBytes)} in ${folder}, and ${mib(freeBytes)} are free`,
    {
      fix: "Make room on the disk: `portolan prune --dry-run` shows what the store can spare. What has arrived is kept.",
      details: { neededBytes, freeBytes },
      cause,
    },
  );
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / 1024 ** 2)} MiB`;
}
