import type { Bar } from "../../bench/bench.ts";

/** What one run of a world came to, and whether that is enough. */
export type Outcome = { figures: Readonly<Record<string, number>>; bars: readonly Bar[] };

/** A named world on virtual time and what it is held to. Its outcome depends on the seed alone, real time aside. */
export type Scenario = {
  /** `family/case`, in kebab-case: both parts can be asked for. */
  name: string;
  /** What it shows, in one sentence. */
  claim: string;
  /** Takes minutes or more: runs only when asked for by its whole name. */
  long?: boolean;
  /** Throws when the world itself finds something wrong; the runner then says which seed did it. */
  run: (seed: number) => Outcome | Promise<Outcome>;
};

/** The scenarios that a word asks for: `all`, a family, or one by its whole name. None when there is no such thing. */
export function choose(scenarios: readonly Scenario[], word: string): Scenario[] {
  return scenarios.filter(
    ({ name, long }) => name === word || (long !== true && (word === "all" || name.startsWith(`${word}/`))),
  );
}
