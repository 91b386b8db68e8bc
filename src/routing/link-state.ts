import { type NodeId, NodeWire, publicKeyOf } from "#identity";
import { z } from "zod";
import { type LinkTerms, totalOf } from "./link-cost.ts";

/** Topic of the statements in which nodes tell of their links (docs/spec/link-state.md). */
export const LINKS_TOPIC = "links";
/** Links in one advertisement: three times what a node keeps. Those that cost least are told. */
export const MAX_LINKS = 128;
/** Largest term: a sum of many links stays exact. */
const MAX_TERM = 1_000_000;

const Term = z.int().min(0).max(MAX_TERM);
/** Later versions may say more of a link. */
export const LinksWire = z.array(z.tuple([NodeWire, Term, Term, Term, Term, Term]).rest(z.unknown())).max(MAX_LINKS);
/** And of the node. */
const Wire = z.object({ transit: z.boolean(), links: LinksWire });

/** What a node says of its links: to whom, and what each costs in the direction away from it. */
export type Advertisement = {
  /** It passes on what is not for itself. */
  transit: boolean;
  links: ReadonlyMap<NodeId, LinkTerms>;
};

/** What counts where an advertisement makes no sense: everybody takes it for the same. */
export const NO_LINKS: Advertisement = { transit: false, links: new Map() };

/** The value of the statement. */
export function writeAdvertisement({ transit, links }: Advertisement): unknown {
  return { transit, links: writeLinks(links) };
}

/** `undefined`: it makes no sense. */
export function readAdvertisement(value: unknown): Advertisement | undefined {
  const parsed = Wire.safeParse(value);
  return parsed.success
    ? { transit: parsed.data.transit, links: new Map(linksFromWire(parsed.data.links)) }
    : undefined;
}

/** Links as statements have them: those that cost least, where there are too many. */
export function writeLinks(links: ReadonlyMap<NodeId, LinkTerms>): unknown[] {
  const cheapest = [...links].toSorted(([, a], [, b]) => totalOf(a) - totalOf(b)).slice(0, MAX_LINKS);
  return cheapest.map(([peer, { latency, loss, load, money, penalty }]) => [
    publicKeyOf(peer),
    latency,
    loss,
    load,
    money,
    penalty,
  ]);
}

export function linksFromWire(wire: z.output<typeof LinksWire>): [NodeId, LinkTerms][] {
  return wire.map(([peer, latency, loss, load, money, penalty]) => [peer, { latency, loss, load, money, penalty }]);
}
