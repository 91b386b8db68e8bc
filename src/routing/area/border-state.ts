import { hasNodeIdForm, type NodeId } from "#identity";
import { z } from "zod";
import { type Advertisement, LinksWire, linksFromWire, writeLinks } from "../link-state.ts";

/** Topic of the statements in which borders tell the fleet of their links to other sites, and of what is behind them. */
export const BORDERS_TOPIC = "borders";
/** Other borders of the own site to which a border tells its way: the nearest. */
export const MAX_INSIDE = 64;
/** Members of the own site that are told by name. Sites have some hundreds, and the shorter list of two is told. */
export const MAX_LISTED = 400;
/** Dearest way inside a site: some thousand links. */
const MAX_COST = 2 ** 32;

const Node = z.string().refine(hasNodeIdForm, "not a node id");
const Nodes = z.array(Node).max(MAX_LISTED);
const Wire = z.object({
  transit: z.boolean(),
  links: LinksWire,
  inside: z.array(z.tuple([Node, z.int().min(0).max(MAX_COST)]).rest(z.unknown())).max(MAX_INSIDE),
  absent: Nodes.optional(),
  present: Nodes.optional(),
});

/** What a border tells the fleet. */
export type BorderAdvertisement = Advertisement & {
  /** What its cheapest way inside the site costs to other borders of the site. */
  inside: ReadonlyMap<NodeId, number>;
  /** Members of its site that it reaches: all of these, or all but these. */
  members: { only: ReadonlySet<NodeId> } | { except: ReadonlySet<NodeId> };
};

/** What counts where a border tells nothing, or nothing that makes sense. */
export const NO_BORDER: BorderAdvertisement = {
  transit: false,
  links: new Map(),
  inside: new Map(),
  members: { only: new Set() },
};

/** Whether a border says that it reaches a member of its site. */
export function leadsTo({ members }: BorderAdvertisement, node: NodeId): boolean {
  return "only" in members ? members.only.has(node) : !members.except.has(node);
}

/** The value of the statement. Of lists that are too long the rest is left out: those nodes count as absent or present wrongly. */
export function writeBorder({ transit, links, inside, members }: BorderAdvertisement): unknown {
  const nearest = [...inside].toSorted(([, a], [, b]) => a - b).slice(0, MAX_INSIDE);
  const listed = "only" in members ? { present: [...members.only] } : { absent: [...members.except] };
  const [[name, nodes]] = Object.entries(listed) as [[string, NodeId[]]];
  return { transit, links: writeLinks(links), inside: nearest, [name]: nodes.toSorted().slice(0, MAX_LISTED) };
}

/**
 * What a border told; `undefined`: it makes no sense. Of its own site it may only say what is inside, of others only to whom it has links: `isNear` says
 * who is of its site.
 */
export function readBorder(value: unknown, isNear: (node: NodeId) => boolean): BorderAdvertisement | undefined {
  const parsed = Wire.safeParse(value);
  if (!parsed.success) return undefined;
  const { transit, links, inside, absent, present } = parsed.data;
  if ((absent === undefined) === (present === undefined)) return undefined;
  return {
    transit,
    links: new Map(linksFromWire(links).filter(([peer]) => !isNear(peer))),
    inside: new Map(inside.map(([peer, cost]) => [peer, cost] as const).filter(([peer]) => isNear(peer))),
    members: present === undefined ? { except: new Set(absent) } : { only: new Set(present) },
  };
}
