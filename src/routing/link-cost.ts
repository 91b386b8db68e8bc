/** What is known of one link when its cost is worked out. */
export type LinkSample = {
  /** Smoothed round trip; `undefined` until it was measured. */
  rttMs: number | undefined;
  /** Probes go unanswered. */
  suspect: boolean;
  /** Both ends stand in one site, so its bytes are free. */
  sameSite: boolean;
};

export type LinkCostOptions = {
  /** Round trips up to this cost nothing, from `highRttMs` on they cost `maxLatency` (RFC 9616 §4.2: 10–120 ms). */
  lowRttMs: number;
  highRttMs: number;
  maxLatency: number;
  /** Paid for leaving the site: more than any latency, so that a thin link is the last choice. */
  money: number;
  /** Until a link is measured it counts as a slow one (as OpenZiti does), so that nothing moves to it unseen. */
  unmeasured: number;
};

export const DEFAULT_LINK_COST: Readonly<LinkCostOptions> = {
  lowRttMs: 10,
  highRttMs: 120,
  maxLatency: 150, // RFC 9616 §4.2: max-rtt-penalty
  money: 200,
  unmeasured: 150,
};

/** The terms of a link's cost, each without a unit; smaller is better. `Infinity` in `loss`: do not use it now. */
export type LinkCost = { latency: number; money: number; loss: number; total: number };

/**
 * The cost of a link from here to a neighbour: bounded, linear between the two round trips, so that jitter at either end changes
 * nothing. Pure.
 */
export function linkCost(sample: LinkSample, options: Readonly<LinkCostOptions> = DEFAULT_LINK_COST): LinkCost {
  const { lowRttMs, highRttMs, maxLatency, unmeasured } = options;
  const share = sample.rttMs === undefined ? undefined : (sample.rttMs - lowRttMs) / (highRttMs - lowRttMs);
  const latency = share === undefined ? unmeasured : Math.round(maxLatency * Math.min(1, Math.max(0, share)));
  const money = sample.sameSite ? 0 : options.money;
  const loss = sample.suspect ? Number.POSITIVE_INFINITY : 0;
  return { latency, money, loss, total: latency + money + loss };
}
