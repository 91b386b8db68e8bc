import { Fault } from "#core";
import type { Session } from "./session.ts";

/** One dial for all who want the same peer. It ends when the last of them has given up. */
export class SharedDial {
  readonly #session: Promise<Session>;
  readonly #over = new AbortController();
  #waiting = 0;

  constructor(dial: (signal: AbortSignal) => Promise<Session>) {
    this.#session = dial(this.#over.signal);
    this.#session.catch(() => undefined); // also when nobody waits any more
  }

  join(signal: AbortSignal): Promise<Session> {
    this.#waiting += 1;
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        signal.removeEventListener("abort", onAbort);
        this.#waiting -= 1;
        if (this.#waiting === 0)
          this.#over.abort(new Fault("mesh.superfluous", "nobody wants this connection any more"));
      };
      const onAbort = (): void => {
        leave();
        reject(signal.reason);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#session.then(resolve, reject).finally(() => signal.aborted || leave());
    });
  }
}
