import type { NodeId } from "#identity";
import type { Gossip, Session } from "#mesh";
import { backupPath } from "./backup-path.ts";
import { type CountedTerms, type LinkTerms, totalOf, withAdmin } from "./link-cost.ts";
import { type LinkChange, LinkGraph } from "./link-graph.ts";
import { costsUnder, type LinkMap } from "./link-map.ts";
import { penaltyAfter } from "./link-penalty.ts";
import { type LinkPolicy, NO_POLICY } from "./link-policy.ts";
import { type Advertisement, LINKS_TOPIC, readAdvertisement } from "./link-state.ts";
import { LinkTeller, type LinkTellerDeps } from "./link-teller.ts";
import { type Path, PathTree } from "./path-tree.ts";

export type RouterDeps = Omit<LinkTellerDeps, "areWellLinked"> & {
  gossip: Pick<Gossip, "publish" | "on">;
  self: NodeId;
  isMember: (node: NodeId) => boolean;
  /** What operators ask of links: the same object until that changes. Default: nothing. */
  policy?: () => LinkPolicy;
};

/** One link on a path, in the direction of the path. */
export type Leg = { from: NodeId; to: NodeId; cost: number; terms: CountedTerms };
/** A way to a node. */
export type Route = { to: NodeId; legs: readonly Leg[]; cost: number };

/** What a node told, and when that was heard. `settled`: none of its links costs more any longer for having come up lately. */
type Heard = { advertisement: Advertisement; atMs: number; settled: boolean };

/** Links that came up lately get cheaper all the time. By how much is worked out this often for circuits, which ask for ways far oftener than people. */
const PENALTY_EVERY_MS = 1_000;

/** Links that a node has besides the one to this node, when that one is no urgent news to anybody. */
const WELL_LINKED = 8;

/** What counts where an advertisement makes no sense: everybody takes it for the same. */
const NOTHING: Advertisement = { transit: false, links: new Map() };
const NO_LINKS: ReadonlyMap<NodeId, LinkTerms> = new Map();

/**
 * Tells the fleet what this node's links cost, hears what others tell, and knows the cheapest way to each of them. What it heard is worked in
 * when somebody asks for a way.
 */
export class Router implements Disposable {
  readonly #deps: RouterDeps;
  readonly #teller: LinkTeller;
  readonly #news = new Map<NodeId, { value: unknown; atMs: number }>();
  readonly #heard = new Map<NodeId, Heard>();
  readonly #graph = new LinkGraph();
  readonly #tree: PathTree;
  readonly #unlisten: () => void;
  /** Neighbours of whom the graph knows more than they told. */
  #vouched: readonly NodeId[] = [];
  /** What the graph was made under. */
  #policy: LinkPolicy = NO_POLICY;
  #penaltiesMs = Number.NEGATIVE_INFINITY;

  constructor(deps: RouterDeps) {
    this.#deps = deps;
    const { gossip, self, clock } = deps;
    this.#graph.set(self, new Map(), true);
    this.#tree = new PathTree(this.#graph, 0);
    this.#unlisten = gossip.on(LINKS_TOPIC, ({ origin, value }) => {
      if (origin !== self) this.#news.set(origin, { value, atMs: clock.nowMs() });
    });
    this.#teller = new LinkTeller({ ...deps, areWellLinked: (peers) => this.#areWellLinked(peers) });
  }

  [Symbol.dispose](): void {
    this.#unlisten();
    this.#teller[Symbol.dispose]();
  }

  /** What the link to a neighbour costs just now. */
  costOf(session: Session): CountedTerms & { total: number } {
    return this.#counted(this.#deps.self, session.nodeId, this.#teller.costOf(session));
  }

  /** What operators ask of links by now. */
  get policy(): LinkPolicy {
    return this.#deps.policy?.() ?? NO_POLICY;
  }

  /** What is known just now of everybody's links, also of those of this node that go unanswered. */
  map(): LinkMap {
    this.#workIn(0);
    const { self, host } = this.#deps;
    const own = host.sessions().map((session) => {
      return [session.nodeId, this.#teller.countedOf(session) ?? this.#teller.costOf(session)] as const;
    });
    const known = [...new Set([...this.#heard.keys(), ...this.#vouched])].map((node) => {
      const links = node === self ? new Map(own) : new Map([...this.#besides(node), ...this.#linksOf(node)]);
      return [node, { transit: this.#heard.get(node)?.advertisement.transit ?? false, links }] as const;
    });
    return new Map(known);
  }

  /** Calls back when somebody told of other links than before. Returns how to stop. */
  onNews(listener: () => void): () => void {
    return this.#deps.gossip.on(LINKS_TOPIC, listener);
  }

  /** What a node says that its link to another costs; of this node's own, what it costs just now. */
  terms(from: NodeId, to: NodeId): CountedTerms | undefined {
    const session = from === this.#deps.self ? this.#deps.host.session(to) : undefined;
    this.#workIn();
    const terms = session === undefined ? this.#termsOf(from, to) : this.#teller.costOf(session);
    return terms && this.#counted(from, to, terms);
  }

  /** The ways to all members that can be reached. */
  routes(): Route[] {
    this.#workIn(0);
    const nodes = new Set([...this.#heard.keys(), ...this.#vouched]);
    return [...nodes].flatMap((node) => this.#pathTo(node) ?? []).map((path) => this.#along(path));
  }

  /** The cheapest way to a node, and the one to take when it fails; `undefined` where there is none. */
  route(to: NodeId): (Route & { backup: Route | undefined }) | undefined {
    this.#workIn(0);
    const path = this.#pathTo(to);
    const backup = path && backupPath(this.#graph, path);
    return path && { ...this.#along(path), backup: backup && this.#along(backup) };
  }

  /**
   * The nodes on the cheapest way to a node, from the first behind this one, and then those on the way to take when it fails, which takes as long as
   * all ways together.
   */
  *ways(to: NodeId): Generator<NodeId[]> {
    this.#workIn();
    const path = this.#pathTo(to);
    if (path === undefined) return;
    yield path.nodes.slice(1);
    const backup = backupPath(this.#graph, path);
    if (backup !== undefined) yield backup.nodes.slice(1);
  }

  /**
   * What a way costs by now; `undefined` when a link of it is told of no more, or must not be used, or a node on it carries no more. `path`:
   * the nodes from the first behind this one.
   */
  costAlong(path: readonly NodeId[]): number | undefined {
    this.#workIn();
    return this.#graph.costAlong([this.#deps.self, ...path]);
  }

  /** What the cheapest way to a node costs, and how many links it has; `undefined` where there is none. */
  distance(to: NodeId): { cost: number; hops: number } | undefined {
    this.#workIn();
    const path = this.#pathTo(to);
    return path && { cost: path.cost, hops: path.nodes.length - 1 };
  }

  /** Whether all these neighbours can be reached without the links to them, and have some others besides, so that these make little difference. */
  #areWellLinked(peers: ReadonlySet<NodeId>): boolean {
    this.#workIn();
    const numbers = [...peers].map((peer) => this.#graph.numberOf(peer));
    const own = this.#graph.numberOf(this.#deps.self);
    if (own === undefined) return false;
    const reached = this.#graph.reached(own, (from, to) => from === own && numbers.includes(to));
    return numbers.every((number) => {
      if (number === undefined || !reached.has(number)) return false;
      const links = this.#graph.from(number);
      return links.size - (links.has(own) ? 1 : 0) >= WELL_LINKED;
    });
  }

  #pathTo(to: NodeId): Path | undefined {
    return to === this.#deps.self ? undefined : this.#tree.to(to);
  }

  #along({ nodes, cost }: Path): Route {
    const legs = nodes.slice(1).flatMap((to, i) => {
      const from = nodes[i] as NodeId;
      const told = this.#termsOf(from, to);
      if (told === undefined) return [];
      const { total, ...terms } = this.#counted(from, to, told);
      return [{ from, to, terms, cost: total }];
    });
    return { to: nodes.at(-1) as NodeId, legs, cost };
  }

  /** With what operators add. */
  #counted(from: NodeId, to: NodeId, told: LinkTerms): CountedTerms & { total: number } {
    const terms = withAdmin(told, this.policy.admin(from, to));
    return { ...terms, total: totalOf(terms) };
  }

  /** What a node told of its links, as they are by now. */
  #linksOf(origin: NodeId): Map<NodeId, LinkTerms> {
    const links = new Map<NodeId, LinkTerms>();
    for (const peer of this.#heard.get(origin)?.advertisement.links.keys() ?? []) {
      const terms = this.#termsOf(origin, peer);
      if (terms !== undefined) links.set(peer, terms);
    }
    return links;
  }

  /** What a node told of one link, as it is by now. */
  #termsOf(from: NodeId, to: NodeId): LinkTerms | undefined {
    const heard = this.#heard.get(from);
    const terms = heard?.advertisement.links.get(to);
    if (heard === undefined || terms === undefined) return undefined;
    return { ...terms, penalty: penaltyAfter(terms.penalty, this.#deps.clock.nowMs() - heard.atMs) };
  }

  /** What was heard since the last time, who is no member any more, and how this node's own links are now. */
  #workIn(penaltiesEveryMs = PENALTY_EVERY_MS): void {
    const { isMember, self, host, clock, transit } = this.#deps;
    const changes: LinkChange[] = [];
    const { policy } = this;
    const isRuled = policy !== this.#policy;
    this.#policy = policy;
    const isFaded = clock.nowMs() - this.#penaltiesMs >= penaltiesEveryMs;
    if (isFaded) this.#penaltiesMs = clock.nowMs();
    const news = new Set([self, ...this.#news.keys()]);
    for (const [origin, { value, atMs }] of this.#news) {
      this.#heard.set(origin, { advertisement: readAdvertisement(value) ?? NOTHING, atMs, settled: false });
    }
    this.#news.clear();
    const own = new Map<NodeId, LinkTerms>();
    for (const session of host.sessions()) {
      const terms = this.#teller.countedOf(session);
      if (terms !== undefined) own.set(session.nodeId, terms);
    }
    this.#heard.set(self, { advertisement: { transit, links: own }, atMs: clock.nowMs(), settled: false });
    for (const [origin, { settled }] of this.#heard) {
      const isGone = origin !== self && !isMember(origin);
      if (isGone) this.#heard.delete(origin);
      if (isGone || isRuled || news.has(origin) || (isFaded && !settled))
        changes.push(...this.#place(origin, this.#besides(origin)));
    }
    changes.push(...this.#vouchFor(own));
    if (changes.length > 0) this.#tree.update(changes);
  }

  /** A neighbour is there, also while it has not told of the link itself. */
  #vouchFor(neighbours: ReadonlyMap<NodeId, LinkTerms>): LinkChange[] {
    const { self } = this.#deps;
    const before = this.#vouched;
    this.#vouched = [...neighbours.keys()].filter(
      (peer) => this.#heard.get(peer)?.advertisement.links.has(self) !== true,
    );
    const changed = new Set(before).union(new Set(this.#vouched));
    return [...changed].flatMap((peer) => this.#place(peer, this.#besides(peer)));
  }

  /** What is known of a node's links though it did not tell. */
  #besides(origin: NodeId): ReadonlyMap<NodeId, LinkTerms> {
    const { self } = this.#deps;
    const terms = this.#vouched.includes(origin) ? this.#termsOf(self, origin) : undefined;
    return terms === undefined ? NO_LINKS : new Map([[self, terms]]);
  }

  /** Puts into the graph what a node told, as it is by now, and what is known besides. */
  #place(origin: NodeId, besides: ReadonlyMap<NodeId, LinkTerms>): LinkChange[] {
    const heard = this.#heard.get(origin);
    const told = this.#linksOf(origin);
    if (heard !== undefined) heard.settled = told.values().every(({ penalty }) => penalty === 0);
    const links = besides.size === 0 ? told : new Map([...besides, ...told]);
    const carries = (heard?.advertisement ?? NOTHING).transit && this.#policy.mayCarry(origin);
    return this.#graph.set(origin, costsUnder(this.#policy, origin, links), carries);
  }
}
