// The thread in which one target is fed; see watched.ts.
import { parentPort, workerData } from "node:worker_threads";
import { Fault, SystemClock } from "#core";
import { runCampaign } from "./campaign.ts";
import { savedInputs } from "./corpus.ts";
import type { FuzzTarget } from "./target.ts";
import { sharedView, type WatchedOptions } from "./watched.ts";

const options = workerData as WatchedOptions & { buffer: SharedArrayBuffer };
const { TARGETS } = (await import(options.targets ?? "./targets.ts")) as { TARGETS: readonly FuzzTarget[] };
const target = TARGETS.find(({ name }) => name === options.target);
if (target === undefined) throw new Fault("fuzz.target", `there is no target "${options.target}"`);
const { count, length, bytes } = sharedView(options.buffer);
const campaign = await runCampaign(target, new SystemClock(), {
  ...options,
  corpus: savedInputs(target.name).map(({ input }) => input),
  about: (input) => {
    bytes.set(input.subarray(0, bytes.length));
    length[0] = Math.min(input.length, bytes.length);
    Atomics.add(count, 0, 1);
  },
});
parentPort?.postMessage(campaign, []);
