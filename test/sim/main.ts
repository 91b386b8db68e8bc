// npm run sim -- NAME…: worlds of many nodes on virtual time, with the code that the daemon runs.
import { parseArgs } from "node:util";
import { SystemClock } from "#core";
import { readNumber, readSeed, runTool } from "../support/tool-front.ts";
import { rounded, type Run, runScenario } from "./run-scenario.ts";
import { choose, type Scenario } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";

const USAGE = `npm run sim -- NAME… [--seed N] [--seeds N] [--json]
  NAME          one scenario, all of a family, or \`all\` but the long ones
  --seed N      first seed; without it, fresh ones. With it alone, one run
  --seeds N     runs of each scenario, with seeds that follow each other (default 10)
  --json        one JSON object for each run on stdout
A run that does not hold prints its seed and the command that runs it again. Exit 6 when one did not.

`;

type Request = { scenarios: Scenario[]; first: number; count: number; json: boolean };

/** Throws with what is wrong with the command line. */
function readRequest(argv: readonly string[]): Request | undefined {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      help: { type: "boolean" },
      seed: { type: "string" },
      seeds: { type: "string" },
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
  return { scenarios, first: readSeed(values.seed), count: readNumber(seeds, { whole: true }), json: values.json };
}

async function runAll(request: Request): Promise<boolean> {
  const clock = new SystemClock();
  let bad = 0;
  for (const scenario of request.scenarios) {
    for (let seed = request.first; seed < request.first + request.count; seed++) {
      const startedMs = clock.nowMs();
      const run = await runScenario(scenario, seed);
      const seconds = rounded((clock.nowMs() - startedMs) / 1_000);
      if (run.failures.length > 0) bad += 1;
      if (request.json) console.log(JSON.stringify({ ...run, seconds }));
      else console.log(lineOf(run, seconds));
      for (const failure of run.failures) console.error(`  FAILED ${failure}`);
      if (run.failures.length > 0) console.error(`  replay: ${run.replay}`);
    }
  }
  if (!request.json) console.log(`${request.scenarios.length * request.count} runs, ${bad} did not hold`);
  return bad === 0;
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
