/** Silence of all registrars after which a node counts itself cut off. A beacon comes every 10 s; one that restarts or is upgraded is not gone. */
export const OUT_OF_TOUCH_MS = 10 * 60_000;
/** How long after that ends members may still be autonomous: time to renew, for a whole site over one thin link. */
export const REUNION_MS = 15 * 60_000;

/**
 * Whether this node hears a registrar. While it hears none it goes by memberships that have ended, because nobody could have
 * renewed them; once it does, whoever is still a member can renew. All times are monotonic milliseconds.
 */
export class Contact {
  readonly #startMs: number;
  #touch: { sinceMs: number; lastMs: number } | undefined;

  constructor(nowMs: number) {
    this.#startMs = nowMs;
  }

  /** A registrar's beacon came, and its time was believed. */
  heard(nowMs: number): void {
    const sinceMs = this.#touch !== undefined && this.inTouch(nowMs) ? this.#touch.sinceMs : nowMs;
    this.#touch = { sinceMs, lastMs: nowMs };
  }

  inTouch(nowMs: number): boolean {
    return this.#touch !== undefined && nowMs - this.#touch.lastMs < OUT_OF_TOUCH_MS;
  }

  /** For how long no registrar was heard, or since the start of this run; `undefined` while one is. */
  aloneMs(nowMs: number): number | undefined {
    return this.inTouch(nowMs) ? undefined : nowMs - (this.#touch?.lastMs ?? this.#startMs);
  }

  /** Whether a membership that has ended is good enough just now. */
  admitsAutonomous(nowMs: number): boolean {
    return this.#touch === undefined || !this.inTouch(nowMs) || nowMs - this.#touch.sinceMs < REUNION_MS;
  }
}
