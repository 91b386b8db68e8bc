import { Fault } from "#core";
import type { TextSink } from "./io.ts";
import { printable, Table } from "./table.ts";

/** What `-o` takes. */
export const FORMATS = ["table", "wide", "json", "yaml", "name"] as const;
/** One of them. */
export type Format = (typeof FORMATS)[number];

/** Reads `-o`. Throws Fault `cli.format` (exit `invalid`). */
export function parseFormat(text: string): Format {
  const format = FORMATS.find((known) => known === text);
  if (format !== undefined) return format;
  throw new Fault("cli.format", `there is no output format "${text.slice(0, 40)}"`, {
    exit: "invalid",
    fix: `Formats: ${FORMATS.join(", ")}.`,
  });
}

/** Characters of one line: those of the terminal, without limit where a program reads. */
export function lineChars(sink: TextSink): number {
  return sink.isTTY === true && sink.columns !== undefined && sink.columns > 0
    ? sink.columns
    : Number.POSITIVE_INFINITY;
}

/** The value as JSON or YAML, with a line end. */
export async function serialise(value: unknown, format: "json" | "yaml"): Promise<string> {
  if (format === "json") return `${JSON.stringify(value, undefined, 2)}\n`;
  const { stringify } = await import("yaml");
  return stringify(value, { aliasDuplicateObjects: false });
}

/** An object for people: `Label:   value` lines, lists of objects as tables below their label. */
export function describe(value: Readonly<Record<string, unknown>>, indent = ""): string {
  const entries = Object.entries(value).filter(([, part]) => part !== undefined && !isEmpty(part));
  const width = Math.max(0, ...entries.filter(([, part]) => !isNested(part)).map(([key]) => labelOf(key).length)) + 1;
  return entries.map(([key, part]) => describePart(labelOf(key), part, width, indent)).join("");
}

function describePart(label: string, part: unknown, width: number, indent: string): string {
  if (Array.isArray(part) && part.every(isRecord)) {
    const said = part.flatMap((row) => Object.keys(row).filter((key) => !isEmpty(row[key])));
    const columns = [...new Set(part.flatMap((row) => Object.keys(row)))].filter((key) => said.includes(key));
    const table = new Table<Record<string, unknown>>(
      columns.map((key) => ({ head: labelOf(key).toUpperCase(), text: (row) => scalar(row[key]) })),
      part,
      Number.POSITIVE_INFINITY,
    );
    const lines = [table.head(), ...part.map((row) => table.row(row))];
    return `${indent}${label}:\n${lines.map((line) => `${indent}  ${line}\n`).join("")}`;
  }
  if (isRecord(part)) return `${indent}${label}:\n${describe(part, `${indent}  `)}`;
  return `${indent}${`${label}:`.padEnd(width)}  ${printable(scalar(part))}\n`;
}

/** `bytesFromWan` → `Bytes from wan`. */
function labelOf(key: string): string {
  const words = key.replaceAll(/([a-z0-9])([A-Z])/gu, "$1 $2").toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function scalar(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value;
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value.join(", ");
  if (isRecord(value))
    return Object.entries(value)
      .map(([key, one]) => `${key}=${scalar(one)}`)
      .join(",");
  return JSON.stringify(value);
}

function isNested(part: unknown): boolean {
  return isRecord(part) || (Array.isArray(part) && part.some(isRecord));
}

function isEmpty(part: unknown): boolean {
  return (Array.isArray(part) && part.length === 0) || (isRecord(part) && Object.keys(part).length === 0);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
