import { type Clock, SystemClock } from "#core";

/** Real time that passes `factor` times as fast, for tests of what happens after seconds over real sockets. */
export class FastClock implements Clock {
  readonly #clock = new SystemClock();
  readonly #factor: number;

  constructor(factor: number) {
    this.#factor = factor;
  }

  nowMs(): number {
    return this.#clock.nowMs() * this.#factor;
  }
  wallMs(): number {
    return this.#clock.wallMs();
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#clock.sleep(ms / this.#factor, signal);
  }
}
