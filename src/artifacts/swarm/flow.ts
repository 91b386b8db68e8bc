import { MAX_WINDOW_BYTES } from "./swarm-limits.ts";

/** How long the shortest round trip is believed: a queue that stands for long must not pass for the path's own delay. */
const RTT_EPOCH_MS = 60_000;
/** A rate is measured over at least so long, however short the round trip: less is noise. */
const MIN_SAMPLE_MS = 20;
/** The best rate of so many stretches of this length in which something was acknowledged: a pause says nothing about the link. */
const STRETCH_MS = 100;
const STRETCHES = 20;

/** Faster than the rate it has shown, or it could never show a better one (BBR probes with the same). */
const PACE_GAIN = 1.25;
/** A link has shown what it can when its rate did not grow by this factor for so many round trips (BBR). */
const GROWTH = 1.25;
const FLAT_ROUNDS = 3;
/** So late may a sending be without losing its place. */
const PACE_CREDIT_MS = 20;

/** What a flow remembers of a moment of sending, to measure with when that is acknowledged. */
export type Mark = { atMs: number; deliveredBytes: number; deliveredAtMs: number };

/**
 * What is on the way over one link, and how much may be: the rate it has shown × (its shortest round trip + `aheadS`). A rate is what was acknowledged
 * between a sending and its own acknowledgement, over the time that took; so acknowledgements that come in a burst do not look
 * like a fast link (draft-cheng-iccrg-delivery-rate-estimation).
 */
export class Flow {
  inFlightBytes = 0;
  #deliveredBytes = 0;
  #deliveredAtMs = 0;
  #rttMs = Number.POSITIVE_INFINITY;
  #lastRttMs = Number.POSITIVE_INFINITY;
  #epochMs = 0;
  /** Bytes per millisecond, the newest stretch last. */
  readonly #rates: number[] = [];
  #stretchMs = Number.NEGATIVE_INFINITY;
  #rate = 0;
  #paceMs = 0;
  /** While it starts: what was delivered when this round trip began, round trips without growth, and the rate since when. */
  #start = { roundBytes: 0, flatRounds: 0, rate: 0 };
  readonly #aheadS: number;

  /** `aheadS`: what may be on the way beyond a round trip's worth, in seconds of the rate. */
  constructor(aheadS: number) {
    this.#aheadS = aheadS;
  }

  sent(bytes: number, nowMs: number): Mark {
    // After a pause, time runs from the sending on: nobody could have acknowledged anything before.
    if (this.inFlightBytes === 0) this.#deliveredAtMs = nowMs;
    this.inFlightBytes += bytes;
    return { atMs: nowMs, deliveredBytes: this.#deliveredBytes, deliveredAtMs: this.#deliveredAtMs };
  }

  /** `mark`: of when these bytes were sent. */
  acked(bytes: number, mark: Mark, nowMs: number): void {
    this.inFlightBytes -= bytes;
    this.#deliveredBytes += bytes;
    this.#deliveredAtMs = nowMs;
    this.noteRtt(nowMs - mark.atMs, nowMs);
    this.delivered(this.#deliveredBytes, nowMs - mark.atMs, nowMs);
    const tookMs = Math.max(MIN_SAMPLE_MS, nowMs - mark.deliveredAtMs);
    this.#noteRate((this.#deliveredBytes - mark.deliveredBytes) / tookMs, nowMs);
    if (this.#starts && mark.deliveredBytes >= this.#start.roundBytes) this.#nextRound();
  }

  get #starts(): boolean {
    return this.#start.flatRounds < FLAT_ROUNDS;
  }

  #nextRound(): void {
    const { flatRounds, rate } = this.#start;
    const grew = this.#rate >= GROWTH * rate;
    const roundBytes = this.#deliveredBytes;
    this.#start = { roundBytes, flatRounds: grew ? 0 : flatRounds + 1, rate: grew ? this.#rate : rate };
  }

  /** These bytes leave now; the next wait until `paceMs`. Only a flow that is asked for that has to know. */
  pace(bytes: number, nowMs: number): void {
    const rate = this.paceBytesPerMs(nowMs);
    if (rate > 0) this.#paceMs = Math.max(this.#paceMs, nowMs - PACE_CREDIT_MS) + bytes / rate;
  }

  /** How fast bytes may leave; 0: as they come, as long as it starts: its first rates are those of TCP's slow start, which paces by itself. */
  protected paceBytesPerMs(_nowMs: number): number {
    return this.#starts ? 0 : this.#rate * PACE_GAIN;
  }

  /** After every acknowledgement. `totalBytes`: all that was ever acknowledged. */
  protected delivered(_totalBytes: number, _rttMs: number, _nowMs: number): void {}

  /** Sent bytes of which nothing will be heard any more. */
  forget(bytes: number): void {
    this.inFlightBytes -= bytes;
  }

  /**
   * When the next bytes may leave so that they do not leave in a burst. Acknowledgements come in bursts where both ends send: they wait behind
   * what goes the other way; bursts that answer bursts leave a link idle half of the time.
   */
  get paceMs(): number {
    return this.#paceMs;
  }

  /** The best rate of late; 0 before one is known. */
  bytesPerSecond(): number {
    return this.#rate * 1_000;
  }

  /** Bytes that may be on the way; at least `minBytes`. */
  windowBytes(minBytes: number): number {
    if (this.#rate === 0) return minBytes;
    const rttMs = this.shortestRttMs;
    return Math.min(MAX_WINDOW_BYTES, Math.max(minBytes, this.#rate * (this.#aheadS * 1_000 + rttMs)));
  }

  protected get shortestRttMs(): number {
    return Math.min(this.#rttMs, this.#lastRttMs);
  }

  /** A round trip that took so long. */
  noteRtt(rttMs: number, nowMs: number): void {
    if (nowMs - this.#epochMs > RTT_EPOCH_MS) {
      this.#epochMs = nowMs;
      this.#lastRttMs = this.#rttMs;
      this.#rttMs = rttMs;
    }
    this.#rttMs = Math.min(this.#rttMs, rttMs);
  }

  #noteRate(rate: number, nowMs: number): void {
    if (nowMs - this.#stretchMs >= STRETCH_MS) {
      this.#stretchMs = nowMs;
      this.#rates.push(rate);
      if (this.#rates.length > STRETCHES) this.#rates.shift();
      this.#rate = Math.max(...this.#rates);
    } else if (rate > (this.#rates.at(-1) ?? 0)) {
      this.#rates[this.#rates.length - 1] = rate;
      this.#rate = Math.max(this.#rate, rate);
    }
  }
}
