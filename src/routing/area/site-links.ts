import type { Clock } from "#core";
import type { NodeId } from "#identity";
import type { Gossip } from "#mesh";
import { type Changes, HeardLinks } from "../heard-links.ts";
import { costsUnder, type KnownLinks } from "../link-map.ts";
import type { LinkTerms } from "../link-cost.ts";
import { type LinkPolicy, NO_POLICY } from "../link-policy.ts";
import type { LinkSource } from "../link-source.ts";
import { type Advertisement, LINKS_TOPIC, NO_LINKS, readAdvertisement, writeAdvertisement } from "../link-state.ts";
import {
  BEHIND_TOPIC,
  type Behind,
  type BorderAdvertisement,
  BORDERS_TOPIC,
  leadsTo,
  NO_BORDER,
  NOBODY,
  readBehind,
  readBorder,
  writeBehind,
  writeBorder,
} from "./border-state.ts";
import { BorderTeller, type BorderWord } from "./border-teller.ts";
import { SiteGraph } from "./site-graph.ts";

/** What a node needs to live in a fleet with areas. */
export type AreaDeps = {
  /** What only neighbours of the own site hear and pass on, and whether they do. */
  siteGossip: Pick<Gossip, "publish" | "on" | "latest">;
  turn: (isOn: boolean) => void;
  /** Where a member is, by its document. */
  siteOf: (node: NodeId) => string | undefined;
  members: () => Iterable<NodeId>;
};

export type SiteLinksDeps = Omit<AreaDeps, "turn"> & {
  clock: Clock;
  self: NodeId;
  gossip: Pick<Gossip, "publish" | "on" | "onPast" | "latest">;
  /** Works in what was heard, so that a border tells what is so now. */
  refresh: () => void;
  /** What others know of this node's links. */
  told: () => ReadonlyMap<NodeId, LinkTerms>;
};

/** How often it is looked who is of the own site: of 10,000 members that takes some milliseconds, and news of one waits for nobody. */
const MEMBERS_EVERY_MS = 10_000;

/**
 * With areas, links inside a site are told inside the site. Borders, nodes with links to other sites, tell everybody of those, of what their ways to other
 * borders of their site cost, and whom they reach there. So a node knows its own site link by link, and of another one how to get to and through it.
 */
export class SiteLinks implements LinkSource {
  readonly #deps: SiteLinksDeps;
  /** Of the own site, and of borders everywhere. */
  readonly #links: HeardLinks<Advertisement>;
  readonly #borders: HeardLinks<BorderAdvertisement>;
  readonly #behind = new Map<NodeId, Behind>();
  readonly #site: SiteGraph;
  readonly #teller: BorderTeller;
  readonly #unlisten: (() => void)[];
  #policy: LinkPolicy = NO_POLICY;
  /** Members of the own site. */
  #members: readonly NodeId[] = [];
  #membersMs = Number.NEGATIVE_INFINITY;
  /** Borders that are not reached inside the own site, by site; `undefined`: to be worked out. */
  #bySite: Map<string, NodeId[]> | undefined;

  constructor(deps: SiteLinksDeps) {
    this.#deps = deps;
    const { gossip, siteGossip, self } = deps;
    this.#site = new SiteGraph(self);
    this.#links = new HeardLinks(
      deps,
      (value, origin) => (this.#isNear(origin) ? readAdvertisement(value) : undefined) ?? NO_LINKS,
      (node) => this.#isNear(node),
    );
    this.#borders = new HeardLinks(
      deps,
      (value, origin) => readBorder(value, (node) => this.#areTogether(origin, node)) ?? NO_BORDER,
      (node) => !this.#isNear(node),
    );
    this.#teller = new BorderTeller({
      clock: deps.clock,
      look: () => this.#ownBorder(),
      publish: ({ border, behind }) => {
        if (border !== undefined) gossip.publish(BORDERS_TOPIC, writeBorder(border));
        if (behind !== undefined) gossip.publish(BEHIND_TOPIC, writeBehind(behind));
      },
    });
    for (const { origin, value } of siteGossip.latest(LINKS_TOPIC)) this.#links.hear(origin, value);
    for (const { origin, value } of gossip.latest(BORDERS_TOPIC)) this.#borders.hear(origin, value);
    for (const { origin, value } of gossip.latest(BEHIND_TOPIC)) this.#behind.set(origin, readBehind(value) ?? NOBODY);
    this.#unlisten = [
      ...[BORDERS_TOPIC, BEHIND_TOPIC].map((topic) => gossip.onPast(topic, () => this.#teller.correct())),
      siteGossip.on(LINKS_TOPIC, ({ origin, value }) => {
        this.#links.hear(origin, value);
        this.#teller.look();
      }),
      gossip.on(BORDERS_TOPIC, ({ origin, value }) => {
        this.#borders.hear(origin, value);
        if (this.#isNear(origin)) this.#teller.look();
      }),
      gossip.on(BEHIND_TOPIC, ({ origin, value }) => this.#behind.set(origin, readBehind(value) ?? NOBODY)),
    ];
  }

  [Symbol.dispose](): void {
    this.#teller[Symbol.dispose]();
    for (const stop of this.#unlisten) stop();
  }

  workIn(own: Advertisement, changes: Changes, policy: LinkPolicy): Set<NodeId> {
    this.#policy = policy;
    this.#links.set(own);
    const inside = this.#links.workIn(changes);
    for (const node of inside) {
      const transit = this.#links.get(node)?.transit === true;
      this.#site.set(
        node,
        costsUnder(policy, node, { transit, links: this.#linksInside(node) }),
        transit && policy.mayCarry(node),
      );
    }
    const outside = this.#borders.workIn(changes);
    for (const node of this.#behind.keys()) if (!changes.isMember(node)) this.#behind.delete(node);
    const turned = this.#site.settle();
    if (outside.size > 0 || turned.size > 0 || changes.isRuled) this.#bySite = undefined;
    const near = turned.size === 0 ? [] : [...this.#borders.origins()].filter((border) => this.#isNear(border));
    return inside.union(outside).union(turned).union(new Set(near)); // whoever is reached, no way inside leads to from others
  }

  /**
   * Of nodes that cannot be reached inside the site what they told there is old: nobody brings anything newer. Nor is there a way inside from those that
   * can be to those that cannot.
   */
  known(node: NodeId): KnownLinks {
    const { reached } = this.#site;
    if (reached.has(node))
      return { transit: this.#links.get(node)?.transit ?? false, links: this.#links.linksOf(node) };
    const { transit, inside } = this.#borders.get(node) ?? NO_BORDER;
    const ways = [...inside].filter(([border]) => !reached.has(border));
    return { transit, links: this.#borders.linksOf(node), inside: new Map(ways) };
  }

  origins(): Set<NodeId> {
    return this.#links.origins().union(this.#borders.origins());
  }

  termsOf(from: NodeId, to: NodeId): LinkTerms | undefined {
    return (this.#site.reached.has(from) ? this.#links : this.#borders).termsOf(from, to);
  }

  bordersOf(node: NodeId): NodeId[] {
    const site = this.#site.reached.has(node) ? undefined : this.#deps.siteOf(node);
    if (site === undefined) return [];
    this.#bySite ??= this.#sortBorders();
    const borders = this.#bySite.get(site) ?? [];
    return borders.filter((border) => {
      return border !== node && leadsTo(this.#behind.get(border) ?? NOBODY, node) && this.#isLinked(border);
    });
  }

  /** Whether any of its links to other sites is told of by the other end, too. Of who is no border since it started anew, others know what it told before. */
  #isLinked(border: NodeId): boolean {
    const peers = this.#borders.get(border)?.links.keys() ?? [];
    return peers.some((peer) => this.termsOf(peer, border) !== undefined);
  }

  behindBorders(): NodeId[] {
    return [...this.#deps.members()].filter((node) => this.bordersOf(node).length > 0);
  }

  insideTo(to: NodeId): readonly NodeId[] | undefined {
    return this.#site.pathTo(to)?.nodes.slice(1, -1);
  }

  tell(advertisement: Advertisement): void {
    this.#deps.siteGossip.publish(LINKS_TOPIC, writeAdvertisement(advertisement));
    this.#teller.look();
  }

  withdraw(): void {
    this.#deps.siteGossip.publish(LINKS_TOPIC, writeAdvertisement(NO_LINKS));
    this.#deps.gossip.publish(BORDERS_TOPIC, writeBorder(NO_BORDER));
    this.#deps.gossip.publish(BEHIND_TOPIC, writeBehind(NOBODY));
  }

  /**
   * What this node tells as a border. One that is not to be one, or carries nothing, is none where others of its site are that it reaches: they lead to
   * it. Who carries nothing leads to nobody but itself.
   */
  #ownBorder(): BorderWord | undefined {
    const { self, refresh, told } = this.#deps;
    const links = new Map([...told()].filter(([peer]) => !this.#isNear(peer)));
    if (links.size === 0) return undefined;
    refresh();
    const { reached } = this.#site;
    const isBorder = (node: NodeId): boolean => this.#carries(node) && this.#policy.mayLeave(node);
    if (!isBorder(self) && reached.keys().some((node) => node !== self && isBorder(node) && this.#leaves(node)))
      return undefined;
    if (!this.#carries(self)) return { border: { ...NO_BORDER, links }, behind: NOBODY };
    const inside = new Map<NodeId, number>();
    for (const border of this.#borders.origins()) {
      if (this.#borders.get(border)?.transit !== true) continue;
      const path = reached.has(border) ? this.#site.pathTo(border) : undefined;
      if (path !== undefined) inside.set(border, path.cost);
    }
    const others = this.#siteMembers().filter((node) => node !== self);
    const [only, except] = [others.filter((node) => reached.has(node)), others.filter((node) => !reached.has(node))];
    const behind = only.length < except.length ? { only: new Set(only) } : { except: new Set(except) };
    return { border: { transit: true, links, inside }, behind };
  }

  /** Without what they cost more for coming up lately: that falls by the minute, and what ways inside cost is told to everybody. */
  #linksInside(node: NodeId): ReadonlyMap<NodeId, LinkTerms> {
    const links = [...this.#links.linksOf(node)].filter(([peer]) => this.#areTogether(node, peer));
    return new Map(links.map(([peer, terms]) => [peer, { ...terms, penalty: 0 }]));
  }

  #sortBorders(): Map<string, NodeId[]> {
    const bySite = new Map<string, NodeId[]>();
    for (const border of this.#borders.origins()) {
      const site = this.#site.reached.has(border) ? undefined : this.#deps.siteOf(border);
      if (site !== undefined) bySite.set(site, [...(bySite.get(site) ?? []), border]);
    }
    return bySite;
  }

  #siteMembers(): readonly NodeId[] {
    const { clock, members } = this.#deps;
    if (clock.nowMs() - this.#membersMs >= MEMBERS_EVERY_MS) {
      this.#membersMs = clock.nowMs();
      this.#members = [...members()].filter((node) => this.#isNear(node));
    }
    return this.#members;
  }

  #carries(node: NodeId): boolean {
    return this.#links.get(node)?.transit === true && this.#policy.mayCarry(node);
  }

  /** Whether it has links to other sites. */
  #leaves(node: NodeId): boolean {
    return (
      this.#links
        .get(node)
        ?.links.keys()
        .some((peer) => !this.#areTogether(node, peer)) === true
    );
  }

  #isNear(node: NodeId): boolean {
    return this.#areTogether(this.#deps.self, node);
  }

  #areTogether(a: NodeId, b: NodeId): boolean {
    const { siteOf } = this.#deps;
    const site = siteOf(a);
    return site !== undefined && site === siteOf(b);
  }
}
