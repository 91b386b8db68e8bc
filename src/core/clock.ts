import { Fault } from "./fault.ts";
import { MinHeap } from "./heap.ts";

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

/** `wake`: undefined when its signal ended it. */
type Sleeper = { wake: (() => void) | undefined };

/**
 * What can run between two moments of virtual time: all that waits for promises only, or also what waits for the event loop, as files, sockets and
 * `setImmediate` do, which takes much longer.
 */
export type Turns = "promises" | "events";

/** A clock that moves only when told to. Sleepers wake in order of due time, then of arrival. */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #epochMs: number;
  readonly #turn: (then: () => void) => void;
  /** When somebody wakes, each time once; and who does, in order. A large fleet has tens of thousands of sleepers, and gives most of them up early. */
  readonly #times = new MinHeap();
  readonly #sleepers = new Map<number, Sleeper[]>();

  /** `epochMs`: what `wallMs()` says at the start. */
  constructor(epochMs = 1_800_000_000_000, turns: Turns = "events") {
    this.#epochMs = epochMs;
    this.#turn = turns === "events" ? setImmediate : afterPromises;
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
      const sleeper: Sleeper = { wake: resolve };
      this.#add(this.#nowMs + Math.max(0, ms), sleeper);
      if (signal === undefined) return;
      const onAbort = (): void => {
        sleeper.wake = undefined;
        reject(signal.reason);
      };
      sleeper.wake = () => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      };
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  #add(dueMs: number, sleeper: Sleeper): void {
    const others = this.#sleepers.get(dueMs);
    if (others !== undefined) return void others.push(sleeper);
    this.#sleepers.set(dueMs, [sleeper]);
    this.#times.push(dueMs, 0);
  }

  /** Moves time forward, waking every sleeper on the way at its own due time. */
  advanceMs(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    return new Promise((resolve) => {
      const step = (): void => {
        const wake = this.#next(endMs);
        if (wake !== undefined) {
          wake();
          this.#turn(step);
          return;
        }
        this.#nowMs = endMs;
        resolve();
      };
      setImmediate(step);
    });
  }

  /** Takes the next sleeper out, and goes to its due time; `undefined`: nobody wakes until `endMs`. */
  #next(endMs: number): Sleeper["wake"] {
    for (let dueMs = this.#times.least; dueMs !== undefined && dueMs <= endMs; dueMs = this.#times.least) {
      const due = this.#sleepers.get(dueMs) ?? [];
      for (let sleeper = due.shift(); sleeper !== undefined; sleeper = due.shift()) {
        if (sleeper.wake === undefined) continue;
        this.#nowMs = dueMs;
        return sleeper.wake;
      }
      this.#sleepers.delete(dueMs);
      this.#times.pop();
    }
    return undefined;
  }
}

/** Calls when no promise has anything left to call. A tick that is asked for by one runs then; one that is asked for by a tick runs before all of them. */
function afterPromises(then: () => void): void {
  queueMicrotask(() => process.nextTick(then));
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
