import { Ed25519Key, type Random, SeededRandom, VirtualClock } from "#core";
import { type NodeId, nodeIdOf } from "#identity";
import { Gossip, type Heard, type Session, SiteNeighbours } from "#mesh";
import { NO_POLICY, Router } from "#routing";
import { writeAdvertisement } from "../../src/routing/link-state.ts";
import { NOW_MS } from "../support/fleet.ts";
import { type Measured, MemoryHost } from "../support/memory-mesh.ts";
import { DELAY_MS, oneOf, OVERHEAD_BYTES, WANTED } from "./scale-wire.ts";

/** Links of a border to other sites that it looks for (src/mesh/neighbours.ts). */
const WANTED_ELSEWHERE = 4;
const SOUND = { latency: 0, loss: 0, load: 0, money: 0, penalty: 0 };
/** Links and nodes that go are back after so long. */
const LINK_AWAY_MS = 5_000;
const NODE_AWAY_MS = 30_000;

export type AreaSizes = { sites: number; nodesPerSite: number; bordersPerSite: number };

/** A node with the code of the product: `leaf` in the site that is there as a whole, or a border anywhere. */
export type RealNode = {
  id: NodeId;
  site: number;
  isBorder: boolean;
  host: MemoryHost;
  gossip: Gossip;
  siteGossip: Gossip | undefined;
  router: Router;
  sentBytes: number;
  heardBytes: number;
};

/** The inside of a site of which only the borders run: what its other nodes would have told of their links is told to the borders at once. */
class ToldSite {
  readonly links = new Map<NodeId, Set<NodeId>>();
  readonly #values = new Map<NodeId, unknown>();
  readonly #listeners = new Map<NodeId, Set<(heard: Heard) => void>>();

  link(a: NodeId, b: NodeId): void {
    for (const [from, to] of [[a, b] as const, [b, a] as const])
      this.links.set(from, (this.links.get(from) ?? new Set()).add(to));
  }

  /** Says what a node would say. */
  tell(node: NodeId): void {
    const links = new Map([...(this.links.get(node) ?? [])].map((peer) => [peer, SOUND]));
    this.publish(node, writeAdvertisement({ transit: true, links }));
  }

  publish(origin: NodeId, value: unknown): void {
    this.#values.set(origin, value);
    for (const [node, listeners] of this.#listeners)
      if (node !== origin) for (const listener of listeners) listener({ origin, value });
  }

  /** The gossip of the site as one border has it. */
  seenBy(node: NodeId): Pick<Gossip, "publish" | "on" | "latest"> {
    return {
      publish: (_, value) => this.publish(node, value),
      on: (_, listener) => {
        const listeners = this.#listeners.get(node) ?? new Set();
        this.#listeners.set(node, listeners.add(listener));
        return () => listeners.delete(listener);
      },
      latest: () => [...this.#values].map(([origin, value]) => ({ origin, value })),
    };
  }
}

/**
 * Many sites with a few borders each. All nodes of the first site and all borders run the product's gossip and routers, over links that take their time;
 * of the other nodes there is what they would tell inside their sites.
 */
export class AreaFleet implements Disposable {
  readonly clock = new VirtualClock(NOW_MS);
  readonly random: Random;
  readonly ids: NodeId[] = [];
  readonly real = new Map<NodeId, RealNode>();
  readonly #siteOf = new Map<NodeId, number>();
  readonly #siteNames: readonly string[];
  readonly #told: ToldSite[];
  readonly #sizes: AreaSizes;

  constructor(sizes: AreaSizes, seed: number) {
    this.#sizes = sizes;
    this.random = new SeededRandom(seed);
    this.#siteNames = Array.from({ length: sizes.sites }, (_, site) => `site-${site}`);
    this.#told = Array.from({ length: sizes.sites }, () => new ToldSite());
    for (let site = 0; site < sizes.sites; site++) for (let i = 0; i < sizes.nodesPerSite; i++) this.#add(site, i);
    for (let site = 0; site < sizes.sites; site++) this.#linkInside(site);
    for (const node of this.borders()) this.#linkOutside(node);
  }

  nodes(site: number): NodeId[] {
    const { nodesPerSite } = this.#sizes;
    return this.ids.slice(site * nodesPerSite, (site + 1) * nodesPerSite);
  }

  borders(): RealNode[] {
    return [...this.real.values()].filter(({ isBorder }) => isBorder);
  }

  /** Those of the site that is there as a whole. */
  leaves(): RealNode[] {
    return [...this.real.values()].filter(({ isBorder }) => !isBorder);
  }

  #add(site: number, place: number): void {
    const key = new Ed25519Key(this.random.bytes(32));
    const id = nodeIdOf(key.publicKey);
    this.ids.push(id);
    this.#siteOf.set(id, site);
    const isBorder = place < this.#sizes.bordersPerSite;
    if (site === 0 || isBorder) this.real.set(id, this.#start(key, site, isBorder));
  }

  #start(key: Ed25519Key, site: number, isBorder: boolean): RealNode {
    const { clock } = this;
    const self = nodeIdOf(key.publicKey);
    const siteName = (): string => `site-${site}`;
    const host: MemoryHost = new MemoryHost(self, siteName(), (deliver, to, _, bytes) => {
      node.sentBytes += bytes + OVERHEAD_BYTES;
      const peer = this.real.get(to.nodeId);
      if (peer !== undefined) peer.heardBytes += bytes + OVERHEAD_BYTES;
      void clock.sleep(to.site === siteName() ? DELAY_MS.near : DELAY_MS.far).then(deliver);
    });
    const random = new SeededRandom(this.random.below(2 ** 31));
    const base = { key, boot: 1, random, clock, site: siteName, isMember: () => true };
    const gossip = new Gossip({ ...base, host, fleet: () => "fleet" });
    const near = new SiteNeighbours(host, siteName);
    const siteGossip =
      site === 0 ? new Gossip({ ...base, host: near, scope: "site-gossip", fleet: () => "fleet site-0" }) : undefined;
    const isBorderOf = (id: NodeId): boolean => this.real.get(id)?.isBorder === true;
    const policy = { ...NO_POLICY, areas: "site" as const, mayLeave: isBorderOf };
    const router = new Router({
      clock,
      self,
      site: siteName,
      transit: true,
      isMember: () => true,
      gossip,
      host: site === 0 ? host : this.#withTold(host, site),
      policy: () => policy,
      area: {
        siteGossip: siteGossip ?? (this.#told[site] as ToldSite).seenBy(self),
        siteOf: (id) => this.#siteNames[this.#siteOf.get(id) ?? -1],
        members: () => this.ids,
        turn: (isOn) => near.turn(isOn),
      },
    });
    const node: RealNode = { id: self, site, isBorder, host, gossip, siteGossip, router, sentBytes: 0, heardBytes: 0 };
    return node;
  }

  /** The neighbours of a border, those included that do not run. */
  #withTold(host: MemoryHost, site: number): Pick<MemoryHost, "sessions" | "session" | "onSession"> {
    const known = new Map<NodeId, Session>();
    const session = (nodeId: NodeId): Session => {
      const made = known.get(nodeId) ?? told(nodeId, `site-${site}`);
      known.set(nodeId, made);
      return made;
    };
    const links = (): Set<NodeId> => this.#told[site]?.links.get(host.nodeId) ?? new Set();
    return {
      onSession: (listener) => host.onSession(listener),
      session: (peer) => host.session(peer) ?? (links().has(peer) ? session(peer) : undefined),
      sessions: () => [...host.sessions(), ...[...links()].filter((id) => !this.real.has(id)).map(session)],
    };
  }

  #linkInside(site: number): void {
    const nodes = this.nodes(site);
    const degrees = new Map(nodes.map((node) => [node, 0]));
    const linked = new Set<string>();
    for (const a of nodes) {
      const order = nodes.map((node) => ({ node, chance: this.random.unit() })).toSorted((x, y) => x.chance - y.chance);
      for (const { node: b } of order) {
        if ((degrees.get(a) ?? 0) >= WANTED) break;
        const pair = [a, b].toSorted().join();
        if (a === b || linked.has(pair)) continue;
        linked.add(pair);
        for (const end of [a, b]) degrees.set(end, (degrees.get(end) ?? 0) + 1);
        this.#join(site, a, b);
      }
    }
    if (site === 0) return;
    for (const node of nodes) if (!this.real.has(node)) this.#told[site]?.tell(node);
  }

  #join(site: number, a: NodeId, b: NodeId): void {
    const [x, y] = [this.real.get(a), this.real.get(b)];
    if (site > 0) this.#told[site]?.link(a, b);
    if (x !== undefined && y !== undefined) this.link(x.host, y.host);
  }

  #linkOutside({ host, site }: RealNode): void {
    const others = this.borders().filter((other) => other.site !== site);
    while (host.sessions().filter((session) => session.site !== host.site).length < WANTED_ELSEWHERE) {
      const other = oneOf(this.random, others);
      if (host.session(other.id) === undefined) this.link(host, other.host);
    }
  }

  link(a: MemoryHost, b: MemoryHost): void {
    const { near, far, farthest } = DELAY_MS;
    const rttMs = a.site === b.site ? 2 * near : 2 * (far + this.random.below(farthest - far));
    const measured = (): Measured => ({ health: { rttMs, lossRatio: 0, loadRatio: 0 }, isSuspect: false });
    MemoryHost.link(a, b, [measured(), measured()]);
  }

  /** One link of a random node goes, and comes back. */
  dropLink(): void {
    const id = oneOf(this.random, this.ids);
    const node = this.real.get(id);
    const site = this.#siteOf.get(id) ?? 0;
    if (node !== undefined) return this.#cut(node, [oneOf(this.random, node.host.sessions())], LINK_AWAY_MS);
    const peers = [...(this.#told[site]?.links.get(id) ?? [])].filter((peer) => !this.real.has(peer));
    if (peers.length > 0) this.#untell(site, id, [oneOf(this.random, peers)], LINK_AWAY_MS);
  }

  /** A random node loses all its links, and has them again later. */
  dropNode(): void {
    const id = oneOf(this.random, this.ids);
    const node = this.real.get(id);
    const site = this.#siteOf.get(id) ?? 0;
    if (site > 0) this.#untell(site, id, [...(this.#told[site]?.links.get(id) ?? [])], NODE_AWAY_MS);
    if (node !== undefined) this.#cut(node, node.host.sessions(), NODE_AWAY_MS);
  }

  #cut({ host }: RealNode, sessions: readonly Session[], awayMs: number): void {
    const peers = sessions.flatMap(({ nodeId }) => this.real.get(nodeId)?.host ?? []);
    for (const peer of peers) host.disconnect(peer.nodeId, "churn");
    void this.clock.sleep(awayMs).then(() => {
      for (const peer of peers) if (host.session(peer.nodeId) === undefined) this.link(host, peer);
    });
  }

  #untell(site: number, id: NodeId, peers: readonly NodeId[], awayMs: number): void {
    const told = this.#told[site];
    if (told === undefined) return;
    const tell = (): void => {
      for (const node of [id, ...peers]) if (!this.real.has(node)) told.tell(node);
    };
    for (const peer of peers) {
      told.links.get(id)?.delete(peer);
      told.links.get(peer)?.delete(id);
    }
    tell();
    void this.clock.sleep(awayMs).then(() => {
      for (const peer of peers) told.link(id, peer);
      tell();
    });
  }

  forgetTraffic(): void {
    for (const node of this.real.values()) [node.sentBytes, node.heardBytes] = [0, 0];
  }

  [Symbol.dispose](): void {
    for (const { router, gossip, siteGossip } of this.real.values()) {
      router[Symbol.dispose]();
      siteGossip?.[Symbol.dispose]();
      gossip[Symbol.dispose]();
    }
  }
}

/** The link of a border to a node that does not run. */
function told(nodeId: NodeId, site: string): Session {
  return {
    nodeId,
    site,
    name: nodeId.slice(-6),
    address: "/memory",
    addresses: [],
    direction: "outbound",
    carried: false,
    rttMs: () => 2 * DELAY_MS.near,
    lossRatio: () => 0,
    loadRatio: () => 0,
    measuredBy: () => undefined,
    suspect: () => false,
    carry: () => () => undefined,
    send: () => true,
  };
}
