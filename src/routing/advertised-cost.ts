/** What a change must be for others to hear of it, without a unit and as a share of what they know (design: cost and routes). */
const LEAST_CHANGE = 15;
const LEAST_SHARE = 0.1;
/** So many measurements in a row must say so. */
const HELD_FOR = 3;
/**
 * A better cost is told this seldom: who waits for it has a path meanwhile. A worse one is told as soon as it held. Probes lost while a machine was busy
 * are forgotten step by step for minutes: told every 10 s, an idle node with 10 neighbours sent and received 46 kbit/s.
 */
const BETTER_EVERY_MS = 120_000;

/**
 * The cost of one link as others are told it. They move traffic when they hear another one, so jitter is kept from them: a
 * change counts when it is large and holds, a worse cost at once, a better one only now and then. Pure but for what it remembers.
 */
export class AdvertisedCost {
  #told: number;
  #toldMs: number;
  #held = 0;
  #heldWorse = false;

  constructor(cost: number, nowMs: number) {
    this.#told = cost;
    this.#toldMs = nowMs;
  }

  /** One more measurement. Returns whether others are to hear of it. */
  measure(cost: number, nowMs: number): boolean {
    const change = cost - this.#told;
    const worse = change > 0;
    if (Math.abs(change) < Math.max(LEAST_CHANGE, LEAST_SHARE * this.#told)) {
      this.#held = 0;
      return false;
    }
    this.#held = worse === this.#heldWorse ? this.#held + 1 : 1;
    this.#heldWorse = worse;
    if (this.#held < HELD_FOR || (!worse && nowMs - this.#toldMs < BETTER_EVERY_MS)) return false;
    this.#told = cost;
    this.#toldMs = nowMs;
    this.#held = 0;
    return true;
  }
}
