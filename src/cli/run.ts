import { type Command, CommanderError } from "commander";
import { EXIT_CODES, errorMessage, Fault } from "#core";
import { complete } from "./completion.ts";
import { type CliDeps, type Io, Interrupted } from "./io.ts";
import { createProgram } from "./program.ts";
import type { Cli } from "./session.ts";
import { printable } from "./table.ts";

/** 128 + SIGINT, as shells have it. */
const EXIT_INTERRUPTED = 130;

/**
 * Runs one command and resolves with its exit code: 0, 1 other, 2 invalid, 3 not allowed, 4 not found, 5 conflict, 6 timed
 * out or condition not met, 10 daemon not running, 130 interrupted. Failures are written to stderr as `error:` and `try:`.
 */
export async function runCli(argv: readonly string[], io: Io, deps: CliDeps): Promise<number> {
  const cli: Cli = { io, deps, exitCode: 0 };
  const program = createProgram(cli);
  try {
    if (argv[0] === "__complete") {
      io.stdout.write((await complete(program, cli, argv.slice(1))).map((word) => `${word}\n`).join(""));
      return 0;
    }
    await program.parseAsync(argv, { from: "user" });
    return cli.exitCode;
  } catch (error) {
    return explain(error, cli, program, argv);
  }
}

function explain(error: unknown, { io }: Cli, program: Command, argv: readonly string[]): number {
  if (error instanceof Interrupted || (io.signal.aborted && error === io.signal.reason)) return EXIT_INTERRUPTED;
  if (error instanceof CommanderError) return explainUsage(error, io, program, argv);
  const bold = colours(io);
  io.stderr.write(`${bold("error:", 31)} ${printable(errorMessage(error)).trim()}\n`);
  if (!(error instanceof Fault)) {
    io.stderr.write(
      `${bold("try:", 36)} This is a mistake in portolan itself: report it with what portolan version prints.\n`,
    );
    return EXIT_CODES.internal;
  }
  if (error.fix !== undefined) io.stderr.write(`${bold("try:", 36)} ${printable(error.fix)}\n`);
  return EXIT_CODES[error.exit];
}

function explainUsage(error: CommanderError, io: Io, program: Command, argv: readonly string[]): number {
  if (error.exitCode === 0) return 0; // --help, which is written already
  const bold = colours(io);
  const verb = program.commands.find((command) => command.name() === argv.find((word) => !word.startsWith("-")));
  // `commander.help`: a group was named without a verb, and its help was to go to stderr
  const message = error.code === "commander.help" ? "which command?" : error.message.replace(/^error: /u, "");
  io.stderr.write(`${bold("error:", 31)} ${printable(message.replaceAll("\n", " "))}\n`);
  io.stderr.write(`${bold("try:", 36)} ${verb === undefined ? "portolan" : `portolan ${verb.name()}`} --help\n`);
  return EXIT_CODES.invalid;
}

/** Colour only on a terminal, and not under NO_COLOR (no-color.org). */
function colours({ stderr, env }: Io): (text: string, code: number) => string {
  const plain = stderr.isTTY !== true || (env["NO_COLOR"] ?? "") !== "";
  return (text, code) => (plain ? text : `\u001B[1;${code}m${text}\u001B[0m`);
}
