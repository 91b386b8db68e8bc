import { nodeHost, siteCidr } from "./address.ts";

/** Ports of the Mediterranean, as portolan charts name them; one per site, in order. */
const SITE_NAMES = ["genoa", "pisa", "venice", "ragusa", "candia", "tunis", "malta", "palma", "tripoli"] as const;

/** The label that every node of the demo has, to stage by. */
export const NODE_LABEL = "demo=yes";

export type SitePlan = { number: number; name: string; cidr: string };
export type NodePlan = { serial: string; site: SitePlan; host: string };

/** Who is where. The first node is registrar and publisher; the stranger's serial stands on no claim. */
export type FleetPlan = { sites: SitePlan[]; nodes: [NodePlan, ...NodePlan[]]; stranger: NodePlan };

/** Spreads `nodes` over `sites` as evenly as it goes, the first sites taking what is left over; the stranger knocks at the last site. */
export function planFleet(nodes: number, sites: number): FleetPlan {
  const sitePlans = SITE_NAMES.slice(0, sites).map((name, i) => ({ number: i + 1, name, cidr: siteCidr(i + 1) }));
  const all = sitePlans.flatMap((site, i) => {
    const count = Math.floor(nodes / sites) + (i < nodes % sites ? 1 : 0);
    return Array.from({ length: count }, (_, n) => planNode(site, n + 1, `${site.name}-${n + 1}`));
  });
  const [first, ...others] = all;
  const last = sitePlans.at(-1);
  if (first === undefined || last === undefined) throw new RangeError("a fleet has at least one site and one node");
  return { sites: sitePlans, nodes: [first, ...others], stranger: planNode(last, 200, `${last.name}-stranger`) };
}

function planNode(site: SitePlan, index: number, serial: string): NodePlan {
  return { serial, site, host: nodeHost(site.number, index) };
}

/** The claims that admit every node but the first, which is the registrar, and the stranger. */
export function claimsCsv(plan: FleetPlan): string {
  const rows = plan.nodes.slice(1).map(({ serial }) => `${serial},demo,,,${NODE_LABEL},`);
  return ["serial,model,key,tenant,labels,expires", ...rows, ""].join("\n");
}

/**
 * No distribution of `bytes` from one site to all others can be faster, if bytes were a fluid: the source sends at least one copy, the
 * slowest site takes in a whole one, and all sites together send as many copies as there are other sites (Kumar and Ross,
 * "Peer-assisted file distribution: the minimum distribution time", 2006, with sites as the peers).
 *
 * `up` and `down` are bits per second of each site's link, the source's first. In seconds; 0 for a single site.
 */
export function fluidBoundSeconds(bytes: number, up: readonly number[], down: readonly number[]): number {
  const others = up.length - 1;
  if (others < 1) return 0;
  const bits = bytes * 8;
  const sum = up.reduce((total, rate) => total + rate, 0);
  return Math.max(bits / (up[0] ?? 0), bits / Math.min(...down.slice(1)), (others * bits) / sum);
}
