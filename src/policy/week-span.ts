/** A span of time that comes again on some days of every week, in minutes of a wall clock. */
export type WeekSpan = {
  /** Days on which it begins, Monday is 0. */
  days: readonly number[];
  /** Minutes after midnight. */
  fromMinute: number;
  /** At most a day; a span may pass midnight. */
  lengthMinutes: number;
};

const DAY_MINUTES = 24 * 60;
export const WEEK_MINUTES = 7 * DAY_MINUTES;
const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/** Unix time began on a Thursday. */
const EPOCH_DAY = 3;

/** Minutes since Monday, 0:00, of a wall clock's time, which is given as if it were UTC. */
export function weekMinute(wallMs: number): number {
  const minute = Math.floor(wallMs / 60_000) + EPOCH_DAY * DAY_MINUTES;
  return modulo(minute, WEEK_MINUTES);
}

/**
 * Reads `Mon-Fri 08:00-18:00`, `Sat,Sun`, `22:00-06:00`: days, times, or both. Without days every day, without times the whole day;
 * what ends before it begins ends on the day after. `undefined` for anything else.
 */
export function parseWeekSpan(text: string): WeekSpan | undefined {
  const match = /^(?:([a-z]{3}(?:[-,][a-z]{3})*))?(?:(?:^|\s+)(\d{2}:\d{2})-(\d{2}:\d{2}))?$/iu.exec(text.trim());
  const [all = "", dayText, fromText, toText] = match ?? [];
  if (all === "") return undefined;
  const days = dayText === undefined ? DAYS.map((_, day) => day) : parseDays(dayText);
  const fromMinute = parseTime(fromText ?? "00:00");
  const toMinute = parseTime(toText ?? "24:00");
  if (days === undefined || fromMinute === undefined || toMinute === undefined) return undefined;
  if (fromMinute === toMinute || fromMinute === DAY_MINUTES) return undefined;
  return { days, fromMinute, lengthMinutes: modulo(toMinute - fromMinute, DAY_MINUTES) || DAY_MINUTES };
}

function parseDays(text: string): number[] | undefined {
  const days = new Set<number>();
  for (const part of text.toLowerCase().split(",")) {
    const ends = part.split("-").map((day) => DAYS.indexOf(day));
    const [first = -1, last = first] = ends;
    if (ends.length > 2 || first < 0 || last < 0) return undefined;
    for (let day = first; ; day = (day + 1) % DAYS.length) {
      days.add(day);
      if (day === last) break;
    }
  }
  return [...days].toSorted((a, b) => a - b);
}

/** Minutes after midnight; the end of the day may be written 24:00. */
function parseTime(text: string): number | undefined {
  const [hour = Number.NaN, minute = Number.NaN] = text.split(":").map(Number);
  const minutes = hour * 60 + minute;
  return minute < 60 && minutes <= DAY_MINUTES ? minutes : undefined;
}

/** Whether the span holds at this minute of the week. */
export function within({ days, fromMinute, lengthMinutes }: WeekSpan, minute: number): boolean {
  return days.some((day) => modulo(minute - day * DAY_MINUTES - fromMinute, WEEK_MINUTES) < lengthMinutes);
}

/** Minutes from this minute of the week to the next at which one of the spans begins or ends: 1 to a week. */
export function nextEdgeMinutes(spans: readonly WeekSpan[], minute: number): number {
  let next = WEEK_MINUTES;
  for (const { days, fromMinute, lengthMinutes } of spans) {
    for (const day of days) {
      const begin = day * DAY_MINUTES + fromMinute;
      for (const edge of [begin, begin + lengthMinutes]) {
        next = Math.min(next, modulo(edge - minute - 1, WEEK_MINUTES) + 1);
      }
    }
  }
  return next;
}

function modulo(value: number, by: number): number {
  return ((value % by) + by) % by;
}
