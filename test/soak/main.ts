// npm run soak -- MINUTES: a fleet of real daemons on loopback, at random work and under random faults.
import { parseArgs } from "node:util";
import { readNumber, readSeed, runTool } from "../support/tool-front.ts";
import { soak } from "./soak.ts";
import { LIMITS } from "./vitals.ts";

const MAX_MINUTES = 10_000;
const USAGE = `npm run soak [-- MINUTES] [--seed N]
  MINUTES       default 10
  --seed N      the same work and faults again; without it a fresh seed, which is printed
Exit 6 when, in the end, something was not well.`;

type Request = { minutes: number; seed: number };

/** Throws with what is wrong with the command line. */
function readRequest(argv: readonly string[]): Request | undefined {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { seed: { type: "string" }, help: { type: "boolean", default: false } },
  });
  if (values.help) return undefined;
  return { minutes: readNumber(positionals[0] ?? "10", { max: MAX_MINUTES }), seed: readSeed(values.seed) };
}

async function run({ minutes, seed }: Request): Promise<boolean> {
  console.error(`seed ${seed}`);
  const { failures, actions, worst } = await soak({ seed, minutes, say: console.error });
  for (const failure of failures) console.error(`FAILED ${failure}`);
  console.log(JSON.stringify({ ok: failures.length === 0, seed, minutes, actions, worst, limits: LIMITS, failures }));
  if (failures.length > 0) console.error(`replay: npm run soak -- ${minutes} --seed ${seed}`);
  return failures.length === 0;
}

await runTool({ help: "npm run soak -- --help", usage: () => USAGE, read: readRequest, run });
