import type { Clock } from "./clock.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Structured log: a constant message, and what varies in named fields. Secrets have no type that fits a field. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log with these fields on every line. */
  with(fields: LogFields): Log;
}

const ORDER: readonly LogLevel[] = ["debug", "info", "warn", "error"];
/** Longest value of one field; what a peer sent must not fill the disk. */
const MAX_FIELD_CHARS = 400;

/** Writes one line per entry to `write`: `2026-11-21T17:51:16.000Z info  node admitted node=cam-7 site=berlin`. */
export function createLog(clock: Clock, write: (line: string) => void, minimum: LogLevel, fixed: LogFields = {}): Log {
  const emit =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}): void => {
      if (ORDER.indexOf(level) < ORDER.indexOf(minimum)) return;
      const time = new Date(clock.wallMs()).toISOString();
      const tail = Object.entries({ ...fixed, ...fields })
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => ` ${name}=${quote(String(value))}`)
        .join("");
      write(`${time} ${level.padEnd(5)} ${escapeControls(message)}${tail}\n`);
    };
  return {
    debug: emit("debug"),
    info: emit("info"),
    warn: emit("warn"),
    error: emit("error"),
    with: (fields) => createLog(clock, write, minimum, { ...fixed, ...fields }),
  };
}

/** A log that says nothing, for parts that are tested alone. */
export const SILENT_LOG: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => SILENT_LOG,
};

function quote(value: string): string {
  const cut = value.length > MAX_FIELD_CHARS ? `${value.slice(0, MAX_FIELD_CHARS)}…` : value;
  return /^[\w.:/@+,-]+$/u.test(cut) ? cut : escapeControls(JSON.stringify(cut));
}

/** What could break a line, drive a terminal, or turn text around when a person reads it, is written as an escape. */
function escapeControls(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}
