import type { Clock } from "#core";

/** How much of a limit may be used at once, in seconds; more than the time between two decisions. */
const BURST_S = 0.25;
/** At least one large frame, so that thin limits do not cut frames. */
const MIN_BURST_BYTES = 256 * 1024;
/** The foreground holds the background back for so long after its last byte: longer than a round trip, so that its own waits do not end it. */
export const HOLD_MS = 1_000;
/** Of the burst, what the background leaves to the foreground. Only what the foreground does not use comes to stand above that. */
const RESERVE_RATIO = 0.75;
/** What the background gets at any rate, so that it goes on; of thin links more, or who waits for its cells would take it for dead after 2 s. */
const FLOOR_RATIO = 0.05;
const FLOOR_BPS = 32 * 1024;
const MAX_FLOOR_RATIO = 0.25;
/** The background's own burst: a cell. */
export const FLOOR_BURST_BYTES = 64 * 1024;

/** Of so many bytes per second, what is the background's beside a foreground that could use all. */
export function floorOf(perSecond: number): number {
  return Math.max(FLOOR_RATIO * perSecond, Math.min(MAX_FLOOR_RATIO * perSecond, FLOOR_BPS));
}

/**
 * Bytes that may pass now under a limit per second. May be overdrawn by what was decided at once; the debt is waited off.
 *
 * The foreground takes what there is. While it moves bytes, the background gets what it leaves, and at least a twentieth of the limit.
 */
export class RateBudget {
  readonly #clock: Clock;
  #perSecond: number;
  #level: number;
  #floor = FLOOR_BURST_BYTES;
  #atMs: number;
  #heldUntilMs = Number.NEGATIVE_INFINITY;

  /** `perSecond`: bytes; infinite without a limit. */
  constructor(clock: Clock, perSecond = Number.POSITIVE_INFINITY) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#level = this.#burst();
    this.#atMs = clock.nowMs();
  }

  /** Another limit from now on. What is owed stays owed. */
  limit(perSecond = Number.POSITIVE_INFINITY): void {
    if (perSecond === this.#perSecond) return;
    this.#refill();
    this.#perSecond = perSecond;
    this.#level = Math.min(this.#burst(), this.#level);
  }

  /** 0 while in debt. */
  available(foreground: boolean): number {
    if (this.#perSecond === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
    this.#refill();
    if (foreground || !this.#held()) return Math.max(0, this.#level);
    return Math.max(0, this.#floor, this.#level - RESERVE_RATIO * this.#burst());
  }

  spend(bytes: number, foreground: boolean): void {
    if (bytes === 0 || this.#perSecond === Number.POSITIVE_INFINITY) return;
    this.#refill();
    this.#level -= bytes;
    if (foreground) this.hold();
    else this.#floor -= bytes;
  }

  /** The foreground is held up by this limit: without a word the background might take all of it each time, and the foreground never begin. */
  hold(): void {
    this.#refill();
    this.#heldUntilMs = this.#atMs + HOLD_MS;
  }

  /** Nobody waits for anything any more. */
  ease(): void {
    this.#heldUntilMs = Number.NEGATIVE_INFINITY;
  }

  #held(): boolean {
    return this.#atMs < this.#heldUntilMs;
  }

  #refill(): void {
    const nowMs = this.#clock.nowMs();
    const passedMs = nowMs - this.#atMs;
    if (passedMs <= 0) return; // 0 × ∞ is no number
    const gained = (passedMs * this.#perSecond) / 1_000;
    // In debt nobody can move, so that time says nothing about whether the foreground wants more.
    if (this.#held() && this.#level < 0)
      this.#heldUntilMs += Math.min(passedMs, (-this.#level / this.#perSecond) * 1_000);
    this.#atMs = nowMs;
    this.#level = Math.min(this.#burst(), this.#level + gained);
    const floor = this.#floor + (passedMs * floorOf(this.#perSecond)) / 1_000;
    this.#floor = this.#held() ? Math.min(FLOOR_BURST_BYTES, floor) : FLOOR_BURST_BYTES;
  }

  #burst(): number {
    return Math.max(MIN_BURST_BYTES, this.#perSecond * BURST_S);
  }
}
