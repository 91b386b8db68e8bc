import type { CircuitPath } from "./order-paths.ts";

/**
 * A live circuit moves for a gain of at least this, that of 15 ms: less is not worth what is sent twice. Not for a share of what its path costs: over the
 * borders of two sites that is 640 for money alone, and a link whose round trip doubled would keep it.
 */
const MIN_GAIN = 20;
/** And when the gain has been there for so long, so that news of one event is together; costs of links are damped before (AdvertisedCost). */
export const HOLD_GAIN_MS = 1_000;

/** Says when a circuit that works should go another way. No I/O. */
export class BetterPath {
  #path = "";
  #sinceMs = 0;

  /** The cost of the path in use is `undefined` when a link of it is told of no more: then nothing is waited for. */
  isDue(
    best: { path: CircuitPath; cost: number },
    current: { path: CircuitPath; cost: number | undefined },
    nowMs: number,
  ): boolean {
    const key = best.path.join();
    const isOther = key !== current.path.join();
    if (isOther && current.cost === undefined) return true;
    const gain = (current.cost ?? 0) - best.cost;
    const isBetter = isOther && gain >= MIN_GAIN;
    if (!isBetter || key !== this.#path) {
      this.#path = isBetter ? key : "";
      this.#sinceMs = nowMs;
      return false;
    }
    return nowMs - this.#sinceMs >= HOLD_GAIN_MS;
  }
}
