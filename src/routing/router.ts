import type { NodeId } from "#identity";
import type { Gossip, Session } from "#mesh";
import { BEHIND_TOPIC, BORDERS_TOPIC } from "./area/border-state.ts";
import { type AreaDeps, SiteLinks } from "./area/site-links.ts";
import { backupPath } from "./backup-path.ts";
import { FleetLinks } from "./fleet-links.ts";
import { type CountedTerms, type LinkTerms, totalOf, withAdmin } from "./link-cost.ts";
import { type LinkChange, LinkGraph } from "./link-graph.ts";
import { costsUnder, type LinkMap, mapOf } from "./link-map.ts";
import { type LinkPolicy, NO_POLICY } from "./link-policy.ts";
import type { LinkSource } from "./link-source.ts";
import { LINKS_TOPIC } from "./link-state.ts";
import { MAX_DETOUR } from "./circuit/circuit-open.ts";
import { LinkTeller, type LinkTellerDeps } from "./link-teller.ts";
import { type Path, PathTree } from "./path-tree.ts";

export type RouterDeps = Omit<LinkTellerDeps, "areWellLinked" | "publish"> & {
  gossip: Pick<Gossip, "publish" | "on" | "onPast" | "latest">;
  self: NodeId;
  isMember: (node: NodeId) => boolean;
  /** What operators ask of links: the same object until that changes. Default: nothing. */
  policy?: () => LinkPolicy;
  /** Without it links are told to the whole fleet, whatever operators ask. */
  area?: AreaDeps;
};

/** One link on a path, in the direction of the path. `terms` is absent where a way inside another site is meant, of which only the cost is known, if that. */
export type Leg = { from: NodeId; to: NodeId; cost: number; terms?: CountedTerms };
/** A way to a node. */
export type Route = { to: NodeId; legs: readonly Leg[]; cost: number };

/** Links that came up lately get cheaper all the time. By how much is worked out this often for circuits, which ask for ways far oftener than people. */
const PENALTY_EVERY_MS = 1_000;

/** How often it is looked whether links are told elsewhere by now. */
const AREAS_EVERY_MS = 2_000;

/** Links that a node has besides the one to this node, when that one is no urgent news to anybody. */
const WELL_LINKED = 8;

/** Where links are told: what is known of them, and the paths over them. */
type World = { areas: LinkPolicy["areas"]; source: LinkSource; graph: LinkGraph; tree: PathTree };

/**
 * Tells the fleet what this node's links cost, hears what others tell, and knows the cheapest way to each of them. What it heard is worked in
 * when somebody asks for a way.
 */
export class Router implements Disposable {
  readonly #deps: RouterDeps;
  readonly #teller: LinkTeller;
  readonly #stopping = new AbortController();
  #world: World;
  /** What the graph was made under. */
  #policy: LinkPolicy = NO_POLICY;
  #penaltiesMs = Number.NEGATIVE_INFINITY;

  constructor(deps: RouterDeps) {
    this.#deps = deps;
    const areas = deps.area === undefined ? "one" : this.policy.areas;
    deps.area?.turn(areas === "site");
    this.#world = this.#makeWorld(areas);
    this.#teller = new LinkTeller({
      ...deps,
      areWellLinked: (peers) => this.#areWellLinked(peers),
      publish: (advertisement) => this.#world.source.tell(advertisement),
    });
    if (deps.area !== undefined) void this.#watchAreas();
  }

  [Symbol.dispose](): void {
    this.#stopping.abort();
    this.#world.source[Symbol.dispose]();
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

  /**
   * What is known just now of everybody's links, also of those of this node that go unanswered. Whoever is behind borders of another site hangs on
   * those at no cost.
   */
  map(): LinkMap {
    this.#workIn(0);
    const { self, host } = this.#deps;
    const { source } = this.#world;
    const own = host.sessions().map((session) => {
      return [session.nodeId, this.#teller.countedOf(session) ?? this.#teller.costOf(session)] as const;
    });
    return mapOf(source, [self, new Map(own)]);
  }

  /** Calls back when somebody told of other links than before. Returns how to stop. */
  onNews(listener: () => void): () => void {
    const { gossip, area } = this.#deps;
    const stops = [LINKS_TOPIC, BORDERS_TOPIC, BEHIND_TOPIC].map((topic) => gossip.on(topic, listener));
    if (area !== undefined) stops.push(area.siteGossip.on(LINKS_TOPIC, listener));
    return () => {
      for (const stop of stops) stop();
    };
  }

  /** What a node says that its link to another costs; of this node's own, what it costs just now. */
  terms(from: NodeId, to: NodeId): CountedTerms | undefined {
    const session = from === this.#deps.self ? this.#deps.host.session(to) : undefined;
    this.#workIn();
    const terms = session === undefined ? this.#world.source.termsOf(from, to) : this.#teller.costOf(session);
    return terms && this.#counted(from, to, terms);
  }

  /** The ways to all members that can be reached. */
  routes(): Route[] {
    this.#workIn(0);
    const { source } = this.#world;
    const nodes = new Set([...source.origins(), ...source.behindBorders()]);
    return [...nodes].flatMap((node) => this.#pathTo(node) ?? []).map((path) => this.#along(path));
  }

  /** The cheapest way to a node, and the one to take when it fails; `undefined` where there is none. */
  route(to: NodeId): (Route & { backup: Route | undefined }) | undefined {
    this.#workIn(0);
    const path = this.#pathTo(to);
    const backup = path && this.#backupOf(path);
    return path && { ...this.#along(path), backup: backup && this.#along(backup) };
  }

  /**
   * The nodes on the cheapest way to a node, from the first behind this one, and then those on the way to take when it fails, which takes as long as
   * all ways together. Two nodes that follow each other may have no link, but be of one site, whose links are not known here.
   */
  *ways(to: NodeId): Generator<NodeId[]> {
    this.#workIn();
    const path = this.#pathTo(to);
    if (path === undefined) return;
    yield path.nodes.slice(1);
    const backup = this.#backupOf(path);
    if (backup !== undefined) yield backup.nodes.slice(1);
  }

  /**
   * The nodes between this one and another on the cheapest way inside the site, for who carries what comes from outside; `undefined` where there are none, or
   * too many, or it leads over one of `avoid`.
   */
  detour(to: NodeId, avoid: ReadonlySet<NodeId>): readonly NodeId[] | undefined {
    this.#workIn();
    const nodes = this.#world.source.insideTo(to) ?? [];
    const isGood = nodes.length > 0 && nodes.length <= MAX_DETOUR && !nodes.some((node) => avoid.has(node));
    return isGood ? nodes : undefined;
  }

  /**
   * What a way costs by now; `undefined` when a link of it is told of no more, or must not be used, or a node on it carries no more. `path`:
   * the nodes from the first behind this one.
   */
  costAlong(path: readonly NodeId[]): number | undefined {
    this.#workIn();
    const { graph, source } = this.#world;
    const nodes = [this.#deps.self, ...path];
    const cost = graph.costAlong(nodes);
    const [border, to] = nodes.slice(-2);
    if (cost !== undefined || border === undefined || to === undefined) return cost;
    return this.#leadOn(source.bordersOf(to)).includes(border) ? graph.costAlong(nodes.slice(0, -1)) : undefined;
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
    const { graph } = this.#world;
    const numbers = [...peers].map((peer) => graph.numberOf(peer));
    const own = graph.numberOf(this.#deps.self);
    if (own === undefined) return false;
    const reached = graph.reached(own, (from, to) => from === own && numbers.includes(to));
    return numbers.every((number) => {
      if (number === undefined || !reached.has(number)) return false;
      const links = graph.from(number);
      return links.size - (links.has(own) ? 1 : 0) >= WELL_LINKED;
    });
  }

  /** Over known links, or up to who leads to it. */
  #pathTo(to: NodeId): Path | undefined {
    if (to === this.#deps.self) return undefined;
    const { tree, source } = this.#world;
    const path = tree.to(to);
    if (path !== undefined) return path;
    let best: NodeId | undefined;
    for (const border of this.#leadOn(source.bordersOf(to))) {
      if (best === undefined || tree.costTo(border) < tree.costTo(best)) best = border;
    }
    const towards = best === undefined ? undefined : tree.to(best);
    return towards && { nodes: [...towards.nodes, to], cost: towards.cost };
  }

  #backupOf(path: Path): Path | undefined {
    const { graph, source } = this.#world;
    const to = path.nodes.at(-1) as NodeId;
    if (graph.costAlong(path.nodes) !== undefined) return backupPath(graph, path);
    const towards = { nodes: path.nodes.slice(0, -1), cost: path.cost };
    const backup = backupPath(graph, towards, this.#leadOn(source.bordersOf(to)));
    return backup && { nodes: [...backup.nodes, to], cost: backup.cost };
  }

  /** Of some nodes those that carry. */
  #leadOn(borders: readonly NodeId[]): NodeId[] {
    const { graph } = this.#world;
    return borders.filter((border) => {
      const number = graph.numberOf(border);
      return number !== undefined && graph.carries(number);
    });
  }

  #along({ nodes, cost }: Path): Route {
    const { graph, source } = this.#world;
    const legs = nodes.slice(1).map((to, i) => {
      const from = nodes[i] as NodeId;
      const told = source.termsOf(from, to);
      if (told === undefined) return { from, to, cost: graph.costAlong([from, to]) ?? 0 };
      const { total, ...terms } = this.#counted(from, to, told);
      return { from, to, terms, cost: total };
    });
    return { to: nodes.at(-1) as NodeId, legs, cost };
  }

  /** With what operators add. */
  #counted(from: NodeId, to: NodeId, told: LinkTerms): CountedTerms & { total: number } {
    const terms = withAdmin(told, this.policy.admin(from, to));
    return { ...terms, total: totalOf(terms) };
  }

  /** What was heard since the last time, who is no member any more, and how this node's own links are now. */
  #workIn(penaltiesEveryMs = PENALTY_EVERY_MS): void {
    const { isMember, host, clock, transit } = this.#deps;
    const { policy } = this;
    const isRuled = policy !== this.#policy;
    this.#policy = policy;
    this.#settleIn(policy.areas);
    const isFaded = clock.nowMs() - this.#penaltiesMs >= penaltiesEveryMs;
    if (isFaded) this.#penaltiesMs = clock.nowMs();
    const own = new Map<NodeId, LinkTerms>();
    for (const session of host.sessions()) {
      const terms = this.#teller.countedOf(session);
      if (terms !== undefined) own.set(session.nodeId, terms);
    }
    const { source, graph, tree } = this.#world;
    const changed = source.workIn({ transit, links: own }, { own, isMember, isFaded, isRuled }, policy);
    const changes: LinkChange[] = [];
    for (const node of changed) {
      const known = source.known(node) ?? { transit: false, links: new Map() };
      const carries = known.transit && policy.mayCarry(node);
      changes.push(...graph.set(node, costsUnder(policy, node, known), carries));
    }
    if (changes.length > 0) tree.update(changes);
  }

  /** Others wait for what this node is to tell them, also while nobody asks it for a way. */
  async #watchAreas(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#deps.clock.sleep(AREAS_EVERY_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      if (this.policy.areas !== this.#world.areas) this.#workIn();
      this.#deps.area?.turn(this.#world.areas === "site");
    }
  }

  /** Takes up what operators ask: where links are told. */
  #settleIn(areas: LinkPolicy["areas"]): void {
    const { area } = this.#deps;
    if (area === undefined || areas === this.#world.areas) return;
    this.#world.source.withdraw();
    this.#world.source[Symbol.dispose]();
    area.turn(areas === "site");
    this.#world = this.#makeWorld(areas);
    this.#teller.tellAgain();
  }

  #makeWorld(areas: LinkPolicy["areas"]): World {
    const { area, gossip, self, clock } = this.#deps;
    const graph = new LinkGraph();
    graph.set(self, new Map(), true);
    const told = (): ReadonlyMap<NodeId, LinkTerms> => this.#teller.told();
    const refresh = (): void => this.#workIn(Number.POSITIVE_INFINITY); // what a border tells is without penalties
    const source =
      areas === "one" || area === undefined
        ? new FleetLinks(gossip, { clock, self })
        : new SiteLinks({ ...area, gossip, clock, self, told, refresh });
    return { areas, source, graph, tree: new PathTree(graph, 0) };
  }
}
