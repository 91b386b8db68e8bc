import { type Clock, errorMessage, Fault, type Log } from "#core";
import type { NodeId } from "#identity";
import type { LazyDht } from "#mesh";

/** Provider records live 48 h in kad-dht; telling again well before keeps them. */
const REPEAT_MS = 12 * 3_600_000;
/** An announcement that reached nobody, as at the very start, is tried again: soon at first, then less often. */
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;
/** Keys announced by one node; more are not. */
const MAX_QUEUED = 4_096;

type Deps = {
  clock: Clock;
  log: Log;
  dht: Pick<LazyDht, "open">;
  /** False while there is nobody whom it could tell of, or be told by: asked and announced is when that changes. */
  needed: () => boolean;
  /** The first announcement waits so long, ms: what was just begun needs the processor more. */
  announceAfterMs: number;
};

/**
 * Who has which blob, or publishes which service, by the fleet's DHT: for those whom no neighbour can tell. Keys are 32 bytes in hex. It opens when
 * the first one is announced or looked for, because filling its tables takes seconds of the processor.
 */
export class ProviderIndex implements AsyncDisposable {
  readonly #deps: Deps;
  readonly #queue = new Map<string, { dueMs: number; retryMs: number }>(); // by key; monotonic
  readonly #stop = new AbortController();
  #working: Promise<void> | undefined;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** Says that this node has, or is getting, what goes by a key; again every 12 h while it runs. */
  announce(key: string): void {
    if (this.#stop.signal.aborted || (this.#queue.size >= MAX_QUEUED && !this.#queue.has(key))) return;
    this.#queue.set(key, { dueMs: this.#deps.clock.nowMs(), retryMs: FIRST_RETRY_MS });
    this.#working ??= this.#work();
  }

  /** Says so no more. What was said is forgotten within two days; until then who asks here is told better. */
  withdraw(key: string): void {
    this.#queue.delete(key);
  }

  /** Nodes that said so, as the look-up finds them. */
  async *find(key: string, signal: AbortSignal): AsyncIterable<NodeId> {
    if (this.#stop.signal.aborted || !this.#deps.needed()) return;
    const dht = await this.#deps.dht.open();
    for await (const { nodeId } of dht.findProviders(Buffer.from(key, "hex"), signal)) yield nodeId;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("daemon.stopping", "the daemon is stopping"));
    await this.#working;
  }

  async #work(): Promise<void> {
    const { clock, log, announceAfterMs, needed } = this.#deps;
    const { signal } = this.#stop;
    await clock.sleep(announceAfterMs, signal).catch(() => undefined);
    while (!signal.aborted) {
      const nowMs = clock.nowMs();
      for (const [key, { dueMs, retryMs }] of needed() ? this.#queue : []) {
        if (dueMs > nowMs || signal.aborted) continue;
        const told = await this.#provide(key, signal).catch((error: unknown) => {
          log.debug("what is here was not announced", { key, reason: errorMessage(error) });
          return 0;
        });
        if (!this.#queue.has(key)) continue;
        this.#queue.set(
          key,
          told > 0
            ? { dueMs: clock.nowMs() + REPEAT_MS, retryMs: FIRST_RETRY_MS }
            : { dueMs: clock.nowMs() + retryMs, retryMs: Math.min(2 * retryMs, LAST_RETRY_MS) },
        );
      }
      await clock.sleep(1_000, signal).catch(() => undefined);
    }
  }

  async #provide(key: string, signal: AbortSignal): Promise<number> {
    const dht = await this.#deps.dht.open();
    return dht.provide(Buffer.from(key, "hex"), signal);
  }
}
