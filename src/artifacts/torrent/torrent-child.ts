import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Fault } from "#core";
import { type TorrentJob, TorrentReport } from "./child-contract.ts";

const MAIN = fileURLToPath(new URL("./child-main.ts", import.meta.url));
/** Its heap; pieces are outside of it. */
const MAX_HEAP_MIB = 512;

export type TorrentChildOptions = {
  signal: AbortSignal;
  /** Called with everything that the child says; returns true when that was all that was wanted of it. */
  onReport: (report: TorrentReport) => boolean;
};

/**
 * Runs webtorrent in a process of its own until `onReport` is content or `signal` fires; the process is gone by then.
 *
 * Rejects with the signal's reason, Fault `artifacts.torrent-stalled` (exit `timeout`) when no peer sent anything for ten minutes,
 * or `artifacts.torrent-failed`.
 */
export async function runTorrentChild(job: TorrentJob, { signal, onReport }: TorrentChildOptions): Promise<void> {
  signal.throwIfAborted();
  const child = fork(MAIN, [], {
    serialization: "advanced",
    execArgv: [`--max-old-space-size=${MAX_HEAP_MIB}`],
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const outcome = Promise.withResolvers<void>();
  const onAbort = (): void => outcome.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  child.once("error", (error) => outcome.reject(failed(error.message)));
  child.once("exit", () => outcome.reject(failed("its process ended")));
  child.on("message", (message) => {
    try {
      const report = TorrentReport.parse(message);
      if (report.say === "failed") outcome.reject(report.stalled ? stalled() : failed(report.reason));
      else if (onReport(report)) outcome.resolve();
    } catch (error) {
      outcome.reject(error);
    }
  });
  child.send(job, (error) => {
    if (error !== null) outcome.reject(failed(error.message));
  });
  try {
    await outcome.promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
    if (child.kill("SIGKILL")) await ended; // it keeps nothing that could be lost
  }
}

function failed(reason: string): Fault {
  return new Fault("artifacts.torrent-failed", `the BitTorrent transfer ended: ${reason}`, {
    fix: "Try again; are the port and the peers right?",
  });
}

function stalled(): Fault {
  return new Fault("artifacts.torrent-stalled", "no BitTorrent peer sent anything for ten minutes", {
    exit: "timeout",
    fix: "Name a peer that has it with --peer, or try again when its trackers know one.",
  });
}
