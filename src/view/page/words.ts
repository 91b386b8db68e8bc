import type { Standing } from "./picture.ts";

/** What each standing is called, and what that means. */
export const STANDINGS: Readonly<Record<Standing, { word: string; meaning: string }>> = {
  self: { word: "this node", meaning: "the page looks through its daemon" },
  linked: { word: "linked", meaning: "this node has a live link to it" },
  reached: { word: "over others", meaning: "reached over other nodes" },
  suspect: { word: "suspect", meaning: "its link does not answer just now" },
  away: { word: "away", meaning: "no way leads to it" },
  autonomous: { word: "autonomous", meaning: "its membership has ended and nobody could renew it" },
  pending: { word: "pending", meaning: "asks to join, and waits for an approval" },
  refused: { word: "refused", meaning: "asked to join, and was refused" },
  quarantine: { word: "quarantine", meaning: "two machines were seen to use its key" },
  revoked: { word: "revoked", meaning: "does not belong to the fleet any more" },
};

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"] as const;

/** 12.3 MB: three digits. */
export function bytesText(bytes: number): string {
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < UNITS.length - 1) [value, unit] = [value / 1_000, unit + 1];
  return `${unit === 0 ? value : value.toPrecision(3)} ${UNITS[unit]}`;
}

/** 45 %. What is not whole is never 100 %. */
export function shareText(part: number, whole: number): string {
  const percent = whole === 0 ? 100 : Math.floor((100 * part) / whole);
  return `${Math.min(percent, 100)} %`;
}

export function costText(cost: number | null | undefined): string {
  return cost === null || cost === undefined ? "not used" : String(Math.round(cost));
}

export function msText(ms: number | undefined): string {
  return ms === undefined ? "" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** 1 node, 2 nodes. */
export function countText(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
