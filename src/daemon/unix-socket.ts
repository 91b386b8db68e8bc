import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { MAX_SOCKET_PATH_BYTES, socketNotePath } from "#api";
import { Fault } from "#core";

/** A listening socket file. */
export type BoundSocket = { path: string; remove: () => void };

/**
 * Lets `server` listen on a unix socket that only this user can open (mode 0600). A socket file that nobody answers is
 * left over from a crash and is replaced. A path that is too long for the system is replaced by one in a directory of our
 * own under the runtime directory, and noted in `<path>.path`.
 *
 * Throws Fault `daemon.running` (exit `conflict`) when somebody answers there, `daemon.socket` when it cannot be made.
 */
export async function listenUnix(server: Server, wanted: string): Promise<BoundSocket> {
  const bound = placeSocket(wanted);
  try {
    if (await answers(bound.path)) {
      throw new Fault("daemon.running", `a daemon already runs on ${dirname(wanted)}`, {
        exit: "conflict",
        fix: "use that one, or give this one another --data",
      });
    }
    rmSync(bound.path, { force: true });
    await listen(server, bound.path);
    chmodSync(bound.path, 0o600);
  } catch (error) {
    if (bound.path !== wanted) bound.remove();
    throw error;
  }
  return bound;
}

function placeSocket(wanted: string): BoundSocket {
  if (Buffer.byteLength(wanted) <= MAX_SOCKET_PATH_BYTES) {
    return { path: wanted, remove: () => rmSync(wanted, { force: true }) };
  }
  const note = socketNotePath(wanted);
  // A fresh directory with mode 0700: nobody else can have put a socket at this path.
  const directory = mkdtempSync(join(process.env["XDG_RUNTIME_DIR"] ?? tmpdir(), "portolan-"));
  const path = join(directory, "daemon.sock");
  writeFileSync(note, `${path}\n`, { mode: 0o600 });
  return {
    path,
    remove: () => {
      rmSync(note, { force: true });
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) =>
      reject(
        new Fault("daemon.socket", `cannot listen on ${path}: ${cause.message}`, {
          fix: "check that the data directory can be written and is on a file system that has sockets",
          cause,
        }),
      ),
    );
    // bind(2) happens within this call, so the socket never exists with a wider mode.
    const before = process.umask(0o177);
    try {
      server.listen(path, resolve);
    } finally {
      process.umask(before);
    }
  });
}
