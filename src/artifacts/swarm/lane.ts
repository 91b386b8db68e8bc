import { Flow, type Mark } from "./flow.ts";

/** The rate that an uplink sustains is measured over so long, from readings this far apart; both count only while something is on the way. */
const SUSTAINED_MS = 500;
const READING_MS = 50;
/** What is left of an old rate with each reading, should the link have become slower. */
const DECAY = 0.995;
/** The queue of the uplink shows in the fastest acknowledgements of so long. */
const QUEUE_WINDOW_MS = 150;
/** More than this, beyond the shortest round trip, is a queue of my own: drain it; less: try for more. */
const QUEUE_MS = 20;
const DRAIN_GAIN = 0.95;
const PROBE_GAIN = 1.2;

/**
 * My uplink into the site, which all receivers share. Its window alone cannot keep its queue short: much of what is unacknowledged waits at
 * receivers who are sent to from all sides. So it is paced at the rate that it sustains: a switch port or an access router holds 20 to 40 ms, and
 * what is more is dropped.
 *
 * Time in which nothing is on the way says nothing about the uplink, whether a limit, want of chunks or the pace itself held the next bytes back:
 * were it counted, a lane that a limit kept thin for a while would pace itself at that when the limit is gone, and never find out.
 */
export class Lane extends Flow {
  /** `busyMs`: of the time in which something was on the way. */
  readonly #readings: { busyMs: number; totalBytes: number }[] = [];
  #busyMs = 0;
  #busySinceMs = 0;
  /** Round trips that none since was shorter than, so that the first is the shortest. */
  readonly #rtts: { atMs: number; rttMs: number }[] = [];
  /** Bytes per millisecond; 0 before it is known. */
  #sustained = 0;

  override sent(bytes: number, nowMs: number): Mark {
    if (this.inFlightBytes === 0) this.#busySinceMs = nowMs;
    return super.sent(bytes, nowMs);
  }

  protected override paceBytesPerMs(nowMs: number): number {
    while (this.#rtts[0] !== undefined && nowMs - this.#rtts[0].atMs > QUEUE_WINDOW_MS) this.#rtts.shift();
    const queueMs = (this.#rtts[0]?.rttMs ?? Number.POSITIVE_INFINITY) - this.shortestRttMs;
    return this.#sustained * (queueMs < QUEUE_MS ? PROBE_GAIN : DRAIN_GAIN);
  }

  protected override delivered(totalBytes: number, rttMs: number, nowMs: number): void {
    this.#noteQueue(rttMs, nowMs);
    this.#busyMs += nowMs - this.#busySinceMs;
    this.#busySinceMs = nowMs;
    const busyMs = this.#busyMs;
    const last = this.#readings.at(-1);
    if (last !== undefined && busyMs - last.busyMs < READING_MS) return;
    this.#readings.push({ busyMs, totalBytes });
    while ((this.#readings[1]?.busyMs ?? busyMs) <= busyMs - SUSTAINED_MS) this.#readings.shift();
    const first = this.#readings[0];
    if (first === undefined || busyMs - first.busyMs < SUSTAINED_MS) return;
    this.#sustained = Math.max((totalBytes - first.totalBytes) / (busyMs - first.busyMs), this.#sustained * DECAY);
  }

  #noteQueue(rttMs: number, nowMs: number): void {
    while ((this.#rtts.at(-1)?.rttMs ?? Number.NEGATIVE_INFINITY) >= rttMs) this.#rtts.pop();
    this.#rtts.push({ atMs: nowMs, rttMs });
  }
}
