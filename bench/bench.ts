import { z } from "zod";
import type { Clock } from "#core";

/** One promise kept or not: `value` is measured, `bar` says what it must be, in the same unit. */
export type Bar = { name: string; bar: string; value: number; met: boolean };

/** One measured run of one peer: raw figures with their unit in the name. */
export type Sample = Readonly<Record<string, unknown>>;

/** Everything a stranger needs to recompute the bars. */
export type Report = {
  /** What was fixed beforehand: sizes, rates, delays, versions. */
  conditions: Readonly<Record<string, unknown>>;
  /** What is outside the measured time: start-up, key creation, joining, publishing; in seconds. */
  setupSeconds: Readonly<Record<string, number>>;
  samples: readonly Sample[];
  bars: readonly Bar[];
};

export type BenchContext = {
  clock: Clock;
  /** A directory of this run's own; removed afterwards. */
  directory: string;
  /** Tells a waiting person what is going on. */
  progress: (line: string) => void;
};

/** One benchmark, one claim. */
export type Bench = {
  name: string;
  /** What it shows, in one sentence. */
  claim: string;
  /** Flags: numbers, booleans and enumerations with a default and a description each. */
  options: z.ZodObject;
  /** Why it cannot run on this machine, in words for the user; `undefined` when it can. */
  missing: () => Promise<string | undefined>;
  /** Throws ZodError on options that `options` refuses. */
  run: (context: BenchContext, options: Readonly<Record<string, unknown>>) => Promise<Report>;
};

/** Ties `run` to the type of its options. */
export function defineBench<O extends z.ZodObject>(
  bench: Omit<Bench, "options" | "run"> & {
    options: O;
    run: (context: BenchContext, options: z.output<O>) => Promise<Report>;
  },
): Bench {
  return { ...bench, run: async (context, options) => bench.run(context, bench.options.parse(options)) };
}

/** A flag that holds a number within bounds. */
export const numberFlag = (
  fallback: number,
  min: number,
  max: number,
  meaning: string,
): z.ZodDefault<z.ZodCoercedNumber> => z.coerce.number().min(min).max(max).default(fallback).describe(meaning);

/** A bar that the value must reach. */
export const atLeast = (name: string, limit: number, value: number): Bar => ({
  name,
  bar: `≥ ${limit}`,
  value,
  met: value >= limit,
});

/** A bar that the value must stay under. */
export const atMost = (name: string, limit: number, value: number): Bar => ({
  name,
  bar: `≤ ${limit}`,
  value,
  met: value <= limit,
});

/** The middle value; the mean of the two middle ones when there is an even number. `NaN` of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? Number.NaN;
  return (upper + lower) / 2;
}

/** The least value that this share of all does not exceed, nearest rank. `NaN` of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}
