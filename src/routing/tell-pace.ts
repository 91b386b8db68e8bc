/** Tellings that follow each other make the next one wait up to so many times as long. */
const MOST = 16;
/** So long after a telling, ms, the wait is halved, and again each time that this passes. */
const CALM_MS = 30_000;

/**
 * How much longer than usual what can wait has to wait: twice as long after each telling, and half as long again with calm. So a fleet whose nodes all
 * have something to tell all the time, as while it starts on a machine that is too small for it, still has time for anything else (RFC 8405
 * damps path choice this way). Times in milliseconds of one clock.
 */
export class TellPace {
  #factor = 0.5;
  #toldMs = Number.NEGATIVE_INFINITY;

  told(nowMs: number): void {
    this.#factor = Math.min(2 * this.#calmed(nowMs), MOST);
    this.#toldMs = nowMs;
  }

  /** The first time that may be told again what usually waits `everyMs` after anything was told. */
  nextMs(everyMs: number, nowMs: number): number {
    return this.#toldMs + everyMs * Math.max(1, this.#calmed(nowMs));
  }

  #calmed(nowMs: number): number {
    const halvings = Math.floor((nowMs - this.#toldMs) / CALM_MS);
    return Math.max(0.5, this.#factor * 0.5 ** halvings);
  }
}
