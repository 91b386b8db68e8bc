import { nextEdgeMinutes, type WeekSpan, weekMinute, WEEK_MINUTES, within } from "./week-span.ts";

/** What can be limited, in bytes per second: all content that leaves or comes, and of it what crosses the WAN. */
const RATE_NAMES = ["uploadBps", "downloadBps", "wanUploadBps", "wanDownloadBps"] as const;
type RateName = (typeof RATE_NAMES)[number];

/** Absent: no limit. */
export type Rates = { readonly [N in RateName]?: number | undefined };
/** What takes the place of other rates while it holds; `null` lifts a limit, absent leaves it as it is. */
export type RateChange = { readonly [N in RateName]?: number | null | undefined };

/** Other rates at times that come again every week. `when`: the span as it was written. */
export type RateWindow = { when: string; span: WeekSpan; change: RateChange };

/** What an operator said at run time: it goes before the windows. Without `untilMs` (Unix milliseconds) until it is taken back. */
export type RateOverride = { change: RateChange; untilMs?: number | undefined };

/** Limits and when they hold. Of several windows that hold at once the first counts. */
export type RatePlan = {
  base: Rates;
  windows: readonly RateWindow[];
  /** IANA name of the zone in which the windows are read. */
  timezone: string;
  override?: RateOverride | undefined;
};

/** Windows of one plan. */
export const MAX_WINDOWS = 32;

const MINUTE_MS = 60_000;
/** Every window has begun and ended within a week; a day more for a change of the zone's offset. */
const LOOK_AHEAD_MS = 8 * 24 * 60 * MINUTE_MS;

/** Whether this runtime knows the zone. */
export function isTimezone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}

/** The zone of this machine; UTC where it is set to none that is known. */
export function ownTimezone(): string {
  const { timeZone } = new Intl.DateTimeFormat("en").resolvedOptions();
  return isTimezone(timeZone) ? timeZone : "UTC";
}

/**
 * A plan that can be asked what holds at a time. A window holds while a clock on the wall of its zone shows a time within it: an hour
 * that a change of summer time leaves out is left out of the window, one that comes twice is twice in it.
 */
export class RateSchedule {
  readonly plan: RatePlan;
  #wall: Intl.DateTimeFormat | undefined;

  constructor(plan: RatePlan) {
    this.plan = plan;
  }

  /** The rates at a Unix time in milliseconds. */
  ratesAt(atMs: number): Rates {
    const { base } = this.plan;
    return changed(changed(base, this.windowAt(atMs)?.change), this.overrideAt(atMs)?.change);
  }

  /** The window that counts at this time. */
  windowAt(atMs: number): RateWindow | undefined {
    const { windows } = this.plan;
    if (windows.length === 0) return undefined;
    const minute = weekMinute(atMs + this.#offsetMs(atMs));
    return windows.find(({ span }) => within(span, minute));
  }

  /** What was set by hand, as long as it counts. */
  overrideAt(atMs: number): RateOverride | undefined {
    const { override } = this.plan;
    return override?.untilMs !== undefined && override.untilMs <= atMs ? undefined : override;
  }

  /** When the rates are others than at `atMs` for the first time after it; `undefined` when they stay. */
  nextChangeMs(atMs: number): number | undefined {
    const before = this.ratesAt(atMs);
    const untilMs = this.overrideAt(atMs)?.untilMs ?? Number.NEGATIVE_INFINITY;
    const endMs = atMs + LOOK_AHEAD_MS;
    for (let nextMs = atMs; nextMs < endMs; ) {
      const edgeMs = this.#nextEdgeMs(nextMs);
      nextMs = untilMs > nextMs ? Math.min(edgeMs, untilMs) : edgeMs;
      if (!sameRates(this.ratesAt(nextMs), before)) return nextMs;
    }
    return untilMs > endMs && !sameRates(this.ratesAt(untilMs), before) ? untilMs : undefined;
  }

  /** When a window may begin or end next, or the zone's offset changes before that. */
  #nextEdgeMs(atMs: number): number {
    const offsetMs = this.#offsetMs(atMs);
    const minuteMs = Math.floor(atMs / MINUTE_MS) * MINUTE_MS;
    const spans = this.plan.windows.map(({ span }) => span);
    const minutes = spans.length === 0 ? WEEK_MINUTES : nextEdgeMinutes(spans, weekMinute(minuteMs + offsetMs));
    const edgeMs = minuteMs + minutes * MINUTE_MS;
    return this.#offsetMs(edgeMs) === offsetMs ? edgeMs : this.#offsetChangeMs(minuteMs, edgeMs, offsetMs);
  }

  /** The first whole minute after `fromMs`, and not after `toMs`, at which the offset is another. */
  #offsetChangeMs(fromMs: number, toMs: number, offsetMs: number): number {
    let [sameMs, otherMs] = [fromMs, toMs];
    while (otherMs - sameMs > MINUTE_MS) {
      const middleMs = sameMs + Math.floor((otherMs - sameMs) / MINUTE_MS / 2) * MINUTE_MS;
      if (this.#offsetMs(middleMs) === offsetMs) sameMs = middleMs;
      else otherMs = middleMs;
    }
    return otherMs;
  }

  /** How far the zone is ahead of UTC, in whole seconds. */
  #offsetMs(atMs: number): number {
    const secondMs = Math.floor(atMs / 1_000) * 1_000;
    this.#wall ??= wallClock(this.plan.timezone);
    const parts = this.#wall.formatToParts(secondMs);
    const at = (type: string): number => Number(parts.find((part) => part.type === type)?.value);
    const wallMs = Date.UTC(at("year"), at("month") - 1, at("day"), at("hour"), at("minute"), at("second"));
    return wallMs - secondMs;
  }
}

/** Shows date and time in numbers. Loading a zone takes a millisecond, which a plan without windows need not spend. */
function wallClock(timeZone: string): Intl.DateTimeFormat {
  const date = { year: "numeric", month: "numeric", day: "numeric" } as const;
  const time = { hour: "numeric", minute: "numeric", second: "numeric" } as const;
  return new Intl.DateTimeFormat("en-u-ca-gregory-nu-latn", { timeZone, hourCycle: "h23", ...date, ...time });
}

function changed(rates: Rates, change: RateChange = {}): Rates {
  const merged: Partial<Record<RateName, number>> = {};
  for (const name of RATE_NAMES) {
    const rate = change[name] === undefined ? rates[name] : change[name];
    if (rate !== undefined && rate !== null) merged[name] = rate;
  }
  return merged;
}

function sameRates(a: Rates, b: Rates): boolean {
  return RATE_NAMES.every((name) => a[name] === b[name]);
}
