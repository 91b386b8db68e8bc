import type { NodeId } from "#identity";
import { leaderWeight } from "./leaders.ts";
import { MAX_SWARM_PEERS } from "./swarm-limits.ts";

/** Members of the own site up to which each is connected to each; beyond it, links are random ones. */
export const SMALL_SITE = 32;
/** Links that each opens in a larger site. A random graph of this degree stays in one piece when half of its nodes die at once. */
const LINKS_IN_LARGE_SITE = 16;
/** Members of a site that keep a link to another site, and members of that to whom: the envoys, and who takes over from them. */
export const ENVOYS = 2;
/** Those who come after the envoys wait so long for each pair before them, until they open links themselves. */
const PATIENCE_MS = 2_000;
const MAX_PATIENCE_MS = 10_000;
/** Links to another site that others of the site have, too, are given up when they were of no use for so long. */
const SPARE_MS = 3_000;
/** Who could not be reached, or takes no part, is asked again after so long; it doubles, and after the last it is forgotten. */
const RETRY_MS = 5_000;
const MAX_RETRY_MS = 60_000;
/** Nodes known per swarm, connected or not; those beyond are found again when some are gone. */
const MAX_CONTACTS = 4 * MAX_SWARM_PEERS;

/** What the plan needs to know of the links that there are. */
export type ContactView = {
  ownSite: string;
  /** The site that is signed for a node; nodes without one share a place. */
  siteOf(peer: NodeId): string | undefined;
  /** Both have joined this swarm. */
  isLinked(peer: NodeId): boolean;
  /** Nothing is offered, sent or awaited on this link. */
  isIdle(peer: NodeId): boolean;
  /** Members of the own site that I am linked with and that have a link into that one. */
  reaching(site: string): readonly NodeId[];
};

type Contact = { notBeforeMs: number; retryMs: number; readonly weights: Map<string, number> };

type Far = { sinceMs: number; neededMs: number };

/**
 * Whom of a swarm to be connected with: every member of the own site, or some at random if it is large, and of each other site only
 * two, if I am one of the two of mine that deal with it. So the links of a node grow with the number of sites, not of
 * nodes, and news of chunks cross the WAN once or twice. Everybody computes the same envoys (`leaderWeight`), and goes by what it sees where they do not serve: who
 * knows of no two envoys before it with a link into a site opens one itself.
 */
export class Contacts {
  readonly #root: string;
  readonly #self: NodeId;
  readonly #contacts = new Map<NodeId, Contact>();
  readonly #far = new Map<string, Far>();
  readonly #ownWeights = new Map<string, number>();

  constructor(root: string, self: NodeId) {
    this.#root = root;
    this.#self = self;
  }

  /** It takes part, as it says itself or somebody else does. */
  add(peer: NodeId): void {
    if (peer === this.#self || this.#contacts.has(peer) || this.#contacts.size >= MAX_CONTACTS) return;
    this.#contacts.set(peer, { notBeforeMs: 0, retryMs: RETRY_MS, weights: new Map() });
  }

  has(peer: NodeId): boolean {
    return this.#contacts.has(peer);
  }

  /** It could not be reached, is gone, or takes no part. */
  failed(peer: NodeId, nowMs: number): void {
    const contact = this.#contacts.get(peer);
    if (contact === undefined) return;
    if (contact.retryMs > MAX_RETRY_MS) this.#contacts.delete(peer);
    contact.notBeforeMs = nowMs + contact.retryMs;
    contact.retryMs *= 2;
  }

  /** Whom to open a link to, and whom to leave, now. Worth asking when something changed, and about once a second. */
  plan(view: ContactView, nowMs: number): { join: NodeId[]; leave: NodeId[] } {
    const near: NodeId[] = [];
    const far = new Map<string, NodeId[]>();
    for (const [peer, contact] of this.#contacts) {
      if (view.isLinked(peer)) contact.retryMs = RETRY_MS;
      else if (nowMs < contact.notBeforeMs) continue;
      const site = view.siteOf(peer) ?? "";
      if (site === view.ownSite) near.push(peer);
      else if (far.get(site)?.push(peer) === undefined) far.set(site, [peer]);
    }
    for (const site of this.#far.keys()) if (!far.has(site)) this.#far.delete(site);
    const join = this.#wantedNear(near, [...far.keys()]);
    const leave: NodeId[] = [];
    for (const [site, peers] of far) {
      if (this.#isNeeded(site, near, view, nowMs)) join.push(...this.best(peers, view.ownSite).slice(0, ENVOYS));
      else if (this.#isSpare(site, nowMs)) leave.push(...peers.filter((p) => view.isLinked(p) && view.isIdle(p)));
    }
    return { join: join.filter((peer) => !view.isLinked(peer)), leave };
  }

  #wantedNear(near: readonly NodeId[], farSites: readonly string[]): NodeId[] {
    if (near.length <= SMALL_SITE) return [...near];
    const chosen = near.toSorted((a, b) => this.#pairWeight(b) - this.#pairWeight(a)).slice(0, LINKS_IN_LARGE_SITE);
    // Who brings chunks in from different sites must not bring the same ones.
    const envoys = new Set(farSites.map((site) => this.#envoy(site, near)));
    return envoys.delete(this.#self) ? [...new Set([...chosen, ...envoys])] : chosen;
  }

  #envoy(site: string, near: readonly NodeId[]): NodeId {
    const best = this.best(near, site)[0];
    return best === undefined || this.#weight(best, site) < this.#weight(this.#self, site) ? this.#self : best;
  }

  /** Whether I should have a link into that site: of those of mine who come before me, fewer than two are known to have one. */
  #isNeeded(site: string, near: readonly NodeId[], view: ContactView, nowMs: number): boolean {
    let known = this.#far.get(site);
    if (known === undefined) {
      known = { sinceMs: nowMs, neededMs: nowMs };
      this.#far.set(site, known);
    }
    const own = this.#weight(this.#self, site);
    const before = view.reaching(site).filter((peer) => this.#weight(peer, site) > own).length;
    if (before >= ENVOYS) return false;
    const rank = near.filter((peer) => this.#weight(peer, site) > own).length;
    const patienceMs = Math.min(MAX_PATIENCE_MS, Math.floor(rank / ENVOYS) * PATIENCE_MS);
    known.neededMs = nowMs;
    return nowMs - known.sinceMs >= patienceMs;
  }

  #isSpare(site: string, nowMs: number): boolean {
    return nowMs - (this.#far.get(site)?.neededMs ?? nowMs) >= SPARE_MS;
  }

  /** Whether I am one of the first so many of all that I know of, in an order that everybody computes. */
  isAmongFirst(count: number): boolean {
    const own = this.#weight(this.#self, "");
    return [...this.#contacts.keys()].filter((peer) => this.#weight(peer, "") > own).length < count;
  }

  /** The same at both ends, so that about every second link is wanted by both. */
  #pairWeight(peer: NodeId): number {
    const [first, second] = this.#self < peer ? [this.#self, peer] : [peer, this.#self];
    return this.#cached(this.#contacts.get(peer)?.weights, this.#self, () => leaderWeight(this.#root, first, second));
  }

  /** By falling weight for a site. */
  best(peers: readonly NodeId[], site: string): NodeId[] {
    return peers.toSorted((a, b) => this.#weight(b, site) - this.#weight(a, site));
  }

  #weight(node: NodeId, site: string): number {
    const weights = node === this.#self ? this.#ownWeights : this.#contacts.get(node)?.weights;
    return this.#cached(weights, site, () => leaderWeight(this.#root, node, site));
  }

  #cached(weights: Map<string, number> | undefined, key: string, compute: () => number): number {
    let weight = weights?.get(key);
    if (weight === undefined) {
      weight = compute();
      weights?.set(key, weight);
    }
    return weight;
  }
}
