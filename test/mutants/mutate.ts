import { Fault } from "#core";
import type { Mutant } from "./mutants.ts";

/** What mocha's JSON reporter says of a run, as far as it matters. */
export type TestRun = { passes: readonly { title: string }[]; failures: readonly { title: string }[] };

/** The source with the mutant's change. Throws Fault `mutants.stale` unless its text stands there exactly once. */
export function mutate(source: string, { name, file, from, to }: Mutant): string {
  const [before, after, ...more] = source.split(from);
  if (after === undefined || more.length > 0) {
    throw new Fault(
      "mutants.stale",
      `mutant "${name}": "${from}" stands ${more.length === 0 ? "not" : "twice"} in ${file}`,
      {
        exit: "invalid",
        fix: "Write into test/mutants/mutants.ts how that check is switched off now.",
      },
    );
  }
  return `${before}${to}${after}`;
}

/** What is wrong with a mutant, given how its test went with and without it; `undefined` when the test noticed. */
export function judge(
  { test, title }: Mutant,
  sound: TestRun | undefined,
  mutated: TestRun | undefined,
): string | undefined {
  const has = (tests: TestRun["passes"]): boolean => tests.some((one) => one.title === title);
  if (sound === undefined || !has(sound.passes)) return `"${title}" of ${test} is not green without it`;
  if (mutated === undefined) return `${test} came to no end, or could not be read`;
  return has(mutated.failures) ? undefined : `"${title}" of ${test} does not notice`;
}
