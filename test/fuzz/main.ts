// npm run fuzz -- PARSER SECONDS: mutated input for every decoder that eats bytes of a peer, a person or a file.
import { readFileSync } from "node:fs";
import { relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { SystemClock } from "#core";
import { readNumber, readSeed, runTool } from "../support/tool-front.ts";
import type { Campaign } from "./campaign.ts";
import { leaveFinding, saveTelling } from "./corpus.ts";
import { judge } from "./judge.ts";
import type { FuzzTarget } from "./target.ts";
import { TARGETS } from "./targets.ts";
import { runWatched } from "./watched.ts";

const USAGE = `npm run fuzz -- PARSER|all SECONDS [--seed N] [--inputs N] [--jobs N] [--save]
npm run fuzz -- PARSER --input FILE
  SECONDS       of processor time for each parser
  --seed N      the same inputs again; without it a fresh one, which is printed
  --inputs N    stop after so many
  --jobs N      so many parsers at a time, each in a thread of its own; 1 otherwise
  --save        keep short inputs that reach far in test/corpus, for the next time
  --input FILE  feed this one
A parser may refuse with the Faults that it documents and do nothing else: 50 ms and little memory for an input, nothing kept
of a refused one, the same bytes when what was read is written again. Exit 6 when one did something else.

`;

type Request =
  | { target: FuzzTarget; file: string }
  | { targets: readonly FuzzTarget[]; ms: number; seed: number; inputs?: number; jobs: number; save: boolean };

/** Throws with what is wrong with the command line. */
function readRequest(argv: readonly string[]): Request | undefined {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      help: { type: "boolean" },
      seed: { type: "string" },
      inputs: { type: "string" },
      input: { type: "string" },
      jobs: { type: "string", default: "1" },
      save: { type: "boolean", default: false },
    },
  });
  const [name, seconds = "10", ...more] = positionals;
  if (name === undefined || values.help === true) return undefined;
  if (more.length > 0) throw new Error(`there is nothing to do with "${more.join(" ")}"`);
  const targets = name === "all" ? TARGETS : TARGETS.filter((target) => target.name === name);
  const [target] = targets;
  if (target === undefined) throw new Error(`there is no parser "${name}"`);
  if (values.input !== undefined) {
    return { target, file: resolve(process.env["INIT_CWD"] ?? process.cwd(), values.input) };
  }
  const inputs = values.inputs === undefined ? {} : { inputs: readNumber(values.inputs) };
  const { save, jobs } = values;
  return {
    targets,
    ms: readNumber(seconds) * 1_000,
    seed: readSeed(values.seed),
    jobs: readNumber(jobs),
    save,
    ...inputs,
  };
}

async function feedOne({ target, file }: Extract<Request, { file: string }>): Promise<boolean> {
  const { sort, failure } = await judge(await target.prepare(), target.refuses, readFileSync(file));
  console.log(`${target.name}: ${failure ?? sort}`);
  return failure === undefined;
}

async function feedMany(request: Exclude<Request, { file: string }>): Promise<boolean> {
  const { targets, ms, seed, inputs, jobs, save } = request;
  const clock = new SystemClock();
  console.log(`seed ${seed}`);
  let found = 0;
  const left = targets.values(); // the jobs take from it in turn
  const feed = async (): Promise<void> => {
    for (const { name } of left) {
      const limit = inputs === undefined ? {} : { maxInputs: inputs };
      const campaign = await runWatched(clock, { target: name, seed, ms, ...limit });
      console.log(lineOf(name, campaign));
      if (save && campaign.failure === undefined) saveTelling(name, campaign.telling);
      if (campaign.failure === undefined) continue;
      found += 1;
      for (const line of findingOf(name, campaign, seed)) console.error(line);
    }
  };
  await Promise.all(Array.from({ length: jobs }, feed));
  console.log(`${targets.length} parsers, ${found} misbehaved`);
  return found === 0;
}

function lineOf(name: string, { inputs, sorts, keptBytes, slowestMs }: Campaign): string {
  const kept = `${(keptBytes / 2 ** 20).toFixed(1)} MiB kept`;
  return `${name.padEnd(24)} ${inputs} inputs, ${sorts} kinds of answer, slowest ${slowestMs.toFixed(1)} ms, ${kept}`;
}

function findingOf(name: string, { inputs, failure }: Campaign, seed: number): string[] {
  if (failure === undefined) return [];
  const path = relative(process.cwd(), leaveFinding(name, failure.minimal));
  return [
    `  FOUND ${failure.what}`,
    `  input: ${path} (${failure.minimal.length} bytes; ${failure.input.length} when it was found)`,
    `  feed it: npm run fuzz -- ${name} --input ${path}`,
    `  replay: npm run fuzz -- ${name} 3600 --seed ${seed} --inputs ${inputs}`,
    `  keep it: cp ${path} test/corpus/${name}/`,
  ];
}

await runTool<Request>({
  help: "npm run fuzz, which lists the parsers and flags",
  usage: () => USAGE + TARGETS.map(({ name, grammar }) => `  ${name.padEnd(24)} ${grammar}`).join("\n"),
  read: readRequest,
  run: (request) => ("file" in request ? feedOne(request) : feedMany(request)),
});
