import { Fault } from "./fault.ts";

/** Time as a dependency, so that a fleet can run on virtual time. */
export interface Clock {
  /** Monotonic milliseconds; only differences mean anything. Stops during suspend. */
  nowMs(): number;
  /** The machine's idea of Unix time in milliseconds; may be wrong and may jump. Decisions use trusted time instead. */
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

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(signal?.reason as Error);
      };
      const timer = setTimeout(
        () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        },
        Math.min(ms, 2 ** 31 - 1), // setTimeout fires at once beyond 2^31-1
      );
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }
}

type Sleeper = { dueMs: number; order: number; wake: () => void };

/** A clock that moves only when told to. Sleepers wake in order of due time, then of arrival. */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #order = 0;
  #sleepers: Sleeper[] = [];
  #epochMs: number;

  /** `epochMs`: what `wallMs()` says at the start. */
  constructor(epochMs = 1_800_000_000_000) {
    this.#epochMs = epochMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#epochMs + this.#nowMs;
  }

  /** Moves the wall clock without moving monotonic time, as an operator or NTP would. */
  jumpWallMs(ms: number): void {
    this.#epochMs += ms;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#sleepers = this.#sleepers.filter((s) => s !== sleeper);
        reject(signal?.reason as Error);
      };
      const wake = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      const sleeper: Sleeper = { dueMs: this.#nowMs + ms, order: this.#order++, wake };
      this.#sleepers.push(sleeper);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Moves time forward, waking every sleeper on the way at its own due time. */
  async advanceMs(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (let next = this.#nextDue(endMs); next !== undefined; next = this.#nextDue(endMs)) {
      this.#nowMs = next.dueMs;
      this.#sleepers = this.#sleepers.filter((s) => s !== next);
      next.wake();
      await new Promise(setImmediate); // lets what was woken run, and fall asleep again
    }
    this.#nowMs = endMs;
  }

  #nextDue(endMs: number): Sleeper | undefined {
    let next: Sleeper | undefined;
    for (const s of this.#sleepers) {
      if (s.dueMs > endMs) continue;
      if (next === undefined || s.dueMs < next.dueMs || (s.dueMs === next.dueMs && s.order < next.order)) next = s;
    }
    return next;
  }
}

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
  const late = new Fault("core.deadline", `${what} did not finish within ${ms} ms`, { exit: "timeout" });
  const onParent = (): void => controller.abort(parent?.reason);
  parent?.addEventListener("abort", onParent, { once: true });
  clock.sleep(ms, timer.signal).then(
    () => controller.abort(late),
    () => undefined, // the work was done first
  );
  try {
    const aborted = new Promise<never>((_, reject) => {
      controller.signal.addEventListener("abort", () => reject(controller.signal.reason as Error), { once: true });
    });
    aborted.catch(() => undefined);
    return await Promise.race([work(controller.signal), aborted]);
  } finally {
    timer.abort();
    parent?.removeEventListener("abort", onParent);
  }
}
