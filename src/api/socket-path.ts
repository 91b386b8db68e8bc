import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Name of the control socket in the data directory. */
export const SOCKET_NAME = "daemon.sock";

/**
 * Longest socket path in bytes. `sun_path` has 108 on Linux and 104 on macOS (unix(7)), terminator included; a longer
 * path is cut without a word by some systems.
 */
export const MAX_SOCKET_PATH_BYTES = 100;

/** Beside a socket path that is too long: a file that says where the socket is instead. */
export function socketNotePath(socketPath: string): string {
  return `${socketPath}.path`;
}

/** Where the daemon of this data directory listens if it runs; `undefined` when it cannot be running. */
export function findSocket(dataDir: string): string | undefined {
  const path = join(dataDir, SOCKET_NAME);
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return path;
  try {
    return readFileSync(socketNotePath(path), "utf8").trim();
  } catch {
    return undefined;
  }
}
