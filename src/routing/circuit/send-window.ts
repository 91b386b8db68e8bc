/** Least that may be on its way: some frames, however short the round trip. */
const MIN_WINDOW_BYTES = 256 * 1024;
/** Most that one circuit has on its way, and so keeps to send again: 100 ms round trip at 320 Mbit/s, twice. */
export const MAX_WINDOW_BYTES = 8 * 1024 * 1024;
/** Of the rate × the shortest round trip; what is more only waits in queues on the way (BBR's gain, Cardwell et al. 2016 §4.2.3.1). */
const GAIN = 2;
/** A shorter round trip than this long ago counts no more: the way may have become longer. */
const SHORTEST_FOR_MS = 10_000;

/** How much may be on its way unacknowledged: twice what the way holds, as measured. One measurement at a time, a round trip long. */
export class SendWindow {
  #bytes = MIN_WINDOW_BYTES;
  #sample: { untilOffset: number; ackedOffset: number; atMs: number } | undefined;
  #shortestMs = Number.POSITIVE_INFINITY;
  #shortestAtMs = 0;

  /** Unacknowledged bytes that there may be. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Shortest round trip lately, acknowledgement and all, in milliseconds; `undefined` until there is one. */
  get rttMs(): number | undefined {
    return Number.isFinite(this.#shortestMs) ? this.#shortestMs : undefined;
  }

  /** All up to `offset` was sent. */
  sent(offset: number, ackedOffset: number, nowMs: number): void {
    this.#sample ??= { untilOffset: offset, ackedOffset, atMs: nowMs };
  }

  /** All up to `offset` was acknowledged. */
  acked(offset: number, nowMs: number): void {
    const sample = this.#sample;
    if (sample === undefined || offset < sample.untilOffset) return;
    this.#sample = undefined;
    const tookMs = Math.max(0.1, nowMs - sample.atMs);
    if (tookMs < this.#shortestMs || nowMs - this.#shortestAtMs > SHORTEST_FOR_MS) {
      this.#shortestMs = tookMs;
      this.#shortestAtMs = nowMs;
    }
    const held = (offset - sample.ackedOffset) * (this.#shortestMs / tookMs);
    const wanted = Math.max(GAIN * held, this.#bytes * 0.9); // shrinks slowly: who sends little needs little, for now
    this.#bytes = Math.min(MAX_WINDOW_BYTES, Math.max(MIN_WINDOW_BYTES, wanted));
  }

  /** It goes another way from here on. */
  moved(): void {
    this.#sample = undefined;
    this.#shortestMs = Number.POSITIVE_INFINITY;
  }
}
