import type { CircuitPath } from "./order-paths.ts";

/** A live circuit moves for a gain of at least this, and of at least a fifth: less is not worth what is sent twice. */
const MIN_GAIN = 15;
const MIN_GAIN_SHARE = 0.2;
/** And when the gain has been there for so long. */
export const HOLD_GAIN_MS = 5_000;

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
    const isBetter = isOther && gain >= Math.max(MIN_GAIN, MIN_GAIN_SHARE * (current.cost ?? 0));
    if (!isBetter || key !== this.#path) {
      this.#path = isBetter ? key : "";
      this.#sinceMs = nowMs;
      return false;
    }
    return nowMs - this.#sinceMs >= HOLD_GAIN_MS;
  }
}
