// npm run mutants [-- NAME…]: switches the checks that matter off, one at a time, in a copy of the tree, and runs the test that must turn red.
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { SystemClock, errorMessage } from "#core";
import { run } from "../../bench/lab/index.ts";
import { judge, mutate, type TestRun } from "./mutate.ts";
import { type Mutant, MUTANTS } from "./mutants.ts";

const EXIT = { ok: 0, usage: 2, unmet: 6, interrupted: 130 } as const;
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Not needed by a test, or large. */
const LEFT_OUT = new Set(["node_modules", ".git", "tmp", "coverage"]);
/** The slowest of these tests takes 10 s. A mutant may make one wait for what never comes: that is red, too. */
const TEST_MS = 60_000;
const RUN_MS = 150_000;

const clock = new SystemClock();
const Tests = z.array(z.object({ title: z.string() }));
const Report = z.object({ passes: Tests, failures: Tests });

/** A copy of the tree in which tests run. */
class Copy implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "portolan-mutants-"));

  constructor() {
    cpSync(ROOT, this.#folder, { recursive: true, filter: (path) => !LEFT_OUT.has(relative(ROOT, path)) });
    symlinkSync(join(ROOT, "node_modules"), join(this.#folder, "node_modules"));
  }

  /** How one test goes; `undefined` when nothing came of it. */
  async runTest({ test, title }: Mutant): Promise<TestRun | undefined> {
    const output = join(this.#folder, "report.json");
    rmSync(output, { force: true });
    const mocha = ["node_modules/mocha/bin/mocha.js", "--no-package", "--exit", "--timeout", String(TEST_MS)];
    const reporter = ["--reporter", "json", "--reporter-option", `output=${output}`];
    await run(clock, RUN_MS, [process.execPath, ...mocha, ...reporter, "--fgrep", title, test], {
      cwd: this.#folder,
    }).catch(
      () => undefined, // its exit code says no more than the report
    );
    try {
      return Report.parse(JSON.parse(readFileSync(output, "utf8")));
    } catch {
      return undefined;
    }
  }

  /** The same with the mutant's change, which is taken back afterwards. Throws Fault `mutants.stale`. */
  async runMutated(mutant: Mutant): Promise<TestRun | undefined> {
    const path = join(this.#folder, mutant.file);
    const source = readFileSync(path, "utf8");
    writeFileSync(path, mutate(source, mutant));
    try {
      return await this.runTest(mutant);
    } finally {
      writeFileSync(path, source);
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.find((name) => !MUTANTS.some((mutant) => mutant.name === name));
  if (unknown !== undefined) {
    console.error(`there is no mutant "${unknown}"; there are: ${MUTANTS.map(({ name }) => `"${name}"`).join(", ")}`);
    return EXIT.usage;
  }
  using copy = new Copy();
  process.once("exit", () => copy[Symbol.dispose]());
  let unnoticed = 0;
  for (const mutant of MUTANTS) {
    if (names.length > 0 && !names.includes(mutant.name)) continue;
    const startMs = clock.nowMs();
    const wrong = await examine(copy, mutant);
    const seconds = ((clock.nowMs() - startMs) / 1_000).toFixed(0);
    if (wrong !== undefined) unnoticed += 1;
    console.log(`${wrong === undefined ? "noticed" : "FAILED "} ${mutant.name}, ${seconds} s: ${wrong ?? mutant.off}`);
  }
  return unnoticed === 0 ? EXIT.ok : EXIT.unmet;
}

/** What is wrong; `undefined` when its test turned red. */
async function examine(copy: Copy, mutant: Mutant): Promise<string | undefined> {
  try {
    return judge(mutant, await copy.runTest(mutant), await copy.runMutated(mutant));
  } catch (error) {
    return errorMessage(error);
  }
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(EXIT.interrupted));
process.exitCode = await main(process.argv.slice(2));
