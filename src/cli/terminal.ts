import { SystemClock, SystemRandom } from "#core";
import { type Io, Interrupted } from "./io.ts";

/**
 * This process as the CLI's world. The first SIGINT, SIGTERM or SIGHUP fires the signal, so that a command ends in good
 * order; the second ends the process at once.
 */
export function terminalIo(): Io {
  const interrupt = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      if (interrupt.signal.aborted) process.exit(130);
      interrupt.abort(new Interrupted("interrupted"));
    });
  }
  // `portolan get nodes | head` closes the pipe: that is no failure
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
  return {
    get stdin() {
      return process.stdin; // touched only by a command that asks: merely looking at it keeps a process alive
    },
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    clock: new SystemClock(),
    random: new SystemRandom(),
    signal: interrupt.signal,
  };
}
