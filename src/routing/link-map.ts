import type { NodeId } from "#identity";
import { type LinkTerms, totalOf, withAdmin } from "./link-cost.ts";
import { type AdvertisedLinks, LinkGraph } from "./link-graph.ts";
import type { LinkPolicy } from "./link-policy.ts";

/** What is known of a node. `inside`: what its ways inside another site cost, whose links are not known here. */
export type KnownLinks = {
  transit: boolean;
  links: ReadonlyMap<NodeId, LinkTerms>;
  inside?: ReadonlyMap<NodeId, number>;
};

/** What is known at one moment of everybody's links and of who carries, before operators have their say. */
export type LinkMap = ReadonlyMap<NodeId, KnownLinks>;

/** What the links of a node cost under a policy. Those that must not be used are left out. */
export function costsUnder(policy: LinkPolicy, from: NodeId, { links, inside }: KnownLinks): AdvertisedLinks {
  const costs = new Map(inside);
  for (const [to, terms] of links) {
    const cost = totalOf(withAdmin(terms, policy.admin(from, to)));
    if (Number.isFinite(cost)) costs.set(to, cost);
  }
  return costs;
}

/** The links that count under a policy. */
export function graphUnder(policy: LinkPolicy, map: LinkMap): LinkGraph {
  const graph = new LinkGraph();
  for (const [node, known] of map) {
    graph.set(node, costsUnder(policy, node, known), known.transit && policy.mayCarry(node));
  }
  return graph;
}
