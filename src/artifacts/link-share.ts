import type { Clock } from "#core";
import { FLOOR_BURST_BYTES, floorOf, HOLD_MS } from "./rate-budget.ts";
import { RateMeter } from "./swarm/rate-meter.ts";

/** How long the background tries a rate before it looks what became of the foreground. */
const STRETCH_MS = 1_000;
/** The foreground is compared with its best of so many. */
const STRETCHES = 5;
/** Before a stretch was measured: half a megabit. */
const MIN_SHOWN_BPS = 62_500;
/** The background tries so much more each time, as long as the foreground keeps this part of its best; else it halves. */
const PROBE_GAIN = 1.25;
const KEPT_RATIO = 0.95;
const BACK_OFF = 0.5;

/**
 * Who may use a link of which nobody has said how fast it is. While the foreground moves bytes, the background starts with a little of what the
 * link has shown, and feels its way: faster while that takes nothing from the foreground, slower when the foreground gets less.
 */
export class LinkShare {
  readonly #clock: Clock;
  readonly #shown = new RateMeter(STRETCH_MS, STRETCHES);
  /** The foreground's last stretches, bytes per second. */
  #bests: number[] = [];
  #stretch = { startedMs: 0, bytes: 0 };
  /** What the background tries, and may send of it now. */
  #tryBps = 0;
  #level = 0;
  #atMs = 0;
  #heldUntilMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Bytes that may pass now; the foreground is never held back. */
  available(foreground: boolean): number {
    const nowMs = this.#clock.nowMs();
    if (foreground || nowMs >= this.#heldUntilMs) return Number.POSITIVE_INFINITY;
    this.#look(nowMs);
    return Math.max(0, this.#level);
  }

  spend(bytes: number, foreground: boolean): void {
    if (bytes === 0) return;
    const nowMs = this.#clock.nowMs();
    this.#shown.add(bytes, nowMs);
    if (!foreground) {
      this.#level -= bytes;
      return;
    }
    if (nowMs >= this.#heldUntilMs) this.#begin(nowMs);
    this.#look(nowMs);
    this.#stretch.bytes += bytes;
    // On a thin link, what was accepted at once keeps coming for long.
    const comesMs = this.#shown.bytesPerSecond() === 0 ? 0 : (bytes / this.#shownBps()) * 1_000;
    this.#heldUntilMs = Math.max(this.#heldUntilMs, nowMs + HOLD_MS + 2 * comesMs);
  }

  /** Nobody waits for anything any more. */
  ease(): void {
    this.#heldUntilMs = Number.NEGATIVE_INFINITY;
  }

  #begin(nowMs: number): void {
    this.#bests = [];
    this.#stretch = { startedMs: nowMs, bytes: 0 };
    this.#tryBps = this.#floorBps();
    this.#level = 0;
    this.#atMs = nowMs;
  }

  #look(nowMs: number): void {
    this.#level = Math.min(this.#burst(), this.#level + ((nowMs - this.#atMs) / 1_000) * this.#tryBps);
    this.#atMs = nowMs;
    const { startedMs, bytes } = this.#stretch;
    if (nowMs - startedMs < STRETCH_MS) return;
    const rate = (bytes / (nowMs - startedMs)) * 1_000;
    const kept = rate >= KEPT_RATIO * Math.max(0, ...this.#bests);
    this.#tryBps = Math.max(this.#floorBps(), this.#tryBps * (kept ? PROBE_GAIN : BACK_OFF));
    this.#bests = [...this.#bests, rate].slice(-STRETCHES);
    this.#stretch = { startedMs: nowMs, bytes: 0 };
  }

  #shownBps(): number {
    return Math.max(MIN_SHOWN_BPS, this.#shown.bytesPerSecond());
  }

  #floorBps(): number {
    return floorOf(this.#shownBps());
  }

  /** What was not used may be used later, but not for long: a tenth of a second. */
  #burst(): number {
    return Math.max(FLOOR_BURST_BYTES, this.#tryBps / 10);
  }
}
