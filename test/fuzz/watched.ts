import { Worker } from "node:worker_threads";
import { type Clock, errorMessage } from "#core";
import type { Campaign } from "./campaign.ts";
import { MAX_INPUT_BYTES } from "./mutate.ts";

/** An input that takes so long never comes back. A garbage collection or a busy machine takes a second or two. */
const HANG_MS = 10_000;
const LOOK_MS = 250;
/** Memory of a worker; one that needs more is ended by the runtime, not by the machine. */
const MAX_WORKER_MIB = 768;

export type WatchedOptions = {
  target: string;
  seed: number;
  ms: number;
  maxInputs?: number;
  /** A module that exports `TARGETS` instead of the house's own. */
  targets?: string;
};

/** What a worker shares: how many inputs it has begun, and the current one. */
export type Shared = { count: Int32Array; length: Int32Array; bytes: Uint8Array };

export function sharedView(buffer: SharedArrayBuffer): Shared {
  return {
    count: new Int32Array(buffer, 0, 1),
    length: new Int32Array(buffer, 4, 1),
    bytes: new Uint8Array(buffer, 8, MAX_INPUT_BYTES),
  };
}

/** A campaign in a thread of its own, so that an input that loops, eats all memory or throws from nowhere is still named. */
export async function runWatched(clock: Clock, options: WatchedOptions): Promise<Campaign> {
  const buffer = new SharedArrayBuffer(8 + MAX_INPUT_BYTES);
  const shared = sharedView(buffer);
  const worker = new Worker(new URL("./worker.ts", import.meta.url), {
    workerData: { ...options, buffer },
    resourceLimits: { maxOldGenerationSizeMb: MAX_WORKER_MIB },
  });
  const watch = new AbortController();
  try {
    return await new Promise<Campaign>((resolve) => {
      const broken = (what: string): void => resolve(brokenCampaign(shared, what));
      worker.once("message", resolve);
      worker.once("error", (error) => broken(`ended its thread: ${errorMessage(error)}`));
      worker.once("exit", (code) => broken(`ended its thread with code ${code}`));
      void watchForHang(clock, shared, watch.signal).then((hung) => hung && broken(`hangs: over ${HANG_MS} ms`));
    });
  } finally {
    watch.abort();
    await worker.terminate();
  }
}

function brokenCampaign({ count, length, bytes }: Shared, what: string): Campaign {
  const input = Uint8Array.from(bytes.subarray(0, length[0]));
  const inputs = count[0] ?? 0;
  return { inputs, sorts: 0, keptBytes: 0, slowestMs: 0, telling: [], failure: { what, input, minimal: input } };
}

/** Whether the worker stood at one input for too long; false when it was told to stop looking. */
async function watchForHang(clock: Clock, { count }: Shared, signal: AbortSignal): Promise<boolean> {
  let last = -1;
  let looks = 0;
  for (;;) {
    try {
      await clock.sleep(LOOK_MS, signal);
    } catch {
      return false;
    }
    const now = Atomics.load(count, 0);
    // Looks are counted, not time: a machine may sleep, or this process be stopped for a while.
    looks = now === last ? looks + 1 : 0;
    last = now;
    if (now > 0 && looks * LOOK_MS > HANG_MS) return true;
  }
}
