type Waiter = { resolve: () => void; reject: (reason: unknown) => void };

/** Those who wait for the same thing, each until it happens, fails, or the waiter's own signal fires. */
export class Waiters {
  readonly #waiting = new Set<Waiter>();

  /** Rejects with the signal's reason when that fires first; at once when it has. */
  wait(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const settle = (done: () => void): void => {
      signal?.removeEventListener("abort", onAbort);
      this.#waiting.delete(waiter);
      done();
    };
    const onAbort = (): void => settle(() => reject(signal?.reason));
    const waiter = { resolve: () => settle(resolve), reject: (reason: unknown) => settle(() => reject(reason)) };
    this.#waiting.add(waiter);
    signal?.addEventListener("abort", onAbort, { once: true });
    return promise;
  }

  /** It happened. */
  resolve(): void {
    for (const waiter of this.#waiting) waiter.resolve();
  }

  /** It will not happen any more. */
  reject(reason: Error): void {
    for (const waiter of this.#waiting) waiter.reject(reason);
  }
}
