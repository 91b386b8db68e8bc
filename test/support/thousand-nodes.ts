import type { FleetMap, LinkView, NodeView, RouteView } from "#api";
import { type Random, SeededRandom } from "#core";
import { nodeView } from "./memory-handlers.ts";

const SITES = 30;
const NODES = 1_000;
/** Links that a node has to its own site, and to others. */
const INNER = 6;
const OUTER = 4;

export type LargeFleet = { nodes: NodeView[]; links: LinkView[]; routes: RouteView[]; map: FleetMap };

/** 1,000 nodes in 30 sites with some 10,000 links, as the first of them would tell of it: a tenth are away. */
export function thousandNodes(random: Random = new SeededRandom(1)): LargeFleet {
  const siteOf = (i: number): number => i % SITES;
  const isAway = (i: number): boolean => i > 0 && i % 10 === 7;
  const name = (i: number): string => `node-${i}`;
  const all = Array.from({ length: NODES }, (_, i) => i);
  const pairs = new Map<string, FleetMap["links"][number]>();
  const join = (a: number, b: number): void => {
    if (a === b || isAway(a) || isAway(b)) return;
    const cost = siteOf(a) === siteOf(b) ? 1 + random.below(20) : 321 + random.below(150);
    pairs.set(`${Math.min(a, b)}/${Math.max(a, b)}`, [Math.min(a, b), Math.max(a, b), cost, cost + random.below(9)]);
  };
  for (const i of all) {
    for (let k = 0; k < INNER; k += 1) join(i, siteOf(i) + SITES * random.below(NODES / SITES));
    for (let k = 0; k < OUTER; k += 1) join(i, random.below(NODES));
  }
  const near = new Set([...pairs.values()].flatMap(([a, b]) => (a === 0 ? [b] : [])));
  const state = (i: number): NodeView["state"] => (i === 0 ? "self" : near.has(i) ? "connected" : "known");
  const others = all.filter((i) => i > 0 && !isAway(i));
  const base = (i: number) => ({ name: name(i), labels: {}, nodeId: `12D3KooW${i}`, site: `site-${siteOf(i) + 1}` });
  return {
    nodes: all.map((i) => ({
      ...nodeView(name(i), `site-${siteOf(i) + 1}`),
      state: state(i),
      roles: i < 3 ? ["registrar"] : [],
    })),
    links: [...near].map((i) => ({ ...base(i), state: "up", cost: 5, rttMs: 1 + random.unit() * 50 })),
    routes: others.map((i) => ({ ...base(i), cost: 300 + i, hops: near.has(i) ? 1 : 2, via: name(1) })),
    map: { nodes: all.map(name), links: [...pairs.values()] },
  };
}
