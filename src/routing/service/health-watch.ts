import type { Clock, Random } from "#core";
import { isForbidden, type MayExpose } from "./expose.ts";
import { checkInMs, type CheckResult, type Health, nextHealth, unchecked } from "./health.ts";
import type { Service } from "./service.ts";
import { runCheck } from "./run-check.ts";

/** Checks that run at once; each may be a process. With 1,000 services that all hang a round takes two minutes. */
const MAX_RUNNING = 16;
/** A pause is this much longer or shorter, so that services that were published together are not always checked together. */
const JITTER = 0.1;
/** So long after a client connected a service counts as used. */
const USED_MS = 30_000;

export type HealthWatchDeps = {
  clock: Clock;
  random: Random;
  /** Trusted Unix time in milliseconds. */
  trustedMs: () => number;
  mayExpose: MayExpose;
  /** Runs whenever a service becomes healthy, or is healthy no longer. */
  changed: (service: Service, health: Health) => void;
};

/** `usedMs`: when a client connected last, monotonic. `pause`: ends the wait for the next check. */
type Watched = {
  service: Service;
  health: Health;
  stop: AbortController;
  running: Promise<void>;
  usedMs: number;
  pause: AbortController;
};

/** Checks this node's services, each again and again while it is published, never twice at a time. */
export class HealthWatch implements AsyncDisposable {
  readonly #deps: HealthWatchDeps;
  readonly #watched = new Map<string, Watched>();
  readonly #ending = new Set<Promise<void>>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(deps: HealthWatchDeps) {
    this.#deps = deps;
  }

  /** Starts to check a service, in place of one of the same name. */
  add(service: Service): void {
    this.remove(service.name);
    const watched: Watched = {
      service,
      health: this.#atFirst(service),
      stop: new AbortController(),
      running: Promise.resolve(),
      usedMs: Number.NEGATIVE_INFINITY,
      pause: new AbortController(),
    };
    this.#watched.set(service.name, watched);
    watched.running = service.check === undefined ? Promise.resolve() : this.#watch(watched);
  }

  /** Stops to; a check that runs is cut short. */
  remove(name: string): void {
    const watched = this.#watched.get(name);
    if (watched === undefined) return;
    this.#watched.delete(name);
    watched.stop.abort();
    watched.pause.abort();
    const ended = watched.running.finally(() => this.#ending.delete(ended));
    this.#ending.add(ended);
  }

  /** A client connects to a service: for a while it is checked more often, from now on, unless that takes a process each time. */
  used(name: string): void {
    const watched = this.#watched.get(name);
    if (watched === undefined || watched.service.check?.kind === "exec") return;
    const wasUsed = this.#isUsed(watched);
    watched.usedMs = this.#deps.clock.nowMs();
    if (!wasUsed) watched.pause.abort();
  }

  #isUsed({ usedMs }: Watched): boolean {
    return this.#deps.clock.nowMs() - usedMs < USED_MS;
  }

  of(name: string): Health | undefined {
    return this.#watched.get(name)?.health;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of [...this.#watched.keys()]) this.remove(name);
    await Promise.all(this.#ending);
  }

  /** What nobody checks is healthy, unless the configuration has come to forbid it. */
  #atFirst({ check, target }: Service): Health {
    const health = unchecked(this.#deps.trustedMs());
    if (check !== undefined) return health;
    if (isForbidden(target, this.#deps.mayExpose))
      return { ...health, state: "unhealthy", reason: "its address may not be exposed" };
    return { ...health, state: "healthy" };
  }

  async #watch(watched: Watched): Promise<void> {
    const { clock, random, trustedMs, changed } = this.#deps;
    const { signal } = watched.stop;
    while (!signal.aborted) {
      const result = await this.#inTurn(watched);
      if (result === undefined || signal.aborted) return;
      const before = watched.health;
      watched.health = nextHealth(before, result, trustedMs());
      if (watched.health.state !== before.state) changed(watched.service, watched.health);
      const pauseMs = checkInMs(watched.health, this.#isUsed(watched)) * (1 - JITTER + 2 * JITTER * random.unit());
      watched.pause = new AbortController();
      await clock.sleep(pauseMs, watched.pause.signal).catch(() => undefined);
    }
  }

  /** Checks when there is a place; `undefined` when it was stopped. */
  async #inTurn({ service: { check, target }, stop: { signal } }: Watched): Promise<CheckResult | undefined> {
    if (check === undefined) return undefined;
    while (this.#running >= MAX_RUNNING) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#running += 1;
    try {
      signal.throwIfAborted();
      return await runCheck(check, target, this.#deps, signal);
    } catch (error) {
      if (signal.aborted) return undefined;
      throw error;
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }
}
