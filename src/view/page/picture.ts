import type { NodeView } from "#api";
import type { Fleet, PairView } from "./fleet.ts";

/**
 * How a node stands, seen from the one that is looked through: `linked` has a live link to it, `suspect` one that does not answer, `reached` is
 * reached over others, to one that is `away` no way leads.
 */
export type Standing =
  | "self"
  | "linked"
  | "suspect"
  | "reached"
  | "away"
  | Exclude<NodeView["state"], "self" | "connected" | "known">;

export type PageNode = { name: string; site: string; standing: Standing; isRegistrar: boolean };
/** All links between two sites. `cheapest`: of those over which ways may lead. */
export type Bundle = { name: string; sites: readonly [string, string]; count: number; cheapest: number | undefined };
/** What the chart shows. `neighbours` has, for each node, who it has links with. */
export type Picture = {
  nodes: ReadonlyMap<string, PageNode>;
  /** Names of the nodes of each site. */
  sites: ReadonlyMap<string, readonly string[]>;
  bundles: readonly Bundle[];
  /** Links within a site. */
  inner: readonly PairView[];
  neighbours: ReadonlyMap<string, readonly PairView[]>;
};

/** What the chart calls the site of nodes that have none, such as those that ask to join. */
export const NO_SITE = "no site";

/** Makes of the daemon's views what there is to draw. */
export function pictureOf(fleet: Fleet): Picture {
  const nodes = new Map<string, PageNode>();
  const sites = new Map<string, string[]>();
  for (const view of fleet.nodes.values()) {
    const site = view.site === "" ? NO_SITE : view.site;
    nodes.set(view.name, {
      name: view.name,
      site,
      standing: standingOf(view, fleet),
      isRegistrar: view.roles.includes("registrar"),
    });
    listAt(sites, site).push(view.name);
  }
  const neighbours = new Map<string, PairView[]>();
  const inner: PairView[] = [];
  const bundles = new Map<string, Bundle>();
  for (const pair of fleet.pairs.values()) {
    const [a, b] = [nodes.get(pair.ends[0]), nodes.get(pair.ends[1])];
    if (a === undefined || b === undefined) continue; // told of by a node that is no member any more
    listAt(neighbours, a.name).push(pair);
    listAt(neighbours, b.name).push(pair);
    if (a.site === b.site) inner.push(pair);
    else bundle(bundles, a.site < b.site ? [a.site, b.site] : [b.site, a.site], pair);
  }
  return { nodes, sites, bundles: [...bundles.values()], inner, neighbours };
}

/** What a node that is only known is: to some of these a way leads. */
function standingOf({ name, state }: NodeView, { links, routes }: Fleet): Standing {
  if (state === "connected") return links.get(name)?.state === "suspect" ? "suspect" : "linked";
  if (state === "known") return routes.has(name) ? "reached" : "away";
  return state;
}

/** The lower cost of the two directions; `undefined`: no way may lead over it. */
export function cheapestOf({ costs }: PairView): number | undefined {
  const usable = costs.filter((cost) => cost !== null);
  return usable.length === 0 ? undefined : Math.min(...usable);
}

function bundle(bundles: Map<string, Bundle>, sites: readonly [string, string], pair: PairView): void {
  const name = JSON.stringify(sites);
  const { count, cheapest } = bundles.get(name) ?? { count: 0, cheapest: undefined };
  const cost = cheapestOf(pair);
  const least = cost === undefined || (cheapest !== undefined && cheapest < cost) ? cheapest : cost;
  bundles.set(name, { name, sites, count: count + 1, cheapest: least });
}

function listAt<V>(lists: Map<string, V[]>, key: string): V[] {
  const list = lists.get(key) ?? [];
  lists.set(key, list);
  return list;
}
