import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Clock } from "#core";

/** How often this is looked at; also the first time after start, when what loading code left behind is garbage. */
const LOOK_MS = 20_000;
/** CPU time in between, as a share, below which the process is at rest: a collection of some 50 ms disturbs nobody then. */
const REST_RATIO = 0.05;
/** Growth since the last collection that makes one worth its while. */
const GROWTH_BYTES = 12 * 1024 * 1024;

/**
 * Collects garbage while the daemon has nothing to do. V8 would wait until the heap has grown to what transfers need
 * (bin/portolan raises that on purpose), which on a small appliance is memory that others lack.
 */
export function startMemoryKeeper(clock: Clock): Disposable {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  const stop = new AbortController();
  const run = async (): Promise<void> => {
    let keptBytes = 0;
    for (;;) {
      const before = process.cpuUsage();
      const startMs = clock.nowMs();
      await clock.sleep(LOOK_MS, stop.signal);
      const { user, system } = process.cpuUsage(before);
      const busyRatio = (user + system) / 1_000 / (clock.nowMs() - startMs);
      if (busyRatio > REST_RATIO || process.memoryUsage().heapUsed - keptBytes < GROWTH_BYTES) continue;
      if (typeof collect === "function") collect();
      keptBytes = process.memoryUsage().heapUsed;
    }
  };
  run().catch(() => undefined); // stopped
  return { [Symbol.dispose]: () => stop.abort(new Error("stopped")) };
}
