import { constants, type Stats } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { Fault } from "#core";
import { errnoOf } from "./disk-fault.ts";

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
