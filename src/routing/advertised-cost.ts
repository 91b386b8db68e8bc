/** What a change must be for others to hear of it, without a unit and as a share of what they know (design: cost and routes). */
const LEAST_CHANGE = 15;
const LEAST_SHARE = 0.1;
/** So many measurements in a row must say so. */
const HELD_FOR = 3;

/**
 * The cost of one link as others are told it. They move traffic when they hear another one, so jitter is kept from them: a
 * change counts when it is large and holds. Pure but for what it remembers.
 */
export class AdvertisedCost {
  #told: number;
  #latest: number;
  #held = 0;
  #heldWorse = false;

  constructor(cost: number) {
    this.#told = cost;
    this.#latest = cost;
  }

  /** One more measurement. */
  measure(cost: number): void {
    this.#latest = cost;
    const change = cost - this.#told;
    if (Math.abs(change) < Math.max(LEAST_CHANGE, LEAST_SHARE * this.#told)) {
      this.#held = 0;
      return;
    }
    const worse = change > 0;
    this.#held = worse === this.#heldWorse ? this.#held + 1 : 1;
    this.#heldWorse = worse;
  }

  /** In which direction it changed from what others know; `undefined` if it did not, as far as is to be told. */
  get change(): "worse" | "better" | undefined {
    if (this.#held < HELD_FOR) return undefined;
    return this.#heldWorse ? "worse" : "better";
  }

  /** Others are told what was measured last. */
  tell(): void {
    this.#told = this.#latest;
    this.#held = 0;
  }
}
