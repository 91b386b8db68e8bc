import { errorMessage, Fault } from "./fault.ts";

/** Deepest nesting of objects and arrays in a document (protocols: documents). */
export const MAX_JSON_DEPTH = 16;

/**
 * Parses JSON from bytes that somebody else wrote. `JSON.parse` alone keeps the last of two equal keys and rounds large
 * integers without a word, so two readers could see two documents behind one signature; both are refused here. Takes time
 * linear in the input, whatever it holds.
 *
 * Throws Fault `core.json` (exit `invalid`), its message saying where, for: more than `maxBytes`, invalid UTF-8 or JSON, a
 * duplicate key, an integer beyond 2^53, a number beyond a double's range, half a surrogate pair, nesting deeper than 16.
 */
export function parseJson(bytes: Uint8Array, maxBytes: number): unknown {
  if (bytes.length > maxBytes) throw refuse(`${bytes.length} bytes is over the limit of ${maxBytes}`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw refuse("not valid UTF-8", error);
  }
  try {
    scan(text); // first, because JSON.parse recurses
    return JSON.parse(text);
  } catch (error) {
    throw error instanceof Fault ? error : refuse(errorMessage(error), error);
  }
}

function refuse(message: string, cause?: unknown): Fault {
  return new Fault("core.json", `invalid JSON: ${message}`, { exit: "invalid", cause });
}

/** The keys seen so far of every open object, outermost first; `undefined` for an array. */
type Open = (Set<unknown> | undefined)[];

/**
 * One pass over the tokens. Where the text is not JSON the answer does not matter, because `JSON.parse` refuses it next;
 * where it is, a string before a colon is a key.
 */
function scan(text: string): void {
  const open: Open = [];
  let at = 0;
  while (at < text.length) {
    const char = text.charAt(at);
    if (char === '"') {
      const end = endOfString(text, at);
      checkString(text, at, end, open);
      at = end;
    } else if (char === "-" || isDigit(char)) {
      const end = endOfNumber(text, at);
      checkNumber(text, at, end);
      at = end;
    } else {
      if (char === "{" || char === "[") open.push(char === "{" ? new Set() : undefined);
      else if (char === "}" || char === "]") open.pop();
      if (open.length > MAX_JSON_DEPTH) throw refuse(`nested deeper than ${MAX_JSON_DEPTH}`);
      at += 1;
    }
  }
}

const BACKSLASH = 0x5c;

/** The offset after the closing quote of the string that opens at `at`. */
function endOfString(text: string, at: number): number {
  for (let quote = text.indexOf('"', at + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1; // an odd one escapes the quote
  }
  return text.length;
}

function checkString(text: string, at: number, end: number, open: Open): void {
  const token = text.slice(at, end);
  const escaped = token.includes("\\");
  const key = isKey(text, end);
  if (!key && !escaped) return;
  const value: unknown = escaped ? JSON.parse(token) : token.slice(1, -1);
  if (typeof value !== "string" || !value.isWellFormed()) throw refuse(`half a surrogate pair at offset ${at}`);
  const keys = key ? open.at(-1) : undefined;
  if (keys?.has(value)) throw refuse(`key ${token.slice(0, 40)} stands twice in one object, at offset ${at}`);
  keys?.add(value);
}

/** Whether the next token after `at` is a colon. */
function isKey(text: string, at: number): boolean {
  let next = at;
  while (next < text.length && " \t\n\r".includes(text.charAt(next))) next += 1;
  return text.charAt(next) === ":";
}

function endOfNumber(text: string, at: number): number {
  let end = at + 1;
  while (end < text.length && (isDigit(text.charAt(end)) || ".eE+-".includes(text.charAt(end)))) end += 1;
  return end;
}

/** 15 digits are always exact, so that long arrays of small numbers cost nothing more. */
const EXACT_CHARS = 15;

function checkNumber(text: string, at: number, end: number): void {
  const token = text.slice(at, end);
  const integer = !/[.eE]/u.test(token);
  if (integer && token.length <= EXACT_CHARS) return;
  const value = Number(token);
  if (integer ? !Number.isSafeInteger(value) : !Number.isFinite(value)) {
    throw refuse(`number ${token.slice(0, 40)} at offset ${at} is too large to be exact`);
  }
}

function isDigit(char: string): boolean {
  return char >= "0" && char <= "9";
}
