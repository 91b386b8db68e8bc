import { Fault } from "./fault.ts";

/** Deepest nesting of objects and arrays in a document (protocols: documents). */
export const MAX_JSON_DEPTH = 16;

/**
 * Parses JSON from bytes that somebody else wrote. `JSON.parse` alone keeps the last of two equal keys and rounds large
 * integers without a word, so two readers could see two documents behind one signature; both are refused here.
 *
 * Throws Fault `core.json` (exit `invalid`), its message saying where, for: more than `maxBytes`, invalid UTF-8 or JSON, a
 * duplicate key, a number that is not exactly representable, nesting deeper than 16.
 */
export function parseJson(bytes: Uint8Array, maxBytes: number): unknown {
  if (bytes.length > maxBytes) throw refuse(`${bytes.length} bytes is over the limit of ${maxBytes}`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw refuse("not valid UTF-8", error);
  }
  let value: unknown;
  try {
    scanDepth(text);
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw refuse(error instanceof Error ? error.message : "not valid JSON", error);
  }
  scanKeysAndNumbers(text);
  return value;
}

function refuse(message: string, cause?: unknown): Fault {
  return new Fault("core.json", `invalid JSON: ${message}`, { exit: "invalid", cause });
}

/** First, because `JSON.parse` recurses. */
function scanDepth(text: string): void {
  let depth = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/gsu)) {
    if (token === "{" || token === "[") depth += 1;
    else if (token === "}" || token === "]") depth -= 1;
    if (depth > MAX_JSON_DEPTH) throw refuse(`nested deeper than ${MAX_JSON_DEPTH}`);
  }
}

/** `text` is known to be valid JSON here, so a string followed by a colon is a key. */
function scanKeysAndNumbers(text: string): void {
  const open: (Set<string> | undefined)[] = [];
  for (const match of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*|[[\]{}]/gsu)) {
    const [token, string, colon] = match;
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (string === undefined) checkNumber(token, match.index);
    else if (colon !== undefined) {
      const key = JSON.parse(string) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) throw refuse(`key ${string} stands twice in one object, at offset ${match.index}`);
      keys?.add(key);
    }
  }
}

function checkNumber(token: string, offset: number): void {
  const value = Number(token);
  const integer = !/[.eE]/u.test(token);
  if (integer ? !Number.isSafeInteger(value) : !Number.isFinite(value)) {
    throw refuse(`number ${token.slice(0, 40)} at offset ${offset} is too large to be exact`);
  }
}
