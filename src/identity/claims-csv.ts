import { pipeline, Readable } from "node:stream";
import { CsvError, parse } from "csv-parse";
import { Fault } from "#core";
import { KINDS, type Spec } from "./kinds.ts";

/** One device that may join: a row of a ClaimList document. */
export type ClaimRow = Spec<"ClaimList">["rows"][number];

/** Rows of one file; their serials are kept while it is read, about 10 MiB. */
export const MAX_FILE_ROWS = 100_000;
/** Longest line: 32 labels of 126 characters and the other fields. */
const MAX_LINE_CHARS = 8_192;
const REQUIRED_COLUMNS = ["serial", "model", "key", "tenant", "labels", "expires"] as const;
const COLUMNS: readonly string[] = [...REQUIRED_COLUMNS, "site"];

type CsvLine = { record: string[]; info: { lines: number } };

/**
 * Reads `claims.csv`: `serial,model,key,tenant,labels,expires` in any order, and optionally `site`; only `serial` must have
 * a value. Row by row, so that a long file takes no more memory than its serials. Labels are `k=v;k=v`; `expires` is a date or time in ISO 8601. Windows line ends and a byte order mark are fine.
 *
 * Throws Fault `identity.claims` (invalid) with `details.line` and `details.column` (both as a person counts) for a missing or
 * unknown column, a duplicate serial, a bad value, over 100,000 rows, or no row at all; and whatever `source` throws.
 */
export async function* readClaims(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<ClaimRow, void, void> {
  const lines = parse({
    bom: true,
    info: true,
    trim: true,
    skip_empty_lines: true,
    relax_column_count: true,
    max_record_size: MAX_LINE_CHARS,
  });
  pipeline(Readable.from(source, { objectMode: false }), lines, () => undefined); // an error of the source reaches the loop below
  const lineOfSerial = new Map<string, number>();
  let columns: readonly string[] | undefined;
  try {
    for await (const { record, info } of lines as AsyncIterable<CsvLine>) {
      if (columns === undefined) {
        columns = readHeader(record);
        continue;
      }
      if (lineOfSerial.size >= MAX_FILE_ROWS)
        throw refuse(`more than ${MAX_FILE_ROWS} rows`, info.lines, undefined, SPLIT_FIX);
      const row = readRow(columns, record, info.lines);
      const before = lineOfSerial.get(row.serial);
      if (before !== undefined)
        throw refuse(`serial ${row.serial} stands in line ${before} already`, info.lines, "serial", ONCE_FIX);
      lineOfSerial.set(row.serial, info.lines);
      yield row;
    }
  } catch (error) {
    throw error instanceof CsvError ? csvFault(error) : error;
  }
  if (lineOfSerial.size === 0) throw refuse("no row with a device", 1, undefined, HEADER_FIX);
}

const HEADER_FIX = `The first line is: ${REQUIRED_COLUMNS.join(",")}. Each line after it is one device; only serial needs a value.`;
const SPLIT_FIX = "Split the file into several and admit each.";
const ONCE_FIX = "A device stands in the list once: remove one of the two lines.";

function readHeader(record: readonly string[]): string[] {
  const columns = record.map((name) => name.toLowerCase());
  for (const required of REQUIRED_COLUMNS) {
    if (!columns.includes(required)) throw refuse(`the column ${required} is missing`, 1, required, HEADER_FIX);
  }
  for (const [i, name] of columns.entries()) {
    if (!COLUMNS.includes(name))
      throw refuse(`there is no column "${name.slice(0, 40)}"`, 1, name.slice(0, 40), HEADER_FIX);
    if (columns.indexOf(name) !== i) throw refuse(`the column ${name} stands twice`, 1, name, HEADER_FIX);
  }
  return columns;
}

function readRow(columns: readonly string[], record: readonly string[], line: number): ClaimRow {
  if (record.length !== columns.length) {
    const fix = "Put quotation marks around a value that contains a comma.";
    throw refuse(`${record.length} values for ${columns.length} columns`, line, undefined, fix);
  }
  const row: Record<string, unknown> = {};
  for (const [i, column] of columns.entries()) {
    const value = record[i] ?? "";
    if (value !== "") row[column] = readValue(column, value, line);
  }
  const checked = KINDS.ClaimList.spec.safeParse({ rows: [row] });
  const [valid] = checked.data?.rows ?? [];
  if (valid !== undefined) return valid;
  const issue = checked.error?.issues[0];
  const column = String(issue?.path[2] ?? "serial");
  const fix =
    column === "key"
      ? "`portolan id` on the device prints the key hash: 64 hex digits; or leave it empty."
      : HEADER_FIX;
  throw refuse(`${column}: ${issue?.message ?? "unreadable"}`, line, column, fix);
}

function readValue(column: string, value: string, line: number): unknown {
  if (column === "key") return value.toLowerCase();
  if (column === "labels") return readLabels(value, line);
  if (column !== "expires") return value;
  const ms = /^\d{4}-\d\d-\d\d/u.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms)) {
    throw refuse(
      `expires: "${value.slice(0, 40)}" is not a date`,
      line,
      column,
      "Write 2026-12-31 or 2026-12-31T18:00:00Z.",
    );
  }
  return new Date(ms).toISOString();
}

function readLabels(value: string, line: number): Record<string, string> {
  const labels = new Map<string, string>();
  for (const term of value.split(";")) {
    const at = term.indexOf("=");
    const key = term.slice(0, at).trim();
    if (at <= 0 || labels.has(key)) {
      throw refuse(
        `labels: "${term.slice(0, 40)}" is not key=value, or its key stands twice`,
        line,
        "labels",
        "Write rack=r1;camera=yes.",
      );
    }
    labels.set(key, term.slice(at + 1).trim());
  }
  return Object.fromEntries(labels);
}

function csvFault(error: CsvError): Fault {
  const line = typeof error["lines"] === "number" ? error["lines"] : 1;
  return refuse(error.message, line, undefined, "Is the file CSV with commas, in UTF-8?", error);
}

function refuse(message: string, line: number, column: string | undefined, fix: string, cause?: unknown): Fault {
  const at = column === undefined ? `line ${line}` : `line ${line}, column ${column}`;
  return new Fault("identity.claims", `claims, ${at}: ${message}`, {
    exit: "invalid",
    fix,
    details: { line, column },
    cause,
  });
}
