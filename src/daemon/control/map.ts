import type { FleetMap, Handlers } from "#api";
import { type NodeId } from "#identity";
import { graphUnder, type Router } from "#routing";
import type { NodeState } from "../node-state.ts";

/** The links of everybody. `router` is absent while the node does not run. */
export function mapHandlers({ members }: NodeState, router: Router | undefined): Pick<Handlers, "map"> {
  return {
    map: async () => (router === undefined ? { nodes: [], links: [] } : mapView(router, (id) => members.nameOf(id))),
  };
}

/** A link is there when one end tells of it, and of use where the graph has it, which takes both. */
export function mapView(router: Pick<Router, "map" | "policy">, nameOf: (node: NodeId) => string): FleetMap {
  const map = router.map();
  const graph = graphUnder(router.policy, map);
  const nodes: string[] = [];
  const places = new Map<NodeId, number>();
  const placeOf = (node: NodeId): number => {
    const place = places.get(node) ?? nodes.push(nameOf(node)) - 1;
    places.set(node, place);
    return place;
  };
  const costOf = (from: NodeId, to: NodeId): number | null => {
    const [a, b] = [graph.numberOf(from), graph.numberOf(to)];
    return a === undefined || b === undefined ? null : (graph.cost(a, b) ?? null);
  };
  const links = new Map<string, FleetMap["links"][number]>();
  for (const [from, told] of map) {
    for (const to of told.links.keys()) {
      const [low, high] = placeOf(from) < placeOf(to) ? [from, to] : [to, from];
      const pair = [placeOf(low), placeOf(high)] as const;
      if (!links.has(pair.join())) links.set(pair.join(), [...pair, costOf(low, high), costOf(high, low)]);
    }
  }
  return { nodes, links: [...links.values()] };
}
