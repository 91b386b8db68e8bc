import type { ContentProgress } from "#artifacts";
import { Fault } from "#core";
import type { OwnCopy } from "./copies.ts";

/** One version of an artifact on its way to this node, for all who want it. */
export type Job = {
  version: number;
  done: Promise<OwnCopy>;
  listeners: Set<(progress: ContentProgress) => void>;
  waiters: number;
  stop: AbortController;
};

export type BringOptions = { signal: AbortSignal; onProgress?: (progress: ContentProgress) => void };

/** Waits for a shared job; when the last who waits gives up, the job stops. */
export async function waitFor(job: Job, signal: AbortSignal, onProgress: BringOptions["onProgress"]): Promise<OwnCopy> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason as Error);
  signal.addEventListener("abort", onAbort, { once: true });
  if (onProgress !== undefined) job.listeners.add(onProgress);
  job.waiters += 1;
  try {
    return await Promise.race([job.done, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
    if (onProgress !== undefined) job.listeners.delete(onProgress);
    job.waiters -= 1;
    if (job.waiters === 0) job.stop.abort(new Fault("daemon.not-wanted", "nobody waits for it any more"));
  }
}
