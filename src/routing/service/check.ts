import { Fault } from "#core";

/** How a node finds out whether a service works: it accepts a connection, answers a request well, or a command ends with 0. */
export type Check = { kind: "tcp" } | { kind: "http"; path: string } | { kind: "exec"; command: string };

/** As long as a line that somebody types. */
const MAX_CHECK_CHARS = 1_000;
/** Printable ASCII without spaces: nothing that could end the request line. */
const PATH = /^\/[\x21-\x7E]*$/u;
const COMMAND = /^[^\p{Cc}]*\S[^\p{Cc}]*$/u;
/** What means something to a shell; such a command is given to one. */
const SHELL_CHARACTERS = /[\\'"`$|&;<>()*?[\]{}~#!=%]/u;

/** Reads `tcp`, `http=/PATH` or `exec=COMMAND`. Throws Fault `routing.check` (exit `invalid`). */
export function parseCheck(text: string): Check {
  const [kind, rest] = text.length > MAX_CHECK_CHARS ? [] : splitAt(text, "=");
  if (kind === "tcp" && rest === undefined) return { kind };
  if (kind === "http" && rest !== undefined && PATH.test(rest)) return { kind, path: rest };
  if (kind === "exec" && rest !== undefined && COMMAND.test(rest)) return { kind, command: rest };
  throw new Fault("routing.check", `"${text.slice(0, 100)}" is not a check`, {
    exit: "invalid",
    fix: "Write tcp, http=/healthz or exec=/usr/local/bin/check-cam.",
  });
}

/** The text that `parseCheck` reads. */
export function formatCheck(check: Check): string {
  if (check.kind === "tcp") return "tcp";
  return check.kind === "http" ? `http=${check.path}` : `exec=${check.command}`;
}

/** What is run for a command: its words, as they stand between spaces; with characters that mean something to a shell, a shell. */
export function argvOf(command: string): string[] {
  return SHELL_CHARACTERS.test(command) ? ["/bin/sh", "-c", command] : command.trim().split(/\s+/u);
}

function splitAt(text: string, mark: string): [string, string | undefined] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}
