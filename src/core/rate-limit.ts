import type { Clock } from "./clock.ts";

/** A token bucket: at most `burst` at once and `perSecond` over time. Units are the caller's (requests, bytes). */
export class RateLimit {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #burst: number;
  #level: number;
  #atMs: number;

  constructor(clock: Clock, perSecond: number, burst: number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#level = burst;
    this.#atMs = clock.nowMs();
  }

  /** Takes `amount` if it is there; takes nothing otherwise. */
  take(amount = 1): boolean {
    this.#fill();
    if (!(amount <= this.#level)) return false; // also for NaN
    this.#level -= amount;
    return true;
  }

  /** Whole milliseconds until `take(amount)` can succeed, so that sleeping them always moves time; `Infinity` when `amount` is over the burst. */
  waitMs(amount = 1): number {
    if (amount > this.#burst) return Number.POSITIVE_INFINITY;
    this.#fill();
    return this.#level >= amount ? 0 : Math.ceil(((amount - this.#level) / this.#perSecond) * 1_000);
  }

  #fill(): void {
    const nowMs = this.#clock.nowMs();
    this.#level = Math.min(this.#burst, this.#level + ((nowMs - this.#atMs) / 1_000) * this.#perSecond);
    this.#atMs = nowMs;
  }
}
