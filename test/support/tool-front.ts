import { errorMessage, SystemRandom } from "#core";

/** `unmet`: something did not hold. */
const EXIT = { ok: 0, failed: 1, usage: 2, unmet: 6, interrupted: 130 } as const;
/** Seeds, and other numbers on a command line, are at most this. */
const MAX_NUMBER = 2 ** 31;

export type Tool<Request> = {
  /** The command that lists what there is. */
  help: string;
  usage: () => string;
  /** Reads the command line; `undefined`: it asks for the usage. Throws with what is wrong. */
  read: (argv: readonly string[]) => Request | undefined;
  /** Whether everything held. */
  run: (request: Request) => Promise<boolean>;
};

/** Runs a tool of `npm run` to its exit code: 0 all held, 2 bad usage, 6 something did not hold, 130 interrupted. */
export async function runTool<Request>({ help, usage, read, run }: Tool<Request>): Promise<void> {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(EXIT.interrupted));
  try {
    const request = attempt(() => read(process.argv.slice(2)), help);
    if (request === BAD) process.exitCode = EXIT.usage;
    else if (request === undefined) console.log(usage());
    else process.exitCode = (await run(request)) ? EXIT.ok : EXIT.unmet;
  } catch (error) {
    console.error(error);
    process.exitCode = EXIT.failed;
  }
}

const BAD = Symbol("bad usage");

function attempt<Request>(read: () => Request, help: string): Request | typeof BAD {
  try {
    return read();
  } catch (error) {
    console.error(`error: ${errorMessage(error)}\ntry: ${help}`);
    return BAD;
  }
}

/** A number on the command line, from 0 to `max`. */
export function readNumber(text: string, { max = MAX_NUMBER, whole = false } = {}): number {
  const value = Number(text);
  if (!(whole ? /^\d+$/u : /^\d+(?:\.\d+)?$/u).test(text) || value > max)
    throw new Error(`"${text}" is not a ${whole ? "whole " : ""}number up to ${max}`);
  return value;
}

/** The seed that was given, or a fresh one. */
export function readSeed(text: string | undefined): number {
  return text === undefined ? new SystemRandom().below(MAX_NUMBER) : readNumber(text, { whole: true });
}
