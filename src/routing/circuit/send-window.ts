/** Least that may be on its way, whatever was measured: a frame of the largest size. */
const MIN_WINDOW_BYTES = 64 * 1024;
/** Before anything was measured. */
const FIRST_WINDOW_BYTES = 256 * 1024;
/** Most that one circuit has on its way, and so keeps to send again: 100 ms round trip at 320 Mbit/s, twice. */
export const MAX_WINDOW_BYTES = 8 * 1024 * 1024;
/** Of the rate × the shortest round trip; what is more only waits in queues on the way (BBR's gain, Cardwell et al. 2016). */
const GAIN = 2;
/** After so long the shortest round trip is measured anew, with little on the way: the way may have become longer. */
const SHORTEST_FOR_MS = 10_000;

type Sample = { offset: number; inFlight: number; atMs: number };

/**
 * How much may be on its way unacknowledged: twice what the way holds. What it holds follows from how long a byte takes that has so many before
 * it (Little's law); of each round trip the byte with the most before it counts.
 */
export class SendWindow {
  #bytes = FIRST_WINDOW_BYTES;
  #fullest: Sample | undefined;
  /** A byte with nothing before it. */
  #lone: Sample | undefined;
  #shortestMs = Number.POSITIVE_INFINITY;
  #shortestAtMs = 0;
  /** The window to go back to when the shortest round trip has been measured anew. */
  #before: number | undefined;

  /** Unacknowledged bytes that there may be. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Shortest round trip lately, acknowledgement and all, in milliseconds; `undefined` until there is one. */
  get rttMs(): number | undefined {
    return Number.isFinite(this.#shortestMs) ? this.#shortestMs : undefined;
  }

  /** All between the offsets was sent. */
  sent(from: number, offset: number, ackedOffset: number, nowMs: number): void {
    const sample = { offset, inFlight: offset - ackedOffset, atMs: nowMs };
    if (ackedOffset >= from) this.#lone ??= sample;
    if (sample.inFlight > (this.#fullest?.inFlight ?? 0)) this.#fullest = sample;
  }

  /** All up to `offset` was acknowledged. */
  acked(offset: number, nowMs: number): void {
    if (this.#lone !== undefined && offset >= this.#lone.offset) {
      this.#tookAtLeast(nowMs - this.#lone.atMs, nowMs);
      this.#lone = undefined;
    }
    const fullest = this.#fullest;
    if (fullest === undefined || offset < fullest.offset) return;
    this.#fullest = undefined;
    const tookMs = Math.max(0.1, nowMs - fullest.atMs);
    this.#tookAtLeast(tookMs, nowMs);
    if (this.#before !== undefined) {
      this.#bytes = this.#before;
      this.#before = undefined;
    } else if (nowMs - this.#shortestAtMs > SHORTEST_FOR_MS) {
      this.#before = this.#bytes;
      this.#bytes = MIN_WINDOW_BYTES;
      this.#shortestMs = Number.POSITIVE_INFINITY;
    } else {
      const held = fullest.inFlight * (this.#shortestMs / tookMs);
      const wanted = Math.max(GAIN * held, this.#bytes * 0.9); // shrinks slowly: who sends little needs little, for now
      this.#bytes = Math.min(MAX_WINDOW_BYTES, Math.max(MIN_WINDOW_BYTES, wanted));
    }
  }

  /** It goes another way from here on. */
  moved(): void {
    this.#lone = undefined;
    this.#fullest = undefined;
    this.#shortestMs = Number.POSITIVE_INFINITY;
  }

  #tookAtLeast(ms: number, nowMs: number): void {
    if (ms >= this.#shortestMs) return;
    this.#shortestMs = Math.max(0.1, ms);
    this.#shortestAtMs = nowMs;
  }
}
