import { parseArgs } from "node:util";
import { Fault } from "#core";
import { MAX_SITES } from "./address.ts";

/** What a run of the demo was asked to do. */
export type DemoOptions = {
  nodes: number;
  sites: number;
  /** The file to bring to all nodes. */
  file: string;
  /** Where everything is left for inspection; without it, a temporary folder that is removed. */
  keep: string | undefined;
  /** Bits per second of each site's access link, each way. */
  rateBps: number;
  /** One way between two sites. */
  delayMs: number;
  /** Stop after the report. */
  exit: boolean;
  /** One JSON object on standard output instead of the report. */
  json: boolean;
  /** Whether nodes are killed while the file flows. */
  plug: boolean;
  /** Whether each site may have a network namespace; off, or where the system refuses, all share the machine's loopback. */
  namespaces: boolean;
};

/** Nodes on one machine: each is a process of about 100 MB. */
export const MAX_NODES = 60;

/** So that the links set the pace: at 100 Mbit/s, nine daemons that encrypt, hash and write keep two cores busier than the links. */
const DEFAULT_RATE_MBIT = "50";

export const HELP = `Usage: npm start -- [options]

Brings up a fleet of separate daemons in several sites on this machine, joins them with one token, brings a file to all
of them over shaped links between the sites, compares every copy, and stays up until Ctrl-C.

  --nodes N      daemons in all, 2 to ${MAX_NODES} (default 9); one more knocks and is refused
  --sites N      sites, 2 to ${MAX_SITES} (default 3)
  --file PATH    the file to distribute (default: the Node.js binary of this project, over 100 MB)
  --rate MBIT    Mbit/s of each site's access link, each way (default ${DEFAULT_RATE_MBIT})
  --delay MS     one-way delay between two sites (default 20)
  --keep DIR     leave data directories, logs and copies in DIR (new or empty)
  --exit         stop after the report; exit 0 only if everything held
  --json         one line of JSON on standard output instead of the report
  --no-plug      kill nobody. Otherwise, with three sites of three nodes or more, a download runs from one site to another
                 while the file flows, and who carries it and who leads its site are killed with -9; on a terminal,
                 k kills any node that you pick, and elsewhere one more is picked by chance
  --no-namespaces  share this machine's loopback, even where network namespaces work
  --help         this text

Example: npm start --silent -- --exit --json --nodes 12 --sites 4 --file ./model.bin
`;

const FLAGS = {
  nodes: { type: "string", default: "9" },
  sites: { type: "string", default: "3" },
  file: { type: "string" },
  rate: { type: "string", default: DEFAULT_RATE_MBIT },
  delay: { type: "string", default: "20" },
  keep: { type: "string" },
  exit: { type: "boolean", default: false },
  json: { type: "boolean", default: false },
  plug: { type: "boolean", default: true },
  namespaces: { type: "boolean", default: true },
  help: { type: "boolean", default: false },
} as const;

/**
 * Reads the command line; `undefined` asks for help. Paths are left as given.
 *
 * Throws Fault `demo.usage` (exit `invalid`) with what is wrong.
 */
export function readOptions(argv: readonly string[], defaultFile: string): DemoOptions | undefined {
  const values = parseFlags(argv);
  if (values.help) return undefined;
  const nodes = integer("nodes", values.nodes, 2, MAX_NODES);
  const sites = integer("sites", values.sites, 2, MAX_SITES);
  if (nodes < sites) throw usage(`${nodes} nodes cannot fill ${sites} sites`);
  return {
    nodes,
    sites,
    file: values.file ?? defaultFile,
    keep: values.keep,
    rateBps: number("rate", values.rate, 0.1, 10_000) * 1_000_000,
    delayMs: number("delay", values.delay, 0, 1_000),
    exit: values.exit,
    json: values.json,
    plug: values.plug,
    namespaces: values.namespaces,
  };
}

function parseFlags(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: FLAGS, allowNegative: true }).values;
  } catch (error) {
    throw usage(error instanceof Error ? error.message : String(error));
  }
}

function number(flag: string, text: string, min: number, max: number): number {
  const value = /^\d+(\.\d+)?$/u.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw usage(`--${flag} takes a number from ${min} to ${max}, not "${text}"`);
}

function integer(flag: string, text: string, min: number, max: number): number {
  const value = number(flag, text, min, max);
  if (Number.isInteger(value)) return value;
  throw usage(`--${flag} takes a whole number, not "${text}"`);
}

function usage(message: string): Fault {
  return new Fault("demo.usage", message, { exit: "invalid", fix: "npm start -- --help lists the options" });
}
