/** A column: its heading and what stands in it. `wide` ones are shown on request only. */
export type Column<T> = { head: string; text: (item: T) => string; wide?: boolean };

/** Spaces between columns, as kubectl has them. */
const GAP = "   ";
/** A column is not cut below this, however narrow the terminal. */
const MIN_COLUMN_CHARS = 8;

/** Lays rows out under their headings: left-aligned, no borders, nothing behind the last column. */
export class Table<T> {
  readonly #columns: readonly Column<T>[];
  #widths: number[];
  readonly #maxChars: number;

  /** `maxChars`: of one line; the widest columns are cut to fit. `Infinity` where a program reads it. */
  constructor(columns: readonly Column<T>[], items: readonly T[], maxChars: number) {
    this.#columns = columns;
    this.#maxChars = maxChars;
    const rows = items.map((item) => columns.map((column) => cell(column, item)));
    this.#widths = columns.map(({ head }, i) => Math.max(head.length, ...rows.map((row) => row[i]?.length ?? 0)));
    this.#fit();
  }

  head(): string {
    return this.#line(this.#columns.map(({ head }) => head));
  }

  row(item: T): string {
    return this.#line(this.#columns.map((column) => cell(column, item)));
  }

  #line(cells: readonly string[]): string {
    return cells
      .map((text, i) => cut(text, this.#widths[i] ?? 0, this.#maxChars).padEnd(this.#widths[i] ?? 0))
      .join(GAP)
      .trimEnd();
  }

  #fit(): void {
    const total = (): number => this.#widths.reduce((sum, width) => sum + width + GAP.length, -GAP.length);
    while (total() > this.#maxChars) {
      const widest = Math.max(...this.#widths);
      if (widest <= MIN_COLUMN_CHARS) return; // then lines wrap, but nothing is lost
      this.#widths[this.#widths.indexOf(widest)] = Math.max(MIN_COLUMN_CHARS, widest - (total() - this.#maxChars));
    }
  }
}

function cell<T>(column: Column<T>, item: T): string {
  const text = printable(column.text(item));
  return text === "" ? "-" : text;
}

function cut(text: string, width: number, maxChars: number): string {
  return maxChars === Number.POSITIVE_INFINITY || text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}

/** Text of others without what could steer a terminal (control and bidirectional characters). */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029\u202A-\u202E\u2066-\u2069]/gu, "�");
}
