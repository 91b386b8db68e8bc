import { parseArgs } from "node:util";
import { z } from "zod";
import { SystemClock } from "#core";
import type { Bench, Report } from "./bench.ts";
import { convergence } from "./convergence.ts";
import { discovery } from "./discovery.ts";
import { fanout } from "./fanout.ts";
import { fleet } from "./fleet-daemons.ts";
import { idle } from "./idle.ts";
import { large } from "./large.ts";
import { local } from "./local.ts";
import { machine, renderReport } from "./report.ts";
import { sessions } from "./sessions.ts";
import { strangers } from "./strangers.ts";
import { transfer } from "./transfer.ts";
import { transport } from "./transport.ts";
import { tunnel } from "./tunnel.ts";
import { makeWorkspace } from "./workspace.ts";

const BENCHES: readonly Bench[] = [
  transfer,
  fanout,
  transport,
  tunnel,
  large,
  local,
  idle,
  sessions,
  convergence,
  discovery,
  strangers,
  fleet,
];
const EXIT = { ok: 0, failed: 1, usage: 2, unmet: 6, interrupted: 130 } as const;

/** Runs one benchmark by name. Exit 0 when it ran or was skipped; with --strict, 6 when a bar was not met. */
async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  const bench = BENCHES.find((b) => b.name === name);
  if (bench === undefined) {
    const asked = name === undefined || name.startsWith("-");
    if (!asked) console.error(`error: there is no benchmark ${name}`);
    (asked ? console.log : console.error)(BENCHES.map(describeBench).join("\n"));
    return asked ? EXIT.ok : EXIT.usage;
  }
  const flags = readFlags(bench, rest);
  if (flags === undefined) return EXIT.usage;
  if (flags.help) {
    console.log(describeBench(bench));
    return EXIT.ok;
  }
  const cause = await bench.missing();
  if (cause !== undefined) {
    if (flags.json) console.log(JSON.stringify({ name: bench.name, skipped: cause }));
    console.error(`skipped ${bench.name}: ${cause}`);
    return EXIT.ok;
  }
  const context = { clock: new SystemClock(), directory: await makeWorkspace(), progress: console.error };
  process.env["XDG_CONFIG_HOME"] = context.directory; // the contexts of its fleets are not the person's
  const startedAt = new Date(context.clock.wallMs()).toISOString();
  const ran = await bench.run(context, flags.own);
  const report: Report = { ...ran, conditions: { startedAt, ...machine(), ...ran.conditions } };
  console.log(
    flags.json ? JSON.stringify({ name: bench.name, claim: bench.claim, ...report }) : renderReport(bench, report),
  );
  return flags.strict && report.bars.some((bar) => !bar.met) ? EXIT.unmet : EXIT.ok;
}

type Flags = { json: boolean; strict: boolean; help: boolean; own: Record<string, unknown> };

/** `undefined`, with the reason on stderr, for flags that this benchmark does not take. */
function readFlags(bench: Bench, argv: readonly string[]): Flags | undefined {
  const own = Object.entries(propertiesOf(bench)).map(
    ([key, { type }]) => [key, { type: type === "boolean" ? type : "string" }] as const,
  );
  try {
    const { values } = parseArgs({
      args: [...argv],
      allowNegative: true,
      options: {
        ...Object.fromEntries(own),
        json: { type: "boolean", default: false },
        strict: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    const { json, strict, help, ...rest } = values;
    return { json, strict, help, own: bench.options.parse(rest) };
  } catch (error) {
    console.error(`error: ${error instanceof z.ZodError ? z.prettifyError(error) : String(error)}`);
    console.error(describeBench(bench));
    return undefined;
  }
}

const Property = z.object({
  type: z.string(),
  default: z.unknown(),
  description: z.string(),
  enum: z.array(z.string()).optional(),
});

function propertiesOf(bench: Bench): Record<string, z.output<typeof Property>> {
  return z.record(z.string(), Property).parse(z.toJSONSchema(bench.options, { io: "input" }).properties);
}

function describeBench(bench: Bench): string {
  const flags = Object.entries(propertiesOf(bench)).map(([key, p]) => {
    const form = p.type === "boolean" ? `--[no-]${key}` : `--${key} ${p.enum?.join("|") ?? "N"}`;
    return `  ${form.padEnd(24)} ${p.description} (default ${String(p.default)})`;
  });
  return [
    `npm run bench -- ${bench.name} [flags]`,
    `  ${bench.claim}`,
    ...flags,
    "  --json --strict          one JSON object on stdout; exit 6 when a bar is not met",
    "",
  ].join("\n");
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(EXIT.interrupted));
try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error);
  process.exitCode = EXIT.failed;
}
