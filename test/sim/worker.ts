import { parentPort } from "node:worker_threads";
import { runScenario } from "./run-scenario.ts";
import { SCENARIOS } from "./scenarios.ts";

/** Runs in a thread of its own, one after the other: each message says which, and each answer is a Run. */
parentPort?.on("message", ({ name, seed }: { name: string; seed: number }) => {
  const scenario = SCENARIOS.find((one) => one.name === name);
  if (scenario === undefined) throw new Error(`there is no scenario "${name}"`);
  void runScenario(scenario, seed).then((run) => parentPort?.postMessage(run, []));
});
