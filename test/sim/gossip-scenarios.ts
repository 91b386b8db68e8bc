import { Ed25519Key, type Random, SeededRandom, VirtualClock } from "#core";
import { type NodeId, nodeIdOf } from "#identity";
import { Gossip } from "#mesh";
import { atMost } from "../../bench/bench.ts";
import { NOW_MS } from "../support/fleet.ts";
import { MemoryHost } from "../support/memory-mesh.ts";
import type { Outcome, Scenario } from "./scenario.ts";

const SITES = [80, 60, 50, 40, 30, 20, 10, 5, 2, 1, 1, 1];
/** One way, within a site and between two. */
const NEAR_MS = 2;
const FAR_MS = 30;
const FARTHEST_MS = 60;
/** Neighbours that a node looks for in its own site, and in all (src/mesh/neighbours.ts). */
const WANTED_HERE = 12;
const WANTED = 16;
const STATEMENTS = 20;
/** Until a silent neighbour is known to be dead (docs/spec/probe.md). */
const DEAD_MS = 5_000;
const TOPIC = "copies";
const STEP_MS = 5;
/** What does not come within this does not come. */
const PATIENCE_MS = 60_000;

type Node = { host: MemoryHost; gossip: Gossip; said: number; heard: Map<NodeId, number>; isAlive: boolean };

/** Nodes' gossip alone, over links that take their time. */
class World implements Disposable {
  readonly clock = new VirtualClock(NOW_MS);
  readonly random: Random;
  readonly nodes = new Map<NodeId, Node>();
  /** Messages sent: statements as news, those of them between sites, and all others. */
  readonly sent = { news: 0, far: 0, other: 0 };

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    for (const [site, size] of SITES.entries()) for (let i = 0; i < size; i++) this.add(`site-${site}`);
  }

  add(site: string): Node {
    const { clock } = this;
    const key = new Ed25519Key(this.random.bytes(32));
    const farMs = FAR_MS + this.random.below(FARTHEST_MS - FAR_MS);
    const host: MemoryHost = new MemoryHost(nodeIdOf(key.publicKey), site, (deliver, to, kind) => {
      if (kind !== "gossip") this.sent.other += 1;
      else this.sent.news += 1;
      if (kind === "gossip" && to.site !== site) this.sent.far += 1;
      const arrive = (): void => {
        if (node.isAlive && this.nodes.get(to.nodeId)?.isAlive === true) deliver();
      };
      void clock.sleep(to.site === site ? NEAR_MS : farMs).then(arrive);
    });
    const random = new SeededRandom(this.random.below(2 ** 31));
    const deps = { host, key, boot: 1, fleet: () => "fleet", site: () => site, isMember: () => true, clock, random };
    const node: Node = { host, gossip: new Gossip(deps), said: 0, heard: new Map(), isAlive: true };
    node.gossip.on(TOPIC, ({ origin, value }) => node.heard.set(origin, value as number));
    this.nodes.set(host.nodeId, node);
    return node;
  }

  get alive(): Node[] {
    return [...this.nodes.values()].filter(({ isAlive }) => isAlive);
  }

  any(): Node {
    const { alive } = this;
    return alive[this.random.below(alive.length)] as Node;
  }

  /** Finds neighbours as the product does: of the own site first, and some of others in any case. */
  meet({ host }: Node): void {
    const others = this.alive.map((node) => ({ other: node.host, chance: this.random.unit() }));
    const near: MemoryHost[] = [];
    const far: MemoryHost[] = [];
    for (const { other } of others.toSorted((a, b) => a.chance - b.chance)) {
      if (other !== host && host.session(other.nodeId) === undefined)
        (other.site === host.site ? near : far).push(other);
    }
    const here = host.sessions().filter(({ site }) => site === host.site).length;
    for (const other of near.slice(0, Math.max(0, WANTED_HERE - here))) MemoryHost.link(host, other);
    const elsewhere = host.sessions().filter(({ site }) => site !== host.site).length;
    const lacking = Math.max(WANTED - host.sessions().length, WANTED - WANTED_HERE - elsewhere);
    for (const other of far.slice(0, Math.max(0, lacking))) MemoryHost.link(host, other);
  }

  say(node: Node): void {
    node.said += 1;
    node.gossip.publish(TOPIC, node.said);
  }

  /** How many of those that live lack what this node said last. */
  missing({ host, said }: Node): number {
    return this.alive.filter(({ heard }) => heard.get(host.nodeId) !== said).length;
  }

  async untilMs(holds: () => boolean): Promise<number> {
    const startMs = this.clock.nowMs();
    while (!holds() && this.clock.nowMs() - startMs < PATIENCE_MS) await this.clock.advanceMs(STEP_MS);
    return holds() ? this.clock.nowMs() - startMs : Number.POSITIVE_INFINITY;
  }

  [Symbol.dispose](): void {
    for (const { gossip } of this.nodes.values()) gossip[Symbol.dispose]();
  }
}

type Figures = Record<string, number>;

/** One statement after the other, of nodes at random. */
async function spread(world: World): Promise<Figures> {
  const before = { ...world.sent };
  const slowest: number[] = [];
  for (let i = 0; i < STATEMENTS; i++) {
    const origin = world.any();
    world.say(origin);
    slowest.push(await world.untilMs(() => world.missing(origin) === 0));
  }
  const receipts = STATEMENTS * world.alive.length;
  const [copies, farCopies] = [(world.sent.news - before.news) / receipts, (world.sent.far - before.far) / receipts];
  return { toAllMs: Math.max(...slowest), copies, farCopies };
}

/** A third loses its power, and for a while nobody knows. */
async function spreadAmongDead(world: World): Promise<Figures> {
  const { alive } = world;
  for (const node of alive) node.isAlive = world.random.unit() > 1 / 3;
  const origin = world.any();
  world.say(origin);
  await world.clock.advanceMs(1_000);
  const missed = world.missing(origin) / world.alive.length;
  await world.clock.advanceMs(DEAD_MS - 1_000);
  for (const { host, isAlive } of alive) if (!isAlive) await host[Symbol.asyncDispose]();
  return { missedAmongDead: missed, toAllOnceKnownMs: await world.untilMs(() => world.missing(origin) === 0) };
}

/** Somebody comes who knows nothing and has something to say. */
async function catchUp(world: World): Promise<Figures> {
  const node = world.add("site-0");
  world.say(node);
  const known = new Map([...world.nodes.values()].map(({ host, said }) => [host.nodeId, said] as const));
  world.meet(node);
  const hasAll = (): boolean => [...known].every(([origin, said]) => said === 0 || node.heard.get(origin) === said);
  const newcomerHasAllMs = await world.untilMs(hasAll);
  return {
    newcomerHasAllMs,
    newcomerHeardMs: newcomerHasAllMs + (await world.untilMs(() => world.missing(node) === 0)),
  };
}

/** The largest site is cut off for a minute, and both sides say something. */
async function reunite(world: World): Promise<Figures> {
  const cut = world.alive.filter(({ host }) => host.site === "site-0");
  for (const { host } of cut) {
    for (const { nodeId, site } of host.sessions()) if (site !== host.site) host.disconnect(nodeId, "cut");
  }
  await world.clock.advanceMs(PATIENCE_MS);
  const sayers = [...cut.slice(0, 10), ...world.alive.filter(({ host }) => host.site === "site-1").slice(0, 10)];
  for (const node of sayers) world.say(node);
  await world.clock.advanceMs(1_000);
  for (const node of cut) world.meet(node);
  return { reunitedMs: await world.untilMs(() => sayers.every((node) => world.missing(node) === 0)) };
}

/** Nobody says anything: what is sent all the same, per node. */
async function rest(world: World): Promise<Figures> {
  await world.clock.advanceMs(DEAD_MS);
  const before = world.sent.other;
  await world.clock.advanceMs(PATIENCE_MS);
  return { idleMessagesPerMinute: (world.sent.other - before) / world.alive.length };
}

async function live(seed: number): Promise<Outcome> {
  using world = new World(seed);
  for (const node of world.alive) world.meet(node);
  await world.clock.advanceMs(DEAD_MS);
  const figures: Figures = {};
  for (const phase of [spread, spreadAmongDead, catchUp, reunite, rest]) Object.assign(figures, await phase(world));
  const most = {
    toAllMs: 250,
    copies: 5.5,
    farCopies: 2.5,
    missedAmongDead: 0.15,
    toAllOnceKnownMs: 500,
    newcomerHasAllMs: 500,
  };
  const bars = { ...most, newcomerHeardMs: 750, reunitedMs: 1_000, idleMessagesPerMinute: 12 };
  return { figures, bars: Object.entries(bars).map(([what, bar]) => atMost(what, bar, figures[what] ?? Number.NaN)) };
}

export const GOSSIP_SCENARIOS: readonly Scenario[] = [
  {
    name: "gossip/300",
    claim:
      "each statement reaches 300 nodes in 12 sites at once by feeds alone, and comparisons mend what dead nodes and cuts leave.",
    run: live,
  },
];
