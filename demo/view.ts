import type { Clock } from "#core";
import type { Progress } from "./distribution.ts";
import { formatBytes } from "./units.ts";

/** What the view writes to: standard error, or a test's own. */
export type Screen = { write(text: string): void; isTTY: boolean };

/** So that a line has fewer than 80 columns: one that wraps could not be redrawn in place. */
const BAR_CELLS = 16;
/** More bars than this may be more than the terminal has lines. */
const MAX_BARS = 20;
/** Without a terminal, one line this often. */
const LINE_MS = 2_000;

/** Shows a run as it goes: a line per step, and for the transfer a bar per node, redrawn in place on a terminal. */
export class View {
  readonly #clock: Clock;
  readonly #screen: Screen;
  readonly #startMs: number;
  #drawnLines = 0;
  #lineAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, screen: Screen) {
    this.#clock = clock;
    this.#screen = screen;
    this.#startMs = clock.nowMs();
  }

  /** Something begins. */
  step(text: string): void {
    this.#drawnLines = 0;
    this.#screen.write(`${this.#elapsed()}  ${text}\n`);
  }

  /** How far each node is. */
  progress(progress: readonly Progress[]): void {
    if (this.#screen.isTTY && progress.length <= MAX_BARS) this.#redraw(progress.map(barLine));
    else if (this.#clock.nowMs() - this.#lineAtMs >= LINE_MS) {
      this.#lineAtMs = this.#clock.nowMs();
      this.#screen.write(`${this.#elapsed()}  ${progress.map(shortText).join("  ")}\n`);
    }
  }

  #redraw(lines: readonly string[]): void {
    const up = this.#drawnLines > 0 ? `\u001B[${this.#drawnLines}A` : "";
    this.#screen.write(up + lines.map((line) => `\u001B[2K${line}\n`).join(""));
    this.#drawnLines = lines.length;
  }

  #elapsed(): string {
    return `${((this.#clock.nowMs() - this.#startMs) / 1_000).toFixed(1).padStart(6)} s`;
  }
}

function shortText({ node, detail }: Progress): string {
  return `${node} ${detail === undefined ? "–" : percent(detail)} %`;
}

function barLine({ node, detail }: Progress): string {
  const name = node.padEnd(14);
  if (detail === undefined) return `  ${name} has not heard of it`;
  const { local, sizeBytes } = detail;
  const full = Math.floor((BAR_CELLS * local.bytes) / sizeBytes);
  const bar = "█".repeat(full) + "░".repeat(BAR_CELLS - full);
  const from = `site ${formatBytes(local.bytesFromSite)}, WAN ${formatBytes(local.bytesFromWan)}`;
  return `  ${name} ${bar} ${String(percent(detail)).padStart(3)} %  ${local.wanted ? from : "publisher"}`;
}

function percent({ local, sizeBytes }: NonNullable<Progress["detail"]>): number {
  return Math.floor((100 * local.bytes) / sizeBytes);
}
