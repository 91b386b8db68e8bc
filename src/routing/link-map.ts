import type { NodeId } from "#identity";
import { type LinkTerms, totalOf, withAdmin } from "./link-cost.ts";
import { type AdvertisedLinks, LinkGraph } from "./link-graph.ts";
import type { LinkPolicy } from "./link-policy.ts";
import type { LinkSource } from "./link-source.ts";

/** What is known of a node. `inside`: what its ways inside another site cost, whose links are not known here. */
export type KnownLinks = {
  transit: boolean;
  links: ReadonlyMap<NodeId, LinkTerms>;
  inside?: ReadonlyMap<NodeId, number>;
};

/** What is known at one moment of everybody's links and of who carries, before operators have their say. */
export type LinkMap = ReadonlyMap<NodeId, KnownLinks>;

/** Puts together what is known. Whoever is behind borders of another site hangs on those at no cost. `own`: this node, and its links as it knows them itself. */
export function mapOf(source: LinkSource, [self, own]: readonly [NodeId, KnownLinks["links"]]): LinkMap {
  const map = new Map<NodeId, KnownLinks>();
  for (const node of source.origins()) {
    const known = source.known(node);
    if (known !== undefined) map.set(node, node === self ? { ...known, links: own } : known);
  }
  const behind = new Map<NodeId, Map<NodeId, number>>();
  const leads = (from: NodeId, to: NodeId): void => void behind.set(from, (behind.get(from) ?? new Map()).set(to, 0));
  for (const node of source.behindBorders()) {
    if ((map.get(node)?.links.size ?? 0) > 0) continue;
    for (const border of source.bordersOf(node)) {
      leads(border, node);
      leads(node, border);
    }
  }
  for (const [node, inside] of behind) {
    const known: KnownLinks = map.get(node) ?? { transit: false, links: new Map() };
    map.set(node, { ...known, inside: new Map([...inside, ...(known.inside ?? [])]) });
  }
  return map;
}

/** What the links of a node cost under a policy. Those that must not be used are left out. */
export function costsUnder(policy: LinkPolicy, from: NodeId, { links, inside }: KnownLinks): AdvertisedLinks {
  const costs = new Map(inside);
  for (const [to, terms] of links) {
    const admin = policy.admin(from, to);
    const cost = totalOf(admin === 0 ? terms : withAdmin(terms, admin));
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
