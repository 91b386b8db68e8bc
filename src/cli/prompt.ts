import { Fault } from "#core";
import { type Io, Interrupted } from "./io.ts";

/** Longest answer; more is a stuck key or a pasted file. */
const MAX_ANSWER_CHARS = 1_024;
const ENTER = new Set(["\r", "\n"]);
const CANCEL = new Set(["\u0003", "\u0004"]); // Ctrl-C, Ctrl-D
const BACKSPACE = new Set(["\u0008", "\u007F"]);

/**
 * Asks on the terminal without showing what is typed. Throws Fault `cli.no-terminal` (exit `invalid`) where there is none,
 * `Interrupted` at Ctrl-C.
 */
export async function askHidden(io: Io, question: string): Promise<string> {
  if (io.stdin.isTTY !== true || io.stdin.setRawMode === undefined) {
    throw new Fault("cli.no-terminal", "a passphrase is needed, and there is no terminal to ask for it", {
      exit: "invalid",
      fix: "Give it with --passphrase-file FILE.",
    });
  }
  io.stderr.write(question);
  io.stdin.setRawMode(true);
  try {
    return await readAnswer(io);
  } finally {
    io.stdin.setRawMode(false);
    io.stderr.write("\n");
  }
}

/** Asks a question whose answer is yes or no (the default). Throws Fault `cli.no-terminal` where nobody can answer. */
export async function askYesNo(io: Io, question: string): Promise<boolean> {
  if (io.stdin.isTTY !== true) {
    throw new Fault("cli.no-terminal", "this needs a yes, and there is no terminal to ask on", {
      exit: "invalid",
      fix: "Check it, then say so with --yes.",
    });
  }
  io.stderr.write(`${question} [y/N] `);
  return /^\s*y(es)?\s*$/iu.test(await readAnswer(io));
}

async function readAnswer(io: Io): Promise<string> {
  let answer = "";
  try {
    // The keyboard stays open for the next question.
    for await (const piece of io.stdin.iterator({ destroyOnReturn: false })) {
      for (const key of piece.toString()) {
        if (ENTER.has(key)) return answer;
        if (CANCEL.has(key)) throw new Interrupted("interrupted");
        if (BACKSPACE.has(key)) answer = answer.slice(0, -1);
        else if (answer.length < MAX_ANSWER_CHARS) answer += key;
      }
    }
    return answer;
  } finally {
    io.stdin.pause();
  }
}
