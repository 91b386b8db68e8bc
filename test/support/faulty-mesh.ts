import "./verify-once.ts";
import { decodeCbor, Ed25519Key, encodeCbor, SeededRandom, VirtualClock } from "#core";
import { Gossip, SiteNeighbours } from "#mesh";
import { type NodeId, nodeIdOf } from "#identity";
import { totalOf } from "../../src/routing/link-cost.ts";
import { LINKS_TOPIC, readAdvertisement, writeAdvertisement } from "../../src/routing/link-state.ts";
import { isLater, MAX_VALUE_BYTES, readStatement, statementId, tagOf } from "../../src/mesh/statement.ts";
import { NO_POLICY, Router } from "#routing";
import { NOW_MS } from "./fleet.ts";
import { MemoryHost } from "./memory-mesh.ts";
import { ProbedWire } from "./probed-wire.ts";

/** Statements of each node that whoever listens keeps, to say them again later. */
const MAX_RECORDED = 8;

/** One start of a node, until it dies. */
type Life = { host: MemoryHost; gossip: Gossip; siteGossip: Gossip; router: Router };
type Node = { site: string; key: Ed25519Key; id: NodeId; life: Life | undefined; recorded: Uint8Array[] };

/**
 * Routers over gossip over wires that are probed as the daemon's are, on virtual time, with nodes that die and start anew, and packets that get
 * lost. Nodes go by numbers, wires by those of their ends.
 */
export class FaultyMesh implements Disposable {
  readonly clock = new VirtualClock(NOW_MS, "promises");
  readonly random: SeededRandom;
  readonly #nodes: Node[] = [];
  /** `liar about`. */
  readonly #lies = new Set<string>();
  readonly #numbers = new Map<NodeId, number>();
  /** The number of the last start that was given none. */
  #boots = 1_000;
  readonly areas: "one" | "site";
  readonly links: readonly (readonly [number, number])[];
  /** By `#between`. */
  readonly #wires = new Map<number, ProbedWire>();

  /** `sites`: that of each node. `links`: pairs of numbers, each with the time that one way takes. */
  constructor(
    sites: readonly string[],
    links: readonly (readonly [a: number, b: number, delayMs: number])[],
    seed: number,
    areas: "one" | "site" = "one",
  ) {
    this.areas = areas;
    this.random = new SeededRandom(seed);
    for (const site of sites) {
      const key = new Ed25519Key(this.random.bytes(32));
      const id = nodeIdOf(key.publicKey);
      this.#numbers.set(id, this.#nodes.length);
      this.#nodes.push({ site, key, id, life: undefined, recorded: [] });
    }
    this.links = links.map(([a, b]) => [Math.min(a, b), Math.max(a, b)]);
    for (const [a, b, delayMs] of links)
      this.#wires.set(this.#between(a, b), new ProbedWire(this.clock, this.random, delayMs));
    for (const number of this.#nodes.keys()) this.start(number, 1);
  }

  get size(): number {
    return this.#nodes.length;
  }
  /** How often an end of a wire took the other for dead. */
  get deaths(): number {
    return this.#wires.values().reduce((sum, { deaths }) => sum + deaths, 0);
  }

  lives(node: number): boolean {
    return this.#of(node).life !== undefined;
  }

  /** Whether bytes get from either to the other. */
  carries(a: number, b: number): boolean {
    return this.lives(a) && this.lives(b) && this.wire(a, b)?.carries === true;
  }

  /** Whether a node takes its link to another one for suspect, or has none. */
  suspects(a: number, b: number): boolean {
    return this.#of(a).life?.host.session(this.idOf(b))?.suspect() !== false;
  }

  /** Whether a node has told of its link to another one. */
  tells(node: number, peer: number): boolean {
    return this.#hasWord(this.#of(node).life, node, this.idOf(peer));
  }

  wire(a: number, b: number): ProbedWire | undefined {
    return this.#wires.get(this.#between(a, b));
  }

  router(node: number): Router {
    const { life } = this.#of(node);
    if (life === undefined) throw new Error(`node ${node} does not live`);
    return life.router;
  }

  siteOf(node: number): string | undefined {
    return this.#nodes[node]?.site;
  }

  numberOf(id: NodeId): number {
    return this.#numbers.get(id) ?? -1;
  }
  idOf(node: number): NodeId {
    return this.#of(node).id;
  }

  /** A node starts, with this number of its start: not always one above the last, where a data directory was put back. Default: a higher one. */
  start(number: number, boot = (this.#boots += 1)): void {
    const node = this.#of(number);
    if (node.life !== undefined) return;
    const { clock } = this;
    const { key, site, id } = node;
    const host = new MemoryHost(id, site, (deliver, to) => {
      const peer = this.numberOf(to.nodeId);
      this.wire(number, peer)?.carry(endOf(peer, number), deliver);
    });
    const deps = { host, clock, site: () => site, isMember: () => true };
    const random = new SeededRandom(this.random.below(2 ** 31));
    const gossip = new Gossip({ ...deps, key, boot, fleet: () => "fleet", random });
    const near = new SiteNeighbours(host, deps.site);
    const siteGossip = new Gossip({ ...deps, host: near, scope: "site-gossip", key, boot, fleet: () => site, random });
    const policy = { ...NO_POLICY, areas: this.areas };
    const area = {
      siteGossip,
      siteOf: (peer: NodeId) => this.siteOf(this.numberOf(peer)),
      members: () => this.#nodes.map((member) => member.id),
      turn: (isOn: boolean) => near.turn(isOn),
    };
    const router = new Router({ ...deps, gossip, self: id, transit: true, policy: () => policy, area });
    node.life = { host, gossip, siteGossip, router };
    for (const peer of this.#nodes.keys()) this.wire(number, peer)?.plug(endOf(number, peer), host);
  }

  /** The process is gone: its connections are reset. */
  kill(number: number): void {
    const node = this.#of(number);
    if (node.life === undefined) return;
    this.#record(node);
    for (const peer of this.#nodes.keys()) this.wire(number, peer)?.unplug(endOf(number, peer));
    node.life.router[Symbol.dispose]();
    node.life.siteGossip[Symbol.dispose]();
    node.life.gossip[Symbol.dispose]();
    node.life = undefined;
  }

  /** A neighbour says again to this node what it once heard from others, and what is old news to itself. */
  replay(to: number): void {
    for (const node of this.#nodes) this.#record(node);
    const { life } = this.#of(to);
    const isHeard = ({ site }: { site: string }): boolean => this.areas === "one" || site === life?.host.site;
    const session = life?.host.sessions().find(isHeard);
    if (life === undefined || session === undefined) return;
    const liar = this.#linksGossip(this.#of(this.numberOf(session.nodeId)).life);
    for (const { id, recorded } of this.#nodes) {
      const known = liar?.said(LINKS_TOPIC, id);
      if (known === undefined) continue;
      const old = recorded.filter((encoded) => !isLater(versionOf(encoded), versionOf(known)));
      for (const encoded of old)
        life.host.receive(session.nodeId, this.areas === "one" ? "gossip" : "site-gossip", encodeCbor(encoded));
    }
  }

  /** A node tells also of a link to another one that has none to it, as if it cost nothing. Two that lie about each other would make one, as would what
   * another one told before it died. */
  lie(number: number, about: number): void {
    const { life, id } = this.#of(number);
    const links = life?.router.map().get(id)?.links;
    if (life === undefined || links === undefined || links.has(this.idOf(about))) return;
    const isOnceTold = this.#nodes.some(
      (node) => node.life?.router.terms(this.idOf(about), id) !== undefined || this.#hasWord(node.life, about, id),
    );
    if (isOnceTold || !this.lives(about) || this.#lies.has(`${about} ${number}`)) return;
    this.#lies.add(`${number} ${about}`);
    const none = { latency: 0, loss: 0, load: 0, money: 0, penalty: 0 };
    const usable = [...links].filter(([, terms]) => Number.isFinite(totalOf(terms)));
    const told = new Map([...usable, [this.idOf(about), none] as const]);
    this.#linksGossip(life)?.publish(LINKS_TOPIC, writeAdvertisement({ transit: true, links: told }));
  }

  /** Whether a node still has the word of another one that this has a link to a third one. With areas it passes that over while it does not reach the other one inside the site. */
  #hasWord(life: Life | undefined, of: number, to: NodeId): boolean {
    const said = this.#linksGossip(life)?.said(LINKS_TOPIC, this.idOf(of));
    const value = said && decodeCbor(readStatement(said).value, MAX_VALUE_BYTES);
    return readAdvertisement(value)?.links.has(to) === true;
  }

  /** Where links are told. */
  #linksGossip(life: Life | undefined): Gossip | undefined {
    return this.areas === "one" ? life?.gossip : life?.siteGossip;
  }

  #record({ id, life, recorded }: Node): void {
    const said = this.#linksGossip(life)?.said(LINKS_TOPIC, id);
    if (said === undefined || recorded.at(-1) === said) return;
    recorded.push(said);
    if (recorded.length > MAX_RECORDED) recorded.splice(this.random.below(recorded.length - 1), 1);
  }

  /** One number for two nodes, in either order. */
  #between(a: number, b: number): number {
    return Math.min(a, b) * this.#nodes.length + Math.max(a, b);
  }

  #of(number: number): Node {
    const node = this.#nodes[number];
    if (node === undefined) throw new Error(`there is no node ${number}`);
    return node;
  }

  [Symbol.dispose](): void {
    for (const number of this.#nodes.keys()) this.kill(number);
  }
}

const versionOf = (encoded: Uint8Array) => ({ ...readStatement(encoded), tag: tagOf(statementId(encoded)) });
/** Which end of the wire between two nodes the first one has. */
const endOf = (node: number, peer: number): 0 | 1 => (node < peer ? 0 : 1);
