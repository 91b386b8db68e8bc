import { z } from "zod";

/** A fleet has one topology: of two it would be unclear which holds. */
export const TOPOLOGY_NAME = "main";

/** Most that an operator adds to a link's cost, or takes away: as much as 30 links that leave a site. */
const MAX_ADMIN_COST = 10_000;
/** Rules of each list; every link is held against all of them once. */
const MAX_RULES = 256;

/** Nodes: one by its name, `*` for all, or those that a label selector picks, as in `site=rome,!spare`. */
const nodes = z.string().min(1).max(1_000);
const adminCost = z.int().min(0).max(MAX_ADMIN_COST);

const linkRule = z
  .strictObject({
    from: nodes,
    to: nodes,
    /** Added to what is measured. */
    cost: adminCost.optional(),
    /** Taken away from what is measured; a link costs 1 at least. */
    prefer: adminCost.optional(),
    forbid: z.literal(true).optional(),
    /** Only from `from` to `to`. */
    oneWay: z.boolean().optional(),
  })
  .refine(
    ({ cost, prefer, forbid }) => [cost, prefer, forbid].filter((action) => action !== undefined).length === 1,
    "one of cost, prefer and forbid, and not two of them",
  )
  .refine(
    ({ forbid, oneWay }) => forbid === undefined || oneWay !== true,
    "a link is forbidden in both directions or not at all",
  );

/** What operators ask of links, and of who carries for others. Of each list the first rule that fits counts. */
export const topology = z.strictObject({
  links: z.array(linkRule).max(MAX_RULES).optional(),
  transit: z
    .array(z.strictObject({ node: nodes, carry: z.boolean() }))
    .max(MAX_RULES)
    .optional(),
  /** Who hears of every link inside a site: the whole fleet, which is `one` area, or the `site`. Default: `one`. */
  areas: z.enum(["one", "site"]).optional(),
  /** With areas by site: who is to have links to other sites, and so tells the fleet of what is behind it. Default: everybody who carries. */
  borders: z.array(nodes).max(MAX_RULES).optional(),
});
