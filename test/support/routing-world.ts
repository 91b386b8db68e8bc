import { Ed25519Key, SeededRandom, VirtualClock } from "#core";
import { nodeIdOf } from "#identity";
import { Gossip, SiteNeighbours } from "#mesh";
import { type LinkPolicy, NO_POLICY, type Route, Router } from "#routing";
import { NOW_MS } from "./fleet.ts";
import { MemoryHost } from "./memory-mesh.ts";

const WIRE_MS = 5;

type Node = { name: string; host: MemoryHost; gossip: Gossip; siteGossip: Gossip; router: Router };

/** Routers over gossip in memory, on virtual time. Nodes are named after their site and a number: `a1`. */
export class RoutingWorld implements Disposable {
  readonly clock = new VirtualClock(NOW_MS);
  readonly #random: SeededRandom;
  readonly #nodes = new Map<string, Node>();
  readonly #nameOf = new Map<string, string>();
  readonly revoked = new Set<string>();
  /** What operators ask of links: every node has heard of it. */
  policy: LinkPolicy = NO_POLICY;

  /** Links by the names of their ends, with round trips. Nodes in `idle` do not pass on. */
  constructor(links: Readonly<Record<string, number>>, { idle = "", seed = 1, policy = NO_POLICY } = {}) {
    this.policy = policy;
    this.#random = new SeededRandom(seed);
    for (const [name, rttMs] of Object.entries(links)) {
      const [a = "", b = ""] = name.split("-");
      this.#add(a, !idle.includes(a));
      this.#add(b, !idle.includes(b));
      this.link(a, b, rttMs);
    }
  }

  #add(name: string, transit: boolean): void {
    if (this.#nodes.has(name)) return;
    const { clock } = this;
    const key = new Ed25519Key(this.#random.bytes(32));
    const site = name.slice(0, 1);
    const self = nodeIdOf(key.publicKey);
    const host = new MemoryHost(self, site, (deliver) => void clock.sleep(WIRE_MS).then(deliver));
    const isMember = (node: string): boolean => !this.revoked.has(node);
    const random = new SeededRandom(this.#random.below(2 ** 31));
    this.#nameOf.set(self, name);
    const deps = { host, site: () => site, isMember, clock };
    const gossip = new Gossip({ ...deps, key, boot: 1, fleet: () => "fleet", random });
    const near = new SiteNeighbours(host, deps.site);
    const siteGossip = new Gossip({
      ...deps,
      host: near,
      scope: "site-gossip",
      key,
      boot: 1,
      fleet: () => site,
      random,
    });
    const siteOf = (node: string): string | undefined =>
      this.revoked.has(node) ? undefined : this.#nameOf.get(node)?.slice(0, 1);
    const members = (): string[] => [...this.#nameOf.keys()].filter(isMember);
    const area = { siteGossip, siteOf, members, turn: (isOn: boolean) => near.turn(isOn) };
    const router = new Router({ ...deps, gossip, self, transit, policy: () => this.policy, area });
    this.#nodes.set(name, { name, host, gossip, siteGossip, router });
  }

  of(name: string): Node {
    return this.#nodes.get(name) as Node;
  }

  nameOf(node: string): string {
    return this.#nameOf.get(node) ?? node;
  }

  link(a: string, b: string, rttMs: number): void {
    MemoryHost.link(this.of(a).host, this.of(b).host);
    this.measure(a, b, rttMs);
  }

  /** The round trip of a link from now on. */
  measure(a: string, b: string, rttMs: number): void {
    for (const [from, to] of [[this.of(a), this.of(b)] as const, [this.of(b), this.of(a)] as const]) {
      Object.assign(from.host.session(to.host.nodeId) as object, { rttMs: () => rttMs });
    }
  }

  cut(a: string, b: string): void {
    this.of(a).host.disconnect(this.of(b).host.nodeId, "cut");
  }

  /** The way from one to another, by names, and the way to take when it fails. */
  way(from: string, to: string): string {
    const route = this.of(from).router.route(this.of(to).host.nodeId);
    return route === undefined
      ? "none"
      : `${this.#text(route)} else ${route.backup ? this.#text(route.backup) : "none"}`;
  }

  /** The nodes on the cheapest way, by names; `undefined` where there is none. */
  path(from: string, to: string): string[] | undefined {
    const route = this.of(from).router.route(this.of(to).host.nodeId);
    return route && this.#names(route);
  }

  #text(route: Route): string {
    return this.#names(route).join(" ");
  }

  #names({ legs }: Route): string[] {
    const nodes = legs[0] === undefined ? [] : [legs[0].from, ...legs.map(({ to }) => to)];
    return nodes.map((node) => this.nameOf(node));
  }

  [Symbol.dispose](): void {
    for (const { gossip, siteGossip, router } of this.#nodes.values()) {
      router[Symbol.dispose]();
      siteGossip[Symbol.dispose]();
      gossip[Symbol.dispose]();
    }
  }
}
