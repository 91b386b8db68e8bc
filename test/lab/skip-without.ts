import { existsSync } from "node:fs";
import { labNeeds, onPath } from "../../bench/lab/index.ts";

/** Skips a test, or a suite from its `before`, and says why, unless these programs are there: on the PATH, or where the name says. */
export async function skipWithout(test: Mocha.Context, ...programs: readonly string[]): Promise<void> {
  for (const program of programs) {
    if (!existsSync(program) && !(await onPath(program))) skip(test, `${program} is missing`);
  }
}

/** The same where no lab can be made. */
export async function skipWithoutLab(test: Mocha.Context, ...programs: readonly string[]): Promise<void> {
  const missing = await labNeeds();
  if (missing !== undefined) skip(test, missing);
  await skipWithout(test, ...programs);
}

function skip(test: Mocha.Context, why: string): never {
  console.log(`      skipped: ${why}`);
  return test.skip();
}
