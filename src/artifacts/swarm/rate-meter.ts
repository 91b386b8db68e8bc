/** Width of one measurement; short enough that a fast transfer is known as fast within its first second. */
const BUCKET_MS = 100;
/** Buckets kept: the rate is the best of the last two seconds, because a pause says nothing about the link. */
const BUCKETS = 20;

/** The rate a link has shown, in bytes per second: unless told otherwise the best 100 ms of the last 2 s. 0 until one is measured. */
export class RateMeter {
  readonly #bucketMs: number;
  readonly #buckets: number;
  readonly #rates: number[] = [];
  #best = 0;
  #startedMs = 0;
  #bytes = 0;

  constructor(bucketMs = BUCKET_MS, buckets = BUCKETS) {
    this.#bucketMs = bucketMs;
    this.#buckets = buckets;
  }

  add(bytes: number, nowMs: number): void {
    const passedMs = nowMs - this.#startedMs;
    if (passedMs >= this.#bucketMs) {
      if (this.#bytes > 0) this.#rates.push((this.#bytes / passedMs) * 1_000);
      if (this.#rates.length > this.#buckets) this.#rates.shift();
      this.#best = Math.max(0, ...this.#rates);
      this.#startedMs = nowMs;
      this.#bytes = 0;
    }
    this.#bytes += bytes;
  }

  bytesPerSecond(): number {
    return this.#best;
  }
}
