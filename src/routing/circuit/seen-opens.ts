import { type Open, OPEN_LIFETIME_MS } from "./circuit-open.ts";

/** Openings remembered: as many as a busy gateway sees in their lifetime. Beyond, the oldest are forgotten. */
const MAX_SEEN = 8_192;

/** Openings that were used up: each is good once. */
export class SeenOpens {
  readonly #untilMs = new Map<string, number>();

  /** Whether this is the first time. */
  isFirst({ circuit, source, epoch }: Open, nowMs: number): boolean {
    const name = `${source} ${Buffer.from(circuit).toString("hex")} ${epoch}`;
    if ((this.#untilMs.get(name) ?? 0) > nowMs) return false;
    this.#untilMs.set(name, nowMs + 2 * OPEN_LIFETIME_MS);
    for (const [oldest, untilMs] of this.#untilMs) {
      if (untilMs > nowMs && this.#untilMs.size <= MAX_SEEN) break;
      this.#untilMs.delete(oldest);
    }
    return true;
  }
}
