import path from "node:path";
import { z } from "zod";
import { MAX_SITES } from "./address.ts";

/** How a link is set up. */
export const LinkOptions = z.strictObject({
  /** The site this link belongs to; it listens on `linkHost(site)`. */
  site: z.int().min(1).max(MAX_SITES),
  /** Where it listens for the site's daemons; 0 takes a free one. */
  port: z.int().min(0).max(65_535),
  /** Where the links of all sites have their sockets; unix sockets cross network namespaces. */
  dir: z.string(),
  /** Bits per second, each way. */
  rateBps: z.number().positive(),
  /** One way between two sites: half of it here, half at the other site's link. */
  delayMs: z.number().min(0),
});
export type LinkOptions = z.infer<typeof LinkOptions>;

/** What a link's process prints once it runs: where it listens for the site's daemons. */
export const LinkReady = z.strictObject({ port: z.int() });

const Count = z.int().min(0);

/** One connection, open or over, and the bytes it brought in and out of this site. */
export const Carried = z.strictObject({
  direction: z.enum(["out", "in"]),
  peerSite: z.int(),
  /** The daemon's address that was asked for. */
  target: z.string(),
  open: z.boolean(),
  bytes: z.strictObject({ in: Count, out: Count }),
});
export type Carried = z.infer<typeof Carried>;

/** What a link counted since it started. Bytes are those of the connections: what daemons sent, without the links' own lines. */
export const LinkStats = z.strictObject({
  site: z.int(),
  rateBps: z.number(),
  delayMs: z.number(),
  bytesIn: Count,
  bytesOut: Count,
  connections: z.array(Carried),
});
export type LinkStats = z.infer<typeof LinkStats>;

/** Where the link of a site is reached by other links, and where it is asked for its counters. */
export function linkSocket(dir: string, site: number, purpose: "wan" | "control"): string {
  return path.join(dir, `site-${site}.${purpose}`);
}
