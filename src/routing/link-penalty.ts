/** What a link costs more when it comes up: it has to show that it lasts (OpenZiti starts new links so, too; RFC 2439 damps flapping ones). */
const UP_PENALTY = 200;
const MAX_PENALTY = 1_600;
const HALF_LIFE_MS = 60_000;
/** Less is none. */
const LEAST_PENALTY = 5;

/** What a link costs more for coming up lately, and the more the oftener it did. It halves every minute. */
export class LinkPenalty {
  #penalty = 0;
  #atMs = 0;

  /** The link came up. */
  up(nowMs: number): void {
    this.#penalty = Math.min(MAX_PENALTY, this.at(nowMs) + UP_PENALTY);
    this.#atMs = nowMs;
  }

  /** At this moment, rounded. */
  at(nowMs: number): number {
    return penaltyAfter(this.#penalty, nowMs - this.#atMs);
  }
}

/** What is left of a penalty after so long. Whoever hears of one works it out by itself, so that nobody has to tell how it falls. */
export function penaltyAfter(penalty: number, ageMs: number): number {
  if (penalty === 0) return 0;
  const left = penalty * 0.5 ** (Math.max(0, ageMs) / HALF_LIFE_MS);
  return left < LEAST_PENALTY ? 0 : Math.round(left);
}
