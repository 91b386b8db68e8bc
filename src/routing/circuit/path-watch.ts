/** How often the path under a circuit in use is asked for a sign of life, when nothing else comes. */
export const PING_MS = 150;
/** A path without user bytes for so long is asked less often. */
const IN_USE_MS = 10_000;
const IDLE_PING_MS = 5_000;
/** So many pings without any answer, and four round trips, make a path doubtful. */
const DOUBTFUL_PINGS = 3;
/** A flow that pauses for so long is asked about at once, though not again and again: a link that was reset shows it only to who sends. */
export const PAUSE_MS = 20;
const PAUSE_PING_MS = 100;
/** A check that comes so much late was held up by this process; nobody is blamed for that. */
const LATE_MS = 50;

/** What to do about a path now. `doubtful`: try another, but keep this one until there is. */
export type PathVerdict = { ping: boolean; doubtful: boolean };

/** Tells from what comes over a path whether it still leads anywhere. No I/O. */
export class PathWatch {
  #heardMs: number;
  #usedMs: number;
  #pingedMs = Number.NEGATIVE_INFINITY;
  #checkedMs: number;

  constructor(nowMs: number) {
    this.#heardMs = nowMs;
    this.#usedMs = nowMs;
    this.#checkedMs = nowMs;
  }

  /** Something came over the path. */
  heard(nowMs: number): void {
    this.#heardMs = nowMs;
  }

  /** A user's bytes went or came. */
  used(nowMs: number): void {
    this.#usedMs = nowMs;
  }

  /** To be called `PAUSE_MS` after something came: whether to ping, because nothing did since. */
  checkPause(nowMs: number): boolean {
    const ping = nowMs - this.#heardMs >= PAUSE_MS * 0.9 && nowMs - this.#pingedMs >= PAUSE_PING_MS;
    if (ping) this.#pingedMs = nowMs;
    return ping;
  }

  /** To be called every `PING_MS`. `waits`: the peer owes an acknowledgement. */
  check(nowMs: number, rttMs: number, waits: boolean): PathVerdict {
    const lateMs = nowMs - this.#checkedMs - PING_MS;
    if (lateMs > LATE_MS) this.#heardMs = Math.min(nowMs, this.#heardMs + lateMs);
    this.#checkedMs = nowMs;
    const everyMs = waits || nowMs - this.#usedMs < IN_USE_MS ? PING_MS : IDLE_PING_MS;
    const silentMs = nowMs - this.#heardMs;
    const ping = silentMs >= everyMs * 0.9 && nowMs - this.#pingedMs >= everyMs * 0.9;
    if (ping) this.#pingedMs = nowMs;
    return { ping, doubtful: silentMs > everyMs + DOUBTFUL_PINGS * PING_MS + 4 * rttMs };
  }
}
