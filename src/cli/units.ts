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
