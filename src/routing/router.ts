import type { Clock } from "#core";
import type { NodeId } from "#identity";
import type { Gossip, Host, Session } from "#mesh";
import { AdvertisedCost } from "./advertised-cost.ts";
import { backupPath } from "./backup-path.ts";
import { type LinkCost, linkCost, type LinkTerms, totalOf } from "./link-cost.ts";
import { type LinkChange, LinkGraph } from "./link-graph.ts";
import { LinkPenalty } from "./link-penalty.ts";
import { type Advertisement, LINKS_TOPIC, readAdvertisement, writeAdvertisement } from "./link-state.ts";
import { type Path, PathTree } from "./path-tree.ts";

/** How often links are measured. */
const MEASURE_MS = 1_000;
/** A link that went is told of so soon, with those that went at the same time; one that came a little later: a node that starts has many. */
const GONE_MS = 20;
const CAME_MS = 200;

export type RouterDeps = {
  host: Pick<Host, "sessions" | "session" | "onSession">;
  gossip: Pick<Gossip, "publish" | "on">;
  clock: Clock;
  self: NodeId;
  /** Where this node is, once it is a member. */
  site: () => string | undefined;
  isMember: (node: NodeId) => boolean;
  /** Whether this node passes on what is not for itself. */
  transit: boolean;
};

/** What counts where an advertisement makes no sense: everybody takes it for the same. */
const NOTHING: Advertisement = { transit: false, links: new Map() };

/** One link on a path, in the direction of the path. */
export type Leg = { from: NodeId; to: NodeId; cost: number; terms: LinkTerms };
/** A way to a node. */
export type Route = { to: NodeId; legs: readonly Leg[]; cost: number };

/** A link of this node: what it costs more for coming up lately, and what others were told of it, if anything. */
type OwnLink = { penalty: LinkPenalty; terms: LinkTerms | undefined; told: AdvertisedCost | undefined };

/**
 * Tells the fleet what this node's links cost, hears what others tell, and knows the cheapest way to each of them. What it heard is worked in
 * when somebody asks for a way.
 */
export class Router implements Disposable {
  readonly #deps: RouterDeps;
  readonly #own = new Map<NodeId, OwnLink>();
  readonly #news = new Map<NodeId, unknown>();
  readonly #heard = new Map<NodeId, Advertisement>();
  readonly #graph = new LinkGraph();
  readonly #tree: PathTree;
  readonly #stopping = new AbortController();
  readonly #unlisten: readonly (() => void)[];
  #told = "";
  /** When it is next told which links there are, if that is to be soon. */
  #tellAtMs = Number.POSITIVE_INFINITY;
  /** Neighbours of whom the graph knows more than they told. */
  #vouched: readonly NodeId[] = [];

  constructor(deps: RouterDeps) {
    this.#deps = deps;
    const { host, gossip, self, clock } = deps;
    this.#graph.set(self, new Map(), true);
    this.#tree = new PathTree(this.#graph, 0);
    this.#unlisten = [
      gossip.on(LINKS_TOPIC, ({ origin, value }) => (origin === self ? undefined : this.#news.set(origin, value))),
      host.onSession(({ nodeId }, event) => {
        if (event === "up") this.#link(nodeId).penalty.up(clock.nowMs());
        this.#tellWithin(event === "up" ? CAME_MS : GONE_MS);
      }),
    ];
    void this.#run();
  }

  [Symbol.dispose](): void {
    for (const stop of this.#unlisten) stop();
    this.#stopping.abort();
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await clock.sleep(MEASURE_MS, signal).catch(() => undefined);
      if (!signal.aborted) this.#measure();
    }
  }

  #tellWithin(ms: number): void {
    const { clock } = this.#deps;
    const atMs = clock.nowMs() + ms;
    if (this.#tellAtMs <= atMs) return;
    this.#tellAtMs = atMs;
    clock.sleep(ms, this.#stopping.signal).then(
      () => {
        if (this.#tellAtMs === atMs) this.#tell(false);
      },
      () => undefined, // the node stops
    );
  }

  /** Measures all links, and tells of them if that is news to others. */
  #measure(): void {
    const { host, clock } = this.#deps;
    const nowMs = clock.nowMs();
    let changed = false;
    for (const session of host.sessions()) {
      const { total, ...terms } = this.costOf(session);
      const link = this.#link(session.nodeId);
      // one that is silent just now is told of as before: it may come back, and is given up within seconds if it does not
      if (!Number.isFinite(total) || link.told?.measure(varying(terms), nowMs) !== true) continue;
      link.terms = terms;
      changed = true;
    }
    this.#forgetGone(nowMs);
    this.#tell(changed);
  }

  /** Tells what links there are and what they cost, if any cost is another one, or there are other links. */
  #tell(changed: boolean): void {
    const { host, gossip, transit, site } = this.#deps;
    this.#tellAtMs = Number.POSITIVE_INFINITY;
    if (site() === undefined) return;
    const links = new Map<NodeId, LinkTerms>();
    for (const session of host.sessions()) {
      const terms = this.#toldOf(session);
      if (terms !== undefined) links.set(session.nodeId, terms);
    }
    const peers = [...links.keys()].toSorted().join();
    if (!changed && peers === this.#told) return;
    this.#told = peers;
    gossip.publish(LINKS_TOPIC, writeAdvertisement({ transit, links }));
  }

  /** What others are told of a link: of a new one, what it costs just now. */
  #toldOf(session: Session): LinkTerms | undefined {
    const link = this.#link(session.nodeId);
    if (link.told !== undefined) return link.terms;
    const { total, ...terms } = this.costOf(session);
    if (!Number.isFinite(total)) return undefined;
    link.told = new AdvertisedCost(varying(terms), this.#deps.clock.nowMs());
    link.terms = terms;
    return terms;
  }

  /** A link that went is remembered while it would start dearer. */
  #forgetGone(nowMs: number): void {
    for (const [peer, link] of this.#own) {
      if (this.#deps.host.session(peer) !== undefined) continue;
      link.told = undefined;
      link.terms = undefined;
      if (link.penalty.at(nowMs) === 0) this.#own.delete(peer);
    }
  }

  #link(peer: NodeId): OwnLink {
    let link = this.#own.get(peer);
    if (link === undefined) {
      link = { penalty: new LinkPenalty(), terms: undefined, told: undefined };
      this.#own.set(peer, link);
    }
    return link;
  }

  /** What the link to a neighbour costs just now. */
  costOf(session: Session): LinkCost {
    return linkCost({
      rttMs: session.rttMs(),
      lossRatio: session.lossRatio(),
      suspect: session.suspect(),
      sameSite: session.site === this.#deps.site(),
      penalty: this.#own.get(session.nodeId)?.penalty.at(this.#deps.clock.nowMs()) ?? 0,
    });
  }

  /** Calls back when somebody told of other links than before. Returns how to stop. */
  onNews(listener: () => void): () => void {
    return this.#deps.gossip.on(LINKS_TOPIC, listener);
  }

  /** What a node says that its link to another costs; of this node's own, what it costs just now. */
  terms(from: NodeId, to: NodeId): LinkTerms | undefined {
    const session = from === this.#deps.self ? this.#deps.host.session(to) : undefined;
    this.#workIn();
    return session === undefined ? this.#heard.get(from)?.links.get(to) : this.costOf(session);
  }

  /** The ways to all members that can be reached. */
  routes(): Route[] {
    this.#workIn();
    return [...new Set([...this.#heard.keys(), ...this.#vouched])].flatMap((node) => this.#routeTo(node) ?? []);
  }

  /** The cheapest way to a node, and the one to take when it fails; `undefined` where there is none. */
  route(to: NodeId): (Route & { backup: Route | undefined }) | undefined {
    this.#workIn();
    const route = this.#routeTo(to);
    if (route === undefined) return undefined;
    const backup = backupPath(this.#graph, { nodes: [this.#deps.self, ...route.legs.map((leg) => leg.to)], cost: 0 });
    return { ...route, backup: backup && this.#along(backup) };
  }

  #routeTo(to: NodeId): Route | undefined {
    const path = to === this.#deps.self ? undefined : this.#tree.to(to);
    return path && this.#along(path);
  }

  #along({ nodes, cost }: Path): Route {
    const legs = nodes.slice(1).flatMap((to, i) => {
      const from = nodes[i] as NodeId;
      const terms = this.#heard.get(from)?.links.get(to);
      return terms === undefined ? [] : [{ from, to, terms, cost: totalOf(terms) }];
    });
    return { to: nodes.at(-1) as NodeId, legs, cost };
  }

  /** What was heard since the last time, who is no member any more, and how this node's own links are now. */
  #workIn(): void {
    const { isMember, self, host, transit } = this.#deps;
    const changes: LinkChange[] = [];
    for (const [origin, value] of this.#news) {
      if (isMember(origin)) changes.push(...this.#set(origin, readAdvertisement(value) ?? NOTHING));
    }
    this.#news.clear();
    for (const origin of this.#heard.keys()) {
      if (origin === self || isMember(origin)) continue;
      this.#heard.delete(origin);
      changes.push(...this.#graph.remove(origin));
    }
    const costs = host.sessions().map((session) => [session.nodeId, this.costOf(session)] as const);
    const usable = new Map(costs.filter(([, { total }]) => Number.isFinite(total)));
    changes.push(...this.#set(self, { transit, links: usable }), ...this.#vouchFor(usable));
    if (changes.length > 0) this.#tree.update(changes);
  }

  /** A neighbour is there, also while it has not told of the link itself. */
  #vouchFor(neighbours: ReadonlyMap<NodeId, LinkTerms>): LinkChange[] {
    const { self } = this.#deps;
    const before = this.#vouched;
    this.#vouched = [...neighbours.keys()].filter((peer) => this.#heard.get(peer)?.links.has(self) !== true);
    const changes = before.flatMap((peer) => (this.#vouched.includes(peer) ? [] : this.#place(peer, new Map())));
    for (const peer of this.#vouched) {
      const terms = neighbours.get(peer);
      if (terms !== undefined) changes.push(...this.#place(peer, new Map([[self, terms]])));
    }
    return changes;
  }

  #set(origin: NodeId, advertisement: Advertisement): LinkChange[] {
    this.#heard.set(origin, advertisement);
    return this.#place(origin, new Map());
  }

  /** Puts into the graph what a node told, and what is known besides. */
  #place(origin: NodeId, besides: ReadonlyMap<NodeId, LinkTerms>): LinkChange[] {
    const { links, transit } = this.#heard.get(origin) ?? { links: new Map<NodeId, LinkTerms>(), transit: false };
    const costs = new Map([...besides, ...links].map(([peer, terms]) => [peer, totalOf(terms)]));
    return this.#graph.set(origin, costs, transit);
  }
}

/** What may change of a cost: beside what leaving the site costs, a round trip that doubled would look like nothing. */
function varying({ latency, loss, penalty }: LinkTerms): number {
  return latency + loss + penalty;
}
