import { type Document, isScalar, LineCounter, parseAllDocuments, visit } from "yaml";
import { errorMessage } from "#core";

/**
 * What one file may hold. `maxOpenBrackets`: the parser takes a time that grows with depth times length; brackets in quotes count, too.
 * `maxAliases`: how often aliases may be spelt out, since aliases of aliases make a small file a huge value.
 */
export type YamlLimits = { maxOpenBrackets: number; maxAliases: number };

/** Makes the error to throw of what is wrong and, where it is known, the place: both count from 1. */
export type YamlRefusal = (problem: string, at?: { line: number; column: number }) => Error;

/** A document that has content: `value` as JSON has it, `node` for the places in `lineOf`. */
export type YamlDocument = { value: unknown; node: Document.Parsed };

/**
 * Reads the documents of a YAML file that somebody else may have written; empty ones are left out.
 *
 * Throws what `refuse` makes: of the first error of syntax, of limits that are exceeded, and of keys that are no text (written as text, as JavaScript
 * needs them, keys within keys take a time that grows with the cube of their depth).
 */
export function parseYaml(
  text: string,
  limits: YamlLimits,
  refuse: YamlRefusal,
): { documents: YamlDocument[]; lineOf: (offset: number) => number } {
  if (openBrackets(text) > limits.maxOpenBrackets) throw refuse("it is nested too deep");
  const lines = new LineCounter();
  const documents = parseAll(text, lines).flatMap((node) => {
    const [error] = node.errors;
    if (error !== undefined) {
      const { line, col } = lines.linePos(error.pos[0]);
      throw refuse(error.message.split("\n")[0] ?? "", { line, column: col });
    }
    return node.contents === null ? [] : [{ node, value: valueOf(node, limits, refuse) }];
  });
  return { documents, lineOf: (offset) => lines.linePos(offset).line };
}

/**
 * Every bad line of a file makes an error of its own, each with a trace of the calls that nobody sees: for 4 KiB of such lines that took longer than
 * the parsing. What is only odd is refused later, with a better reason, so warnings are not written.
 */
function parseAll(text: string, lineCounter: LineCounter): Document.Parsed[] {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    const parsed = parseAllDocuments(text, { logLevel: "error", prettyErrors: false, lineCounter });
    return Array.isArray(parsed) ? parsed : [];
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function valueOf(document: Document.Parsed, { maxAliases }: YamlLimits, refuse: YamlRefusal): unknown {
  visit(document, {
    Pair: (_, { key }) => {
      if (!isScalar(key)) throw refuse("it has a key that is no text");
    },
  });
  try {
    return document.toJS({ maxAliasCount: maxAliases });
  } catch (error) {
    throw refuse(errorMessage(error)); // an alias of nothing, or of too much
  }
}

/** Most brackets that are open at once. */
function openBrackets(text: string): number {
  let [open, most] = [0, 0];
  for (const [bracket] of text.matchAll(/[[\]{}]/gu)) {
    open = Math.max(0, open + (bracket === "[" || bracket === "{" ? 1 : -1));
    most = Math.max(most, open);
  }
  return most;
}
