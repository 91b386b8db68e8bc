import type { NodeId } from "#identity";
import { type LinkTerms, totalOf, withAdmin } from "./link-cost.ts";
import { type AdvertisedLinks, LinkGraph } from "./link-graph.ts";
import type { LinkPolicy } from "./link-policy.ts";

/** What is known at one moment of everybody's links and of who carries, before operators have their say. */
export type LinkMap = ReadonlyMap<NodeId, { transit: boolean; links: ReadonlyMap<NodeId, LinkTerms> }>;

/** What the links of a node cost under a policy. Those that must not be used are left out. */
export function costsUnder(policy: LinkPolicy, from: NodeId, links: ReadonlyMap<NodeId, LinkTerms>): AdvertisedLinks {
  const costs = new Map<NodeId, number>();
  for (const [to, terms] of links) {
    const cost = totalOf(withAdmin(terms, policy.admin(from, to)));
    if (Number.isFinite(cost)) costs.set(to, cost);
  }
  return costs;
}

/** The links that count under a policy. */
export function graphUnder(policy: LinkPolicy, map: LinkMap): LinkGraph {
  const graph = new LinkGraph();
  for (const [node, { transit, links }] of map) {
    graph.set(node, costsUnder(policy, node, links), transit && policy.mayCarry(node));
  }
  return graph;
}
