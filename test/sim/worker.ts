import { parentPort, workerData } from "node:worker_threads";
import { runScenario } from "./run-scenario.ts";
import { SCENARIOS } from "./scenarios.ts";

/** One run in a thread of its own: `workerData` is which, the answer is a Run. */
const { name, seed } = workerData as { name: string; seed: number };
const scenario = SCENARIOS.find((one) => one.name === name);
if (scenario === undefined) throw new Error(`there is no scenario "${name}"`);
parentPort?.postMessage(await runScenario(scenario, seed), []);
