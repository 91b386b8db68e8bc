import { type NodeId, NodeWire, publicKeyOf } from "#identity";
import { z } from "zod";
import { type Advertisement, LinksWire, linksFromWire, writeLinks } from "../link-state.ts";

/** Topic of the statements in which borders tell the fleet of their links to other sites, and of their ways to other borders of their own. */
export const BORDERS_TOPIC = "borders";
/** And whom they reach inside their site: told apart, since somebody there comes or goes far oftener. */
export const BEHIND_TOPIC = "behind";
/** Other borders of the own site to which a border tells its way: the nearest. */
export const MAX_INSIDE = 64;
/** Members of the own site that are told by name. Sites have some hundreds, and the shorter list of two is told. */
export const MAX_LISTED = 400;
/** Dearest way inside a site: some thousand links. */
const MAX_COST = 2 ** 32;

const Nodes = z.array(NodeWire).max(MAX_LISTED);
const Border = z.object({
  transit: z.boolean(),
  links: LinksWire,
  inside: z.array(z.tuple([NodeWire, z.int().min(0).max(MAX_COST)]).rest(z.unknown())).max(MAX_INSIDE),
});
const Behind = z.union([z.object({ absent: Nodes }), z.object({ present: Nodes })]);

/** What a border tells of its links. `inside`: what its cheapest way inside the site costs to other borders of the site. */
export type BorderAdvertisement = Advertisement & { inside: ReadonlyMap<NodeId, number> };

/** Members of its site that a border reaches: all of these, or all but these. */
export type Behind = { only: ReadonlySet<NodeId> } | { except: ReadonlySet<NodeId> };

/** What counts where a border tells nothing, or nothing that makes sense. */
export const NO_BORDER: BorderAdvertisement = { transit: false, links: new Map(), inside: new Map() };
export const NOBODY: Behind = { only: new Set() };

/** Whether somebody is among those that a border reaches. */
export function leadsTo(behind: Behind, node: NodeId): boolean {
  return "only" in behind ? behind.only.has(node) : !behind.except.has(node);
}

/** The value of the statement on links. */
export function writeBorder({ transit, links, inside }: BorderAdvertisement): unknown {
  const nearest = [...inside].toSorted(([, a], [, b]) => a - b).slice(0, MAX_INSIDE);
  return { transit, links: writeLinks(links), inside: nearest.map(([peer, cost]) => [publicKeyOf(peer), cost]) };
}

/**
 * What a border told of its links; `undefined`: it makes no sense. Of its own site it may only say what is inside, of others only to whom it has links:
 * `isNear` says who is of its site.
 */
export function readBorder(value: unknown, isNear: (node: NodeId) => boolean): BorderAdvertisement | undefined {
  const parsed = Border.safeParse(value);
  if (!parsed.success) return undefined;
  const { transit, links, inside } = parsed.data;
  return {
    transit,
    links: new Map(linksFromWire(links).filter(([peer]) => !isNear(peer))),
    inside: new Map(inside.map(([peer, cost]) => [peer, cost] as const).filter(([peer]) => isNear(peer))),
  };
}

/** The value of the statement on members. Of a list that is too long the rest is left out: those nodes count as reached, or not, wrongly. */
export function writeBehind(behind: Behind): unknown {
  const [name, nodes] = "only" in behind ? ["present", behind.only] : ["absent", behind.except];
  return { [name]: [...nodes].toSorted().slice(0, MAX_LISTED).map(publicKeyOf) };
}

/** Whom a border said that it reaches; `undefined`: it makes no sense. */
export function readBehind(value: unknown): Behind | undefined {
  const parsed = Behind.safeParse(value);
  if (!parsed.success) return undefined;
  return "present" in parsed.data ? { only: new Set(parsed.data.present) } : { except: new Set(parsed.data.absent) };
}
