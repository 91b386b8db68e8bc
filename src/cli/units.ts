import { Fault } from "#core";

/** Bytes as people read them, in powers of ten as links and disks are sold: `0 B`, `1.5 MB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

type RateTexts = { [N in "uploadBps" | "downloadBps" | "wanUploadBps" | "wanDownloadBps"]?: number | null | undefined };

/** Limits in bytes per second: `up 10 MB/s, WAN 250 kB/s each way`; `null` is a limit that was lifted. */
export function formatRates({ uploadBps, downloadBps, wanUploadBps, wanDownloadBps }: RateTexts): string {
  const same = wanUploadBps === wanDownloadBps;
  const parts: [string, number | null | undefined, string?][] = [
    ["up", uploadBps],
    ["down", downloadBps],
    ["WAN", same ? wanUploadBps : undefined, " each way"],
    ["WAN up", same ? undefined : wanUploadBps],
    ["WAN down", same ? undefined : wanDownloadBps],
  ];
  const texts = parts.flatMap(([what, rate, how = ""]) => {
    if (rate === undefined) return [];
    return [rate === null ? `${what} unlimited` : `${what} ${formatBytes(rate)}/s${how}`];
  });
  return texts.length === 0 ? "unlimited" : texts.join(", ");
}

const DAY_MS = 86_400_000;

/** A time ahead as a clock on the wall of the zone will show it: `18:00`, with the day or date unless it comes within a day. */
export function formatWhen(iso: string, timeZone: string, nowMs: number): string {
  const ms = Date.parse(iso);
  const time = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone } as const;
  const wall = new Intl.DateTimeFormat("en", time).format(ms);
  if (ms - nowMs < DAY_MS) return wall;
  const date = ms - nowMs < 6 * DAY_MS ? ({ weekday: "short" } as const) : ({ dateStyle: "medium" } as const);
  return `${new Intl.DateTimeFormat("en", { ...date, timeZone }).format(ms)} ${wall}`;
}

/** `1 peer`, `2 peers`. */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

const YEAR_SECONDS = 365 * 86_400;

/** A length of time in its two largest units: `42s`, `5m10s`, `3d4h`, `9y360d`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / YEAR_SECONDS), "y"],
    [Math.floor((whole % YEAR_SECONDS) / 86_400), "d"],
    [Math.floor((whole % 86_400) / 3_600), "h"],
    [Math.floor((whole % 3_600) / 60), "m"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first === -1) return "0s";
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value}${unit}`)
    .join("");
}

/** How long ago an ISO 8601 time was, or how far it is ahead. */
export function formatAge(time: string | undefined, nowMs: number): string {
  const ms = time === undefined ? Number.NaN : Date.parse(time);
  return Number.isNaN(ms) ? "" : formatSeconds(Math.abs(nowMs - ms) / 1_000);
}

/** Reads `90s`, `15m`, `24h`, `7d` as seconds; `undefined` for anything else. */
export function parseSeconds(text: string): number | undefined {
  const match = /^(\d{1,6})\s*(s|m|h|d)$/u.exec(text.trim());
  const unit = { s: 1, m: 60, h: 3_600, d: 86_400 }[match?.[2] ?? ""];
  return match === null || unit === undefined ? undefined : Number(match[1]) * unit;
}

/**
 * The time that an option says, as ISO 8601: for how long from now, or until when. Throws Fault `cli.time` (exit `invalid`) for
 * what is no time, or is past.
 */
export function timeAhead(option: string, text: string, nowMs: number): string {
  const seconds = parseSeconds(text);
  const ms = seconds === undefined ? Date.parse(text) : nowMs + seconds * 1_000;
  if (Number.isFinite(ms) && ms > nowMs) return new Date(ms).toISOString();
  throw new Fault("cli.time", `${option} ${text} is not a time ahead`, {
    exit: "invalid",
    fix: `Write ${option} 24h, or ${option} 2026-12-31T18:00:00Z.`,
  });
}
