import type { NodeId } from "#identity";
import { type LinkMap, graphUnder } from "./link-map.ts";
import { type LinkPolicy, NO_POLICY } from "./link-policy.ts";
import { type Path, PathTree } from "./path-tree.ts";

/** What keeps paths from a way. */
const OBSTACLES = ["forbidden", "no-transit", "one-end", "suspect"] as const;
type Obstacle = (typeof OBSTACLES)[number];

/** The cheapest way that there would be without one kind of obstacle; `at` names the links (two nodes) or nodes (one) that stand in it. */
export type UntakenWay = { why: Obstacle; path: Path; at: readonly (readonly NodeId[])[] };

type World = { policy: LinkPolicy; map: LinkMap };

/** For each kind of obstacle how the world would be without it, and where on a path it is. */
const WITHOUT: Readonly<
  Record<Obstacle, { lift: (world: World) => World; at: (world: World, path: Path) => (readonly NodeId[])[] }>
> = {
  forbidden: {
    lift: ({ policy, map }) => ({ policy: { ...policy, admin: (from, to) => finiteOr0(policy.admin(from, to)) }, map }),
    at: ({ policy }, path) => legsOf(path).filter(([from, to]) => !Number.isFinite(policy.admin(from, to))),
  },
  "no-transit": {
    lift: ({ policy, map }) => ({
      policy: { ...policy, mayCarry: NO_POLICY.mayCarry },
      map: new Map([...map].map(([node, known]) => [node, { ...known, transit: known.links.size > 0 }])), // who is behind borders stays an end
    }),
    at: ({ policy, map }, { nodes }) =>
      nodes
        .slice(1, -1)
        .filter((node) => map.get(node)?.transit !== true || !policy.mayCarry(node))
        .map((node) => [node]),
  },
  "one-end": {
    lift: ({ policy, map }) => ({ policy, map: withBothEnds(map) }),
    at: ({ map }, path) => legsOf(path).filter(([a, b]) => !lists(map, a, b) || !lists(map, b, a)),
  },
  suspect: {
    lift: ({ policy, map }) => ({ policy, map: withoutSuspicion(map) }),
    at: ({ map }, path) => legsOf(path).filter(([a, b]) => map.get(a)?.links.get(b)?.loss === Number.POSITIVE_INFINITY),
  },
};

/** The ways that would be cheaper than `cost` if it were not for one kind of obstacle, cheapest first. Without a way `cost` is `Infinity`. */
export function untakenWays(world: World, from: NodeId, to: NodeId, cost: number): UntakenWay[] {
  const ways = OBSTACLES.flatMap((why) => {
    const { lift, at } = WITHOUT[why];
    const { policy, map } = lift(world);
    const graph = graphUnder(policy, map);
    const root = graph.numberOf(from);
    const path = root === undefined ? undefined : new PathTree(graph, root).to(to);
    const places = path === undefined ? [] : at(world, path);
    return path === undefined || path.cost >= cost || places.length === 0 ? [] : [{ why, path, at: places }];
  });
  return ways.toSorted((a, b) => a.path.cost - b.path.cost);
}

function legsOf({ nodes }: Path): [NodeId, NodeId][] {
  return nodes.slice(1).map((to, i) => [nodes[i] as NodeId, to]);
}

function finiteOr0(cost: number): number {
  return Number.isFinite(cost) ? cost : 0;
}

function lists(map: LinkMap, from: NodeId, to: NodeId): boolean {
  return map.get(from)?.links.has(to) === true;
}

/** Every link that one end tells of, in both directions; where the other end says nothing it costs the same. Nodes that say nothing at all stay out. */
function withBothEnds(map: LinkMap): LinkMap {
  const all = new Map([...map].map(([node, known]) => [node, { ...known, links: new Map(known.links) }]));
  for (const [node, { links }] of map) {
    for (const [peer, terms] of links) {
      const back = all.get(peer)?.links;
      if (back?.has(node) === false) back.set(node, terms);
    }
  }
  return all;
}

/** Links whose probes go unanswered, as if nothing were lost on them. */
function withoutSuspicion(map: LinkMap): LinkMap {
  const sound = [...map].map(([node, known]) => {
    const heard = [...known.links].map(([peer, terms]) => [peer, { ...terms, loss: finiteOr0(terms.loss) }] as const);
    return [node, { ...known, links: new Map(heard) }] as const;
  });
  return new Map(sound);
}
