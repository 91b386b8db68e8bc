import { RateMeter } from "./rate-meter.ts";
import { FIRST_WINDOW_BYTES, MAX_WINDOW_BYTES, WINDOW_S } from "./swarm-limits.ts";

/** How long the shortest round trip is believed. */
const RTT_EPOCH_MS = 5_000;

/** What is on the way over one link, and how much may be: the measured rate × (its shortest round trip + 50 ms). */
export class Flow {
  inFlightBytes = 0;
  readonly #meter = new RateMeter();
  #rttMs = Number.POSITIVE_INFINITY;
  #lastRttMs = Number.POSITIVE_INFINITY;
  #epochMs = 0;

  /** `rttMs`: from sending to acknowledgement, queues included. */
  acked(bytes: number, rttMs: number, nowMs: number): void {
    this.inFlightBytes -= bytes;
    this.#meter.add(bytes, nowMs);
    if (nowMs - this.#epochMs > RTT_EPOCH_MS) {
      this.#epochMs = nowMs;
      this.#lastRttMs = this.#rttMs;
      this.#rttMs = rttMs;
    }
    this.#rttMs = Math.min(this.#rttMs, rttMs);
  }

  bytesPerSecond(): number {
    return this.#meter.bytesPerSecond();
  }

  /** Bytes that may be on the way; at least `minBytes`. */
  windowBytes(minBytes: number): number {
    const rate = this.#meter.bytesPerSecond();
    if (rate === 0) return Math.max(minBytes, FIRST_WINDOW_BYTES);
    const rttS = Math.min(this.#rttMs, this.#lastRttMs) / 1_000;
    return Math.min(MAX_WINDOW_BYTES, Math.max(minBytes, rate * (WINDOW_S + rttS)));
  }
}
