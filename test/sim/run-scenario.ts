import { errorMessage } from "#core";
import type { Bar } from "../../bench/bench.ts";
import type { Outcome, Scenario } from "./scenario.ts";

/** One run. `failures`: what did not hold, in words; none when all did. */
export type Run = { name: string; seed: number; replay: string; failures: string[] } & Partial<Outcome>;

/** Runs one scenario with one seed; what it throws is a failure of that run. */
export async function runScenario({ name, run }: Scenario, seed: number): Promise<Run> {
  const replay = `npm run sim -- ${name} --seed ${seed}`;
  try {
    const { figures, bars } = await run(seed);
    return { name, seed, replay, figures, bars, failures: bars.filter(({ met }) => !met).map(sentenceOf) };
  } catch (error) {
    return { name, seed, replay, failures: [errorMessage(error)] };
  }
}

/** A figure to a thousandth, as far as anybody looks. */
export const rounded = (value: number): number => Math.round(value * 1_000) / 1_000;

function sentenceOf({ name, bar, value }: Bar): string {
  return `${name} is ${rounded(value)}, must be ${bar}`;
}
