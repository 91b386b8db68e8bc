import type { Clock } from "#core";

/** How much of a limit may be used at once, in seconds; more than the time between two decisions. */
const BURST_S = 0.25;
/** At least one large frame, so that thin limits do not cut frames. */
const MIN_BURST_BYTES = 256 * 1024;

/** Bytes that may pass now under a limit per second. May be overdrawn by what was decided at once; the debt is waited off. */
export class RateBudget {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #burst: number;
  #level: number;
  #atMs: number;

  /** `perSecond`: bytes; infinite without a limit. */
  constructor(clock: Clock, perSecond = Number.POSITIVE_INFINITY) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#burst = Math.max(MIN_BURST_BYTES, perSecond * BURST_S);
    this.#level = this.#burst;
    this.#atMs = clock.nowMs();
  }

  /** 0 while in debt. */
  available(): number {
    if (this.#perSecond === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
    const nowMs = this.#clock.nowMs();
    this.#level = Math.min(this.#burst, this.#level + ((nowMs - this.#atMs) / 1_000) * this.#perSecond);
    this.#atMs = nowMs;
    return Math.max(0, this.#level);
  }

  spend(bytes: number): void {
    if (this.#perSecond !== Number.POSITIVE_INFINITY) this.#level -= bytes;
  }
}
