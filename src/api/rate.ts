/** Slowest rate that a limit may have: a cell of 32 KiB still passes within half a minute or so. */
export const MIN_RATE_BPS = 1_000;
const UNITS: Readonly<Record<string, number>> = { "": 1, k: 1e3, M: 1e6, G: 1e9 };

/** What `parseRate` reads, in words for whoever wrote something else. */
export const RATE_GRAMMAR = "a rate in bytes per second, at least 1k, like 800k or 10M";

/** Reads bytes per second: `125000`, or with a unit `800k`, `10M`, `1.5G` (powers of ten, as links are sold). `undefined` for anything else. */
export function parseRate(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kMG]?)$/u.exec(text.trim());
  const rate = Math.round(Number(match?.[1]) * (UNITS[match?.[2] ?? ""] ?? Number.NaN));
  return Number.isSafeInteger(rate) && rate >= MIN_RATE_BPS ? rate : undefined;
}
