// npm run soak -- MINUTES: a fleet of real daemons on loopback, at random work and under random faults.
import { parseArgs } from "node:util";
import { errorMessage, SystemRandom } from "#core";
import { soak } from "./soak.ts";
import { LIMITS } from "./vitals.ts";

const EXIT = { ok: 0, failed: 1, usage: 2, unwell: 6 } as const;
const MAX_SEED = 2 ** 31;
const MAX_MINUTES = 10_000;
const USAGE = `npm run soak [-- MINUTES] [--seed N]
  MINUTES       default 10
  --seed N      the same work and faults again; without it a fresh seed, which is printed
Exit 6 when, in the end, something was not well.`;

async function main(argv: readonly string[]): Promise<number> {
  let seed: number;
  let minutes: number;
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { seed: { type: "string" }, help: { type: "boolean", default: false } },
    });
    if (values.help) {
      console.log(USAGE);
      return EXIT.ok;
    }
    minutes = number(positionals[0] ?? "10", MAX_MINUTES);
    seed = values.seed === undefined ? new SystemRandom().below(MAX_SEED) : number(values.seed, MAX_SEED);
  } catch (error) {
    console.error(`error: ${errorMessage(error)}\n${USAGE}`);
    return EXIT.usage;
  }
  console.error(`seed ${seed}`);
  const { failures, actions, worst } = await soak({ seed, minutes, say: console.error });
  for (const failure of failures) console.error(`FAILED ${failure}`);
  console.log(JSON.stringify({ ok: failures.length === 0, seed, minutes, actions, worst, limits: LIMITS, failures }));
  if (failures.length > 0) console.error(`replay: npm run soak -- ${minutes} --seed ${seed}`);
  return failures.length === 0 ? EXIT.ok : EXIT.unwell;
}

function number(text: string, max: number): number {
  const value = Number(text);
  if (!/^\d+(?:\.\d+)?$/u.test(text) || value > max) throw new Error(`"${text}" is not a number up to ${max}`);
  return value;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error);
  process.exitCode = EXIT.failed;
}
