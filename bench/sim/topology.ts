import { ENVOYS, leaderWeight } from "#artifacts";
import type { Random } from "#core";
import { type Hop, Link } from "./network.ts";
import type { SwarmNode } from "./swarm-node.ts";

/** Within a site, one way. */
const LAN_MS = 0.5;
/** Between two sites, one way: drawn from this range. */
const WAN_MS = { from: 15, to: 60 };
/** What a small switch or an access router holds before it drops (as in bench/lab). */
export const QUEUE_BYTES = 256 * 1024;

/** The WAN link of a site. `inBytes`: of the blob, that other sites sent into it. */
export type SiteLinks = { up: Link; down: Link; inBytes: number };

/** The links between the sites, and who is connected to whom. */
export class Topology {
  readonly sites: readonly SiteLinks[];
  readonly #delayMs: readonly (readonly number[])[];
  readonly #root: string;

  constructor(options: { root: string; sites: number; wanBps: number; random: Random }) {
    const { root, sites, wanBps, random } = options;
    const link = (): Link => new Link(wanBps, QUEUE_BYTES);
    this.#root = root;
    this.sites = Array.from({ length: sites }, () => ({ up: link(), down: link(), inBytes: 0 }));
    this.#delayMs = this.sites.map(() => this.sites.map(() => WAN_MS.from + (WAN_MS.to - WAN_MS.from) * random.unit()));
  }

  /** The way from one node to another. */
  hops(from: SwarmNode, to: SwarmNode): Hop[] {
    const first = { link: from.up, delayMs: LAN_MS };
    const last = { link: to.down, delayMs: 0 };
    const [source, target] = [this.sites[from.site], this.sites[to.site]];
    if (from.site === to.site || source === undefined || target === undefined) return [first, last];
    const delayMs = this.#delayMs[Math.min(from.site, to.site)]?.[Math.max(from.site, to.site)] ?? 0;
    return [first, { link: source.up, delayMs }, { link: target.down, delayMs: LAN_MS }, last];
  }

  /** The members of a site that deal with another, the first of them first. */
  envoys(members: readonly SwarmNode[], other: number): SwarmNode[] {
    const weight = (node: SwarmNode): number => leaderWeight(this.#root, node.id, `site-${other}`);
    return members.toSorted((a, b) => weight(b) - weight(a)).slice(0, ENVOYS);
  }

  /** Who is to be connected: all of a site with each other, and the envoys of each two sites. */
  pairs(nodes: readonly SwarmNode[]): [SwarmNode, SwarmNode][] {
    const members = this.sites.map((_, site) => nodes.filter((node) => node.site === site));
    const envoys = members.map((own) => this.sites.map((_, other) => this.envoys(own, other)));
    const pairs: [SwarmNode, SwarmNode][] = [];
    for (const [one, own] of members.entries()) {
      for (const [at, a] of own.entries()) for (const b of own.slice(at + 1)) pairs.push([a, b]);
      for (let other = one + 1; other < members.length; other++) {
        for (const a of envoys[one]?.[other] ?? []) for (const b of envoys[other]?.[one] ?? []) pairs.push([a, b]);
      }
    }
    return pairs;
  }
}
