import type { Limits, LimitsNow } from "#api";
import type { Clock, Log } from "#core";
import { type RateChange, type RateOverride, type RatePlan, type Rates, RateSchedule } from "#policy";
import type { Settings } from "./data-directory.ts";

/** A clock may be set, and a machine may sleep: what holds is looked up again at least this often. */
const LOOK_MS = 15_000;

export type RateKeeperDeps = {
  clock: Clock;
  log: Log;
  /** Trusted Unix time in milliseconds. */
  trustedMs: () => number;
  settings: Settings;
};

/** Sees to it that the limits of the hour are in force: those of the configuration, its windows, and what was set by hand. */
export class RateKeeper implements AsyncDisposable {
  readonly #deps: RateKeeperDeps;
  #schedule: RateSchedule;
  #rates: Rates | undefined;
  #apply: (rates: Rates) => void = () => undefined;
  #pause = new AbortController();
  #stopped = false;
  #watching: Promise<void> = Promise.resolve();

  constructor(deps: RateKeeperDeps, plan: RatePlan) {
    this.#deps = deps;
    const kept = deps.settings.get("limits");
    this.#schedule = new RateSchedule({
      ...plan,
      override: kept === undefined ? undefined : (JSON.parse(kept) as RateOverride),
    });
  }

  /** Bytes per second at this moment. */
  get rates(): Rates {
    return this.#schedule.ratesAt(this.#deps.trustedMs());
  }

  /** Calls back with the rates now, and whenever they change. */
  start(apply: (rates: Rates) => void): void {
    this.#apply = apply;
    this.#watching = this.#watch();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#pause.abort();
    await this.#watching;
  }

  /** Other rates from now on, for so long or until `reset`; durable when it returns. What was set before counts no longer. */
  set(change: RateChange, forSeconds?: number): void {
    const until = forSeconds === undefined ? {} : { untilMs: this.#deps.trustedMs() + forSeconds * 1_000 };
    this.#override({ change, ...until });
  }

  /** Back to the configuration. */
  reset(): void {
    this.#override(undefined);
  }

  #override(override: RateOverride | undefined): void {
    const { settings } = this.#deps;
    if (override === undefined) settings.delete("limits");
    else settings.set("limits", JSON.stringify(override));
    this.#schedule = new RateSchedule({ ...this.#schedule.plan, override });
    this.#pause.abort();
  }

  async #watch(): Promise<void> {
    const { clock, trustedMs, log } = this.#deps;
    while (!this.#stopped) {
      const { rates } = this;
      if (JSON.stringify(rates) !== JSON.stringify(this.#rates)) {
        if (this.#rates !== undefined) log.info("other limits from now on", rates);
        this.#rates = rates;
        this.#apply(rates);
      }
      const nowMs = trustedMs();
      const { windows, override } = this.#schedule.plan;
      const waits = windows.length > 0 || override?.untilMs !== undefined;
      const nextMs = waits ? (this.#schedule.nextChangeMs(nowMs) ?? Number.POSITIVE_INFINITY) : nowMs;
      this.#pause = new AbortController();
      const pauseMs = waits ? Math.min(LOOK_MS, nextMs - nowMs) : Number.POSITIVE_INFINITY;
      await clock.sleep(pauseMs, this.#pause.signal).catch(() => undefined);
    }
  }

  /** What holds now, why, and until when. */
  now(): LimitsNow {
    const nowMs = this.#deps.trustedMs();
    const schedule = this.#schedule;
    const untilMs = schedule.nextChangeMs(nowMs);
    const window = schedule.windowAt(nowMs);
    const source = schedule.overrideAt(nowMs) !== undefined ? "set" : window !== undefined ? "window" : "base";
    return {
      rates: schedule.ratesAt(nowMs),
      source,
      timezone: schedule.plan.timezone,
      ...(window === undefined ? {} : { when: window.when }),
      ...(untilMs === undefined ? {} : { until: isoOf(untilMs), next: schedule.ratesAt(untilMs) }),
    };
  }

  /** All of it. */
  all(): Limits {
    const { base, windows } = this.#schedule.plan;
    const override = this.#schedule.overrideAt(this.#deps.trustedMs());
    const until = override?.untilMs === undefined ? {} : { until: isoOf(override.untilMs) };
    return {
      ...this.now(),
      base,
      windows: windows.map(({ when, change }) => ({ when, change })),
      ...(override === undefined ? {} : { set: { change: override.change, ...until } }),
    };
  }
}

function isoOf(ms: number): string {
  return new Date(ms).toISOString();
}
