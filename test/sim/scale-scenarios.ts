import "../support/verify-once.ts";
import { Ed25519Key, type Random, SeededRandom, SystemClock, VirtualClock } from "#core";
import { nodeIdOf } from "#identity";
import { Gossip } from "#mesh";
import { Router } from "#routing";
import { atMost, percentile } from "../../bench/bench.ts";
import { NOW_MS } from "../support/fleet.ts";
import { type Measured, MemoryHost } from "../support/memory-mesh.ts";
import { AreaFleet, type AreaSizes, type RealNode } from "./area-fleet.ts";
import { DELAY_MS, heapMib, oneOf, OVERHEAD_BYTES, WANTED } from "./scale-wire.ts";
import type { Outcome, Scenario } from "./scenario.ts";

/** Twelve sites: one large, a few small. */
const SITE_SIZES = [80, 60, 50, 40, 30, 20, 10, 5, 2, 1, 1, 1];
/** Neighbours that a node looks for in its own site (src/mesh/neighbours.ts). */
const WANTED_HERE = 12;
/** All links are new at the start, which all tell of, and their penalties fall for minutes. */
const SETTLED_MS = 240_000;
/** So many links go in a minute, as many of a hundred nodes as would in a site that loses one; each is back after a while. */
const CHURN_EVERY_MS = 60_000;
const CHURN_LINKS = 3;
const AWAY_MS = 5_000;
const CHURN_MINUTES = 3;
/** Nodes that choose ways after each event, and targets of each. */
const CHOOSERS = 4;
const TARGETS = 25;

type Node = { host: MemoryHost; site: number; gossip: Gossip; router: Router; sentBytes: number; heardBytes: number };

/** Routers over gossip, one for each node, over links that take their time; what goes over them is counted. */
class Fleet implements Disposable {
  readonly clock = new VirtualClock(NOW_MS);
  readonly random: Random;
  readonly nodes: Node[] = [];
  readonly #byId = new Map<string, Node>();

  constructor(sizes: readonly number[], seed: number) {
    this.random = new SeededRandom(seed);
    for (const [site, size] of sizes.entries()) for (let i = 0; i < size; i++) this.#add(site);
    for (const node of this.nodes) this.#meet(node);
  }

  #add(number: number): void {
    const { clock } = this;
    const site = `site-${number}`;
    const key = new Ed25519Key(this.random.bytes(32));
    const self = nodeIdOf(key.publicKey);
    const host: MemoryHost = new MemoryHost(self, site, (deliver, to, _, bytes) => {
      const wireBytes = bytes + OVERHEAD_BYTES;
      node.sentBytes += wireBytes;
      const peer = this.#byId.get(to.nodeId);
      if (peer !== undefined) peer.heardBytes += wireBytes;
      void clock.sleep(to.site === site ? DELAY_MS.near : DELAY_MS.far).then(deliver);
    });
    const random = new SeededRandom(this.random.below(2 ** 31));
    const deps = { host, clock, site: () => site, isMember: () => true };
    const gossip = new Gossip({ ...deps, key, boot: 1, fleet: () => "fleet", random });
    const router = new Router({ ...deps, gossip, self, transit: true });
    const node: Node = { host, site: number, gossip, router, sentBytes: 0, heardBytes: 0 };
    this.nodes.push(node);
    this.#byId.set(self, node);
  }

  /** Finds neighbours as the product does: of the own site first, and some of others in any case. */
  #meet({ host, site }: Node): void {
    const others = this.nodes.map((node) => ({ node, chance: this.random.unit() }));
    const drawn = others.toSorted((a, b) => a.chance - b.chance).map(({ node }) => node);
    const link = (wanted: number, isWanted: (node: Node) => boolean): void => {
      for (const node of drawn) {
        if (host.sessions().filter(({ site: at }) => (at === host.site) === isWanted(node)).length >= wanted) return;
        if (isWanted(node) && node.host !== host && host.session(node.host.nodeId) === undefined)
          this.link(host, node.host);
      }
    };
    link(WANTED_HERE, (node) => node.site === site);
    const here = host.sessions().filter(({ site: at }) => at === host.site).length;
    link(WANTED - here, (node) => node.site !== site);
  }

  link(a: MemoryHost, b: MemoryHost): void {
    const { near, far, farthest } = DELAY_MS;
    const rttMs = a.site === b.site ? 2 * near : 2 * (far + this.random.below(farthest - far));
    const measured = (): Measured => ({ health: { rttMs, lossRatio: 0, loadRatio: 0 }, isSuspect: false });
    MemoryHost.link(a, b, [measured(), measured()]);
  }

  /** Links go, each at some moment of the next minute, and come back. */
  async churn(after: () => void): Promise<void> {
    const ends = Array.from({ length: CHURN_LINKS }, () => {
      const { host } = oneOf(this.random, this.nodes);
      const session = oneOf(this.random, host.sessions());
      const atMs = this.random.below(CHURN_EVERY_MS - 2 * AWAY_MS);
      return { atMs, a: host, b: this.#byId.get(session.nodeId)?.host };
    });
    const startMs = this.clock.nowMs();
    for (const { atMs, a, b } of ends.toSorted((one, other) => one.atMs - other.atMs)) {
      await this.clock.advanceMs(Math.max(0, startMs + atMs - this.clock.nowMs()));
      if (b === undefined || a.session(b.nodeId) === undefined) continue;
      a.disconnect(b.nodeId, "churn");
      void this.clock.sleep(AWAY_MS).then(() => this.link(a, b));
      await this.clock.advanceMs(500);
      after();
    }
    await this.clock.advanceMs(Math.max(0, startMs + CHURN_EVERY_MS - this.clock.nowMs()));
  }

  forgetTraffic(): void {
    for (const node of this.nodes) [node.sentBytes, node.heardBytes] = [0, 0];
  }

  /** What goes over a link of a node in either direction, kbit/s, in so many seconds. */
  kbitPerLink(seconds: number): number[] {
    return this.nodes.map(
      ({ host, sentBytes, heardBytes }) => ((sentBytes + heardBytes) * 8) / 1_000 / seconds / host.sessions().length,
    );
  }

  [Symbol.dispose](): void {
    for (const { gossip, router } of this.nodes) {
      router[Symbol.dispose]();
      gossip[Symbol.dispose]();
    }
  }
}

/** What choosing takes is real time. */
const real = new SystemClock();

async function flat(sizes: readonly number[], seed: number): Promise<Outcome> {
  const emptyMib = heapMib();
  using fleet = new Fleet(sizes, seed);
  const { clock, nodes, random } = fleet;
  await clock.advanceMs(SETTLED_MS);
  const missing = nodes.filter(({ router }) => router.routes().length < nodes.length - 1).length;
  const perNodeMib = (heapMib() - emptyMib) / nodes.length;
  fleet.forgetTraffic();
  await clock.advanceMs(CHURN_EVERY_MS);
  const rest = fleet.kbitPerLink(CHURN_EVERY_MS / 1_000);
  fleet.forgetTraffic();
  const choiceMs: number[] = [];
  const choose = (): void => {
    for (let i = 0; i < CHOOSERS; i++) {
      const { router } = oneOf(random, nodes);
      for (let j = 0; j < TARGETS; j++) {
        const startMs = real.nowMs();
        router.route(oneOf(random, nodes).host.nodeId);
        choiceMs.push(real.nowMs() - startMs);
      }
    }
  };
  for (let minute = 0; minute < CHURN_MINUTES; minute++) await fleet.churn(choose);
  const churn = fleet.kbitPerLink((CHURN_MINUTES * CHURN_EVERY_MS) / 1_000);
  const p99Ms = percentile(choiceMs, 0.99);
  return {
    figures: {
      nodes: nodes.length,
      missing,
      perNodeMib,
      restKbit: percentile(rest, 0.5),
      churnKbit: percentile(churn, 0.5),
      churnMostKbit: Math.max(...churn),
      choices: choiceMs.length,
      choiceP50Ms: percentile(choiceMs, 0.5),
      choiceP99Ms: p99Ms,
    },
    bars: [
      atMost("nodes that lack a way to some other", 0, missing),
      atMost("a way and the one to take when it fails, ms, p99", 20, p99Ms),
      atMost("what a node keeps for routes, MiB", 32, perNodeMib),
      atMost("news of links over a neighbour's link, both ways, kbit/s, median of nodes", 2, percentile(churn, 0.5)),
    ],
  };
}

/** In a minute, of all nodes: links that go and come back, one for each hundred nodes, and nodes that start anew, so that each does every 33 hours. */
const AREA_LINKS_EACH = 100;
const AREA_NODES_EACH = 2_000;

async function areas(sizes: AreaSizes, churnMinutes: number, seed: number): Promise<Outcome> {
  const emptyMib = heapMib();
  using fleet = new AreaFleet(sizes, seed);
  const { clock, random, ids } = fleet;
  await clock.advanceMs(SETTLED_MS);
  const perNodeMib = (heapMib() - emptyMib) / fleet.real.size; // what the others would tell is in it, too: no node holds more
  const [leaves, borders] = [fleet.leaves(), fleet.borders()];
  const missing = leaves.filter(({ router }) => router.routes().length < ids.length - 1).length;
  const kbit = (nodes: readonly RealNode[], minutes: number): number =>
    percentile(
      nodes.map((node) => ((node.sentBytes + node.heardBytes) * 8) / 60_000 / minutes / node.host.sessions().length),
      0.5,
    );
  fleet.forgetTraffic();
  await clock.advanceMs(CHURN_EVERY_MS);
  const rest = kbit(leaves, 1);
  fleet.forgetTraffic();
  const choiceMs: number[] = [];
  const own = [...leaves, ...borders.slice(0, sizes.bordersPerSite)];
  const events = ids.length / AREA_LINKS_EACH + ids.length / AREA_NODES_EACH;
  for (let minute = 0; minute < churnMinutes; minute++) {
    for (let event = 0; event < events; event++) {
      if (event % (AREA_NODES_EACH / AREA_LINKS_EACH) === 0) fleet.dropNode();
      else fleet.dropLink();
      await clock.advanceMs(CHURN_EVERY_MS / events);
      const { router } = oneOf(random, own);
      for (let j = 0; j < 4; j++) {
        const startMs = real.nowMs();
        router.route(oneOf(random, ids));
        choiceMs.push(real.nowMs() - startMs);
      }
    }
  }
  const [leafKbit, borderKbit] = [kbit(leaves, churnMinutes), kbit(borders, churnMinutes)];
  const p99Ms = percentile(choiceMs, 0.99);
  return {
    figures: {
      nodes: ids.length,
      sites: sizes.sites,
      missing,
      perNodeMib,
      restKbit: rest,
      leafKbit,
      borderKbit,
      choices: choiceMs.length,
      choiceP50Ms: percentile(choiceMs, 0.5),
      choiceP99Ms: p99Ms,
    },
    bars: [
      atMost("leaves that lack a way to some other node", 0, missing),
      atMost("a way and the one to take when it fails, ms, p99", 20, p99Ms),
      atMost("what a node keeps for routes, MiB", 32, perNodeMib),
      atMost("news of links over a leaf's link, both ways, kbit/s, median of leaves", 2, leafKbit),
    ],
  };
}

/** What choosing ways costs as a fleet grows. */
export const SCALE_SCENARIOS: readonly Scenario[] = [
  {
    name: "scale/flat-300",
    claim:
      "Among 300 nodes that all know of all links a way takes 20 ms to choose, and news of links 2 kbit/s of each link, while one node in a hundred loses one a minute.",
    long: true,
    run: (seed) => flat(SITE_SIZES, seed),
  },
  {
    name: "scale/areas-10000",
    claim:
      "Among 10,000 nodes in 100 sites, each an area, a way takes 20 ms to choose, a node keeps 32 MiB, and a leaf has 2 kbit/s of news over each link, while one node in a hundred loses a link each minute, and nodes start anew.",
    long: true,
    run: (seed) => areas({ sites: 100, nodesPerSite: 100, bordersPerSite: 3 }, 1, seed),
  },
  {
    name: "scale/areas-300",
    claim: "The same, of 300 nodes in ten sites.",
    long: true,
    run: (seed) => areas({ sites: 10, nodesPerSite: 30, bordersPerSite: 2 }, 3, seed),
  },
];
