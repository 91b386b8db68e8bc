import { hash } from "node:crypto";
import type { Random } from "#core";
import type { Instance } from "./service.ts";

/**
 * Which of the instances that are as good by priority comes first: that of the cheapest route, that with the fewest connections of this node, one by
 * weight and chance (RFC 2782), or the same one each time for the same key.
 */
export type Strategy = "closest" | "least-open" | "weighted" | "sticky";

/** An instance and what the route to it costs; 0 on this very node. */
export type Candidate = Instance & { cost: number };

export type Choice = {
  strategy: Strategy;
  /** Which instances will do; default: all. */
  matches?: (instance: Instance) => boolean;
  random: Random;
  /** Connections that this node has open to an instance just now. */
  openOf: (instance: Instance) => number;
  /** The key of `sticky`: who asks, or what for. */
  stickyTo?: string;
};

/** The instances to try, one after the other: healthy ones only, those of the lowest priority first, and among those by the strategy. */
export function chooseInstances<C extends Candidate>(candidates: readonly C[], choice: Choice): C[] {
  const { matches = () => true } = choice;
  const tiers = new Map<number, C[]>();
  for (const one of candidates) {
    if (!one.healthy || !matches(one)) continue;
    const tier = tiers.get(one.priority);
    if (tier === undefined) tiers.set(one.priority, [one]);
    else tier.push(one);
  }
  return [...tiers].toSorted(([a], [b]) => a - b).flatMap(([, tier]) => orderTier(tier.toSorted(byCost), choice));
}

/** `tier`: by cost. */
function orderTier<C extends Candidate>(tier: C[], { strategy, random, openOf, stickyTo = "" }: Choice): C[] {
  switch (strategy) {
    case "closest":
      return tier;
    case "least-open":
      return tier.toSorted((a, b) => openOf(a) - openOf(b)); // stable: ties stay by cost
    case "weighted":
      return byWeight(tier, random);
    case "sticky": {
      const drawn = tier.map((one) => ({ one, weight: drawnWeight(stickyTo, one) }));
      return drawn.toSorted((a, b) => (a.weight > b.weight ? -1 : 1)).map(({ one }) => one);
    }
  }
}

/** Ties by node id, so that the order does not depend on who was heard first. */
function byCost(a: Candidate, b: Candidate): number {
  return a.cost - b.cost || (a.node < b.node ? -1 : 1);
}

/** The order of RFC 2782: each next one is drawn with a chance in proportion to its weight; those of weight 0 have next to none. */
function byWeight<C extends Candidate>(tier: readonly C[], random: Random): C[] {
  const left = tier.toSorted((a, b) => Number(a.weight > 0) - Number(b.weight > 0));
  const order: C[] = [];
  while (left.length > 0) {
    const sum = left.reduce((total, { weight }) => total + weight, 0);
    const mark = random.below(sum + 1);
    let running = 0;
    const at = left.findIndex(({ weight }) => (running += weight) >= mark);
    order.push(...left.splice(at, 1));
  }
  return order;
}

/** Highest random weight (Thaler and Ravishankar 1998): when an instance goes, only its own keys move. */
function drawnWeight(key: string, { node, tenant, name }: Instance): string {
  return hash("sha256", [key, node, tenant, name].join("\n"), "hex");
}
