// npm run sim -- NAME…: worlds of many nodes on virtual time, with the code that the daemon runs.
import { once } from "node:events";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { SystemClock } from "#core";
import { readNumber, readSeed, runTool } from "../support/tool-front.ts";
import { rounded, type Run, runScenario } from "./run-scenario.ts";
import { choose, type Scenario } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";

const USAGE = `npm run sim -- NAME… [--seed N] [--seeds N] [--jobs N] [--json]
  NAME          one scenario, all of a family, or \`all\` but the long ones
  --seed N      first seed; without it, fresh ones. With it alone, one run
  --seeds N     runs of each scenario, with seeds that follow each other (default 10)
  --jobs N      so many runs at a time, each in a thread of its own; 1 otherwise
  --json        one JSON object for each run on stdout
A run that does not hold prints its seed and the command that runs it again. Exit 6 when one did not.

`;

type Request = { scenarios: Scenario[]; first: number; count: number; jobs: number; json: boolean };

/** Throws with what is wrong with the command line. */
function readRequest(argv: readonly string[]): Request | undefined {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      help: { type: "boolean" },
      seed: { type: "string" },
      seeds: { type: "string" },
      jobs: { type: "string", default: "1" },
      json: { type: "boolean", default: false },
    },
  });
  if (positionals.length === 0 || values.help === true) return undefined;
  const scenarios = positionals.flatMap((word) => {
    const chosen = choose(SCENARIOS, word);
    if (chosen.length === 0) throw new Error(`there is no scenario "${word}"`);
    return chosen;
  });
  const seeds = values.seeds ?? (values.seed === undefined ? "10" : "1");
  return {
    scenarios,
    first: readSeed(values.seed),
    count: readNumber(seeds, { whole: true }),
    jobs: readNumber(values.jobs, { whole: true }),
    json: values.json,
  };
}

async function runAll(request: Request): Promise<boolean> {
  const clock = new SystemClock();
  const seeds = Array.from({ length: request.count }, (_, i) => request.first + i);
  const left = request.scenarios.flatMap((scenario) => seeds.map((seed) => ({ scenario, seed }))).values(); // the jobs take from it in turn
  let bad = 0;
  const work = async (): Promise<void> => {
    await using runner = request.jobs > 1 ? startThread() : HERE;
    for (const { scenario, seed } of left) {
      const startedMs = clock.nowMs();
      const run = await runner.run(scenario, seed);
      const seconds = rounded((clock.nowMs() - startedMs) / 1_000);
      if (run.failures.length > 0) bad += 1;
      if (request.json) console.log(JSON.stringify({ ...run, seconds }));
      else console.log(lineOf(run, seconds));
      for (const failure of run.failures) console.error(`  FAILED ${failure}`);
      if (run.failures.length > 0) console.error(`  replay: ${run.replay}`);
    }
  };
  await Promise.all(Array.from({ length: request.jobs }, work));
  if (!request.json) console.log(`${request.scenarios.length * request.count} runs, ${bad} did not hold`);
  return bad === 0;
}

/** Where runs are done, one at a time. */
type Runner = { run: (scenario: Scenario, seed: number) => Promise<Run> } & AsyncDisposable;

const HERE: Runner = { run: runScenario, [Symbol.asyncDispose]: () => Promise.resolve() };

/** A thread for many runs: the first one in it takes twice as long, until its code is compiled. */
function startThread(): Runner {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), {
    resourceLimits: { maxYoungGenerationSizeMb: 192 }, // as the flag that `npm run sim` passes does for this thread
  });
  return {
    run: async ({ name }, seed) => {
      worker.postMessage({ name, seed }, []);
      const [run] = (await once(worker, "message")) as [Run];
      return run;
    },
    [Symbol.asyncDispose]: async () => void (await worker.terminate()),
  };
}

function lineOf({ name, seed, figures = {} }: Run, seconds: number): string {
  const shown = Object.entries(figures).map(([key, value]) => `${key} ${rounded(value)}`);
  return [`${name}, seed ${seed}, ${seconds} s`, ...shown].join("  ");
}

function list(): string {
  return SCENARIOS.map(({ name, claim, long }) => `  ${name.padEnd(24)} ${claim}${long ? " (long)" : ""}`).join("\n");
}

await runTool({
  help: "npm run sim, which lists the scenarios and flags",
  usage: () => USAGE + list(),
  read: readRequest,
  run: runAll,
});
