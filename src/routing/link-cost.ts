/** What is known of one link when its cost is worked out. */
export type LinkSample = {
  /** Smoothed round trip; `undefined` until it was measured. */
  rttMs: number | undefined;
  /** Share of probes that were lost, 0 to 1; `undefined` where it cannot be measured: such a link counts as sound. */
  lossRatio: number | undefined;
  /** Share of the time in which this end waits for the kernel to take what it sent, 0 to 1. */
  loadRatio: number;
  /** Probes go unanswered. */
  suspect: boolean;
  /** Both ends stand in one site, so its bytes are free. */
  sameSite: boolean;
  /** What it costs more for coming up lately (LinkPenalty). */
  penalty: number;
};

export type LinkCostOptions = {
  /** Round trips up to this cost nothing, from `highRttMs` on they cost `maxLatency` (RFC 9616 §4.2: 10–120 ms). */
  lowRttMs: number;
  highRttMs: number;
  maxLatency: number;
  /** Loss up to the first costs nothing, from the second on `maxLoss`. TCP's rate falls with its square root (RFC 5348 §3.1), and so does this. */
  lowLossRatio: number;
  highLossRatio: number;
  maxLoss: number;
  /** A link that is busy up to this share of the time costs nothing for it, one that always is `maxLoad`. */
  lowLoadRatio: number;
  maxLoad: number;
  /** Paid for leaving the site: more than any latency, loss and load, so that a thin link is the last choice. */
  money: number;
  /** Until a link is measured it counts as a slow one (as OpenZiti does), so that nothing moves to it unseen. */
  unmeasured: number;
};

export const DEFAULT_LINK_COST: Readonly<LinkCostOptions> = {
  lowRttMs: 10,
  highRttMs: 120,
  maxLatency: 150, // RFC 9616 §4.2: max-rtt-penalty
  lowLossRatio: 0.005, // one of two hundred probes: nobody's fault
  highLossRatio: 0.1,
  maxLoss: 150, // a link that loses a tenth is as dear as the slowest
  lowLoadRatio: 0.5, // one transfer that is not held up
  maxLoad: 100, // a link that is full is still better than one that is slow, or loses
  money: 420,
  unmeasured: 150,
};

/** What a node tells of a link's cost, each without a unit; smaller is better. `Infinity` in `loss`: do not use it now. */
export type LinkTerms = { latency: number; loss: number; load: number; money: number; penalty: number };
/** And what operators add to that (LinkPolicy). `Infinity` in `admin`: paths must not lead over it. */
export type CountedTerms = LinkTerms & { admin: number };
export type LinkCost = LinkTerms & { total: number };

/** Every hop costs something, so that of two ways that are equal else the shorter one is taken. */
const HOP = 1;

/** What a link costs in all. */
export function totalOf({ latency, loss, load, money, penalty, admin = 0 }: LinkTerms & { admin?: number }): number {
  return HOP + latency + loss + load + money + penalty + admin;
}

/** A link's terms with what operators add. However much they take away, the hop is paid. */
export function withAdmin({ latency, loss, load, money, penalty }: LinkTerms, admin: number): CountedTerms {
  const least = -(latency + loss + load + money + penalty);
  return { latency, loss, load, money, penalty, admin: Math.max(admin, least) };
}

/**
 * The cost of a link from here to a neighbour: bounded, linear between the two round trips, so that jitter at either end changes
 * nothing. Pure.
 */
export function linkCost(sample: LinkSample, options: Readonly<LinkCostOptions> = DEFAULT_LINK_COST): LinkCost {
  const { lowRttMs, highRttMs, maxLatency, unmeasured } = options;
  const share = sample.rttMs === undefined ? undefined : (sample.rttMs - lowRttMs) / (highRttMs - lowRttMs);
  const latency = share === undefined ? unmeasured : Math.round(maxLatency * Math.min(1, Math.max(0, share)));
  const money = moneyCost(sample.sameSite, options);
  const loss = sample.suspect ? Number.POSITIVE_INFINITY : lossCost(sample.lossRatio ?? 0, options);
  const terms = { latency, loss, load: loadCost(sample.loadRatio, options), money, penalty: sample.penalty };
  return { ...terms, total: totalOf(terms) };
}

/** What a link costs for leaving the site, if it does. */
export function moneyCost(sameSite: boolean, options: Readonly<LinkCostOptions> = DEFAULT_LINK_COST): number {
  return sameSite ? 0 : options.money;
}

function loadCost(loadRatio: number, { lowLoadRatio, maxLoad }: Readonly<LinkCostOptions>): number {
  return Math.round(maxLoad * Math.min(1, Math.max(0, (loadRatio - lowLoadRatio) / (1 - lowLoadRatio))));
}

function lossCost(lossRatio: number, { lowLossRatio, highLossRatio, maxLoss }: Readonly<LinkCostOptions>): number {
  if (lossRatio <= lowLossRatio) return 0;
  const low = Math.sqrt(lowLossRatio);
  const share = (Math.sqrt(lossRatio) - low) / (Math.sqrt(highLossRatio) - low);
  return Math.round(maxLoss * Math.min(1, share));
}
