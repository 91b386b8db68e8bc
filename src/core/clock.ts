import { Fault } from "./fault.ts";

/** Time as a dependency, so that a fleet can run on virtual time. */
export interface Clock {
  /** Monotonic milliseconds; only differences mean anything. Stops during suspend. */
  nowMs(): number;
  /** The machine's idea of Unix time in whole milliseconds; may be wrong and may jump. Decisions use trusted time instead. */
  wallMs(): number;
  /** Resolves after `ms`, or rejects with the signal's reason. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The machine's own clocks. The only place that touches `Date`, `performance` and `setTimeout`. */
export class SystemClock implements Clock {
  nowMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    for (let leftMs = ms; ; leftMs -= MAX_TIMEOUT_MS) {
      await pause(Math.min(leftMs, MAX_TIMEOUT_MS), signal);
      if (!(leftMs > MAX_TIMEOUT_MS)) return;
    }
  }
}

/** setTimeout fires at once when asked for more than 2^31 - 1 ms (24.8 days). */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(
      () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
      Math.max(0, ms),
    );
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

type Sleeper = { dueMs: number; wake: () => void };

/** A clock that moves only when told to. Sleepers wake in order of due time, then of arrival. */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #epochMs: number;
  /** In the order in which they wake. */
  readonly #sleepers: Sleeper[] = [];

  /** `epochMs`: what `wallMs()` says at the start. */
  constructor(epochMs = 1_800_000_000_000) {
    this.#epochMs = epochMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return Math.floor(this.#epochMs + this.#nowMs);
  }

  /** Moves the wall clock without moving monotonic time, as an operator or NTP would. */
  jumpWallMs(ms: number): void {
    this.#epochMs += ms;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const onAbort = (): void => {
        this.#sleepers.splice(this.#sleepers.indexOf(sleeper), 1);
        reject(signal?.reason);
      };
      const wake = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      const sleeper: Sleeper = { dueMs: this.#nowMs + Math.max(0, ms), wake };
      this.#sleepers.splice(this.#placeOf(sleeper.dueMs), 0, sleeper);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Behind all that wake at this time or before it. A large fleet has tens of thousands of sleepers. */
  #placeOf(dueMs: number): number {
    let [first, end] = [0, this.#sleepers.length];
    while (first < end) {
      const middle = (first + end) >>> 1;
      if ((this.#sleepers[middle] as Sleeper).dueMs <= dueMs) first = middle + 1;
      else end = middle;
    }
    return first;
  }

  /** Moves time forward, waking every sleeper on the way at its own due time. */
  async advanceMs(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await turn();
    for (let next = this.#sleepers[0]; next !== undefined && next.dueMs <= endMs; next = this.#sleepers[0]) {
      this.#nowMs = next.dueMs;
      this.#sleepers.shift();
      next.wake();
      await turn();
    }
    this.#nowMs = endMs;
  }
}

/** Lets what can run do so, until it sleeps again. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Without a reason of ours an abort makes an exception with a stack each time. */
const DONE = "done";

/**
 * Runs `work` with a signal that fires after `ms`, or when `parent` does. Every await that waits on the network goes
 * through here. Unlike `AbortSignal.any` on a long-lived parent, nothing stays attached to the parent afterwards.
 *
 * Throws Fault `core.deadline` when time ran out, whatever `work` threw because of it.
 */
export async function withDeadline<T>(
  clock: Clock,
  ms: number,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
  parent?: AbortSignal,
): Promise<T> {
  parent?.throwIfAborted();
  const controller = new AbortController();
  const timer = new AbortController();
  const onParent = (): void => controller.abort(parent?.reason);
  parent?.addEventListener("abort", onParent, { once: true });
  clock.sleep(ms, timer.signal).then(
    () => controller.abort(new Fault("core.deadline", `${what} did not finish within ${ms} ms`, { exit: "timeout" })),
    () => undefined, // the work was done first
  );
  try {
    const aborted = new Promise<never>((_, reject) => {
      controller.signal.addEventListener("abort", () => reject(controller.signal.reason), { once: true });
    });
    aborted.catch(() => undefined);
    return await Promise.race([work(controller.signal), aborted]);
  } finally {
    timer.abort(DONE);
    parent?.removeEventListener("abort", onParent);
  }
}
