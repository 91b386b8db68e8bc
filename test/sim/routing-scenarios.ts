import { SeededRandom } from "#core";
import { atMost } from "../../bench/bench.ts";
import { FaultyMesh } from "../support/faulty-mesh.ts";
import type { Outcome, Scenario } from "./scenario.ts";

const SITES = ["berlin", "genoa", "hull", "riga"];
/** Links that a node has, in the mean. */
const DEGREE = 4;
const MAX_BURST = 5;
const BURST_MS = 3_000;
/** Pairs of nodes of which the backup path is looked at after a burst. */
const BACKUPS = 6;
const STEP_MS = 100;
/** What is not right by then never is. */
const PATIENCE_MS = 60_000;

/** Pair-seconds of wrong ways after which a world is not followed any further. */
const HOPELESS = 100;

/** One way over a link, at most. */
const HOP_MS = 75;
/** News reaches everybody up to seven hops away within this time: 20 ms until a node tells, and what the hops take. */
const SPREAD_MS = 600;
/** From the moment that a wire carries: the dial, and 2 s between two tellings (docs/spec/link-state.md, rule 1). */
const UP_MS = 100 + 2_200 + SPREAD_MS;
/** A silent peer is dead after 5 s (docs/spec/probe.md, rule 11), which is looked at twice a second. */
const SILENT_MS = 5_000 + 2 * 500 + SPREAD_MS;

/**
 * With areas a change inside a site is told on by its borders, 20 ms later at the soonest, 100 ms after what they told before; what came, 2 s after
 * that.
 */
const BORDER_MS = { gone: 120 + SPREAD_MS, came: 2_020 + SPREAD_MS };

/** Which links there are: a ring through all nodes, site by site, so that all hang together, and more at random. */
function layOut(random: SeededRandom, areas: "one" | "site"): FaultyMesh {
  const length = 12 + random.below(21);
  const siteAt = (i: number): number => (areas === "one" ? i % SITES.length : Math.floor((i * SITES.length) / length));
  const sites = Array.from({ length }, (_, i) => SITES[siteAt(i)] as string);
  const { length: size } = sites;
  const chosen = new Set(sites.map((_, i) => [i, (i + 1) % size].toSorted((a, b) => a - b).join()));
  while (chosen.size < (size * DEGREE) / 2) {
    const [a, b] = [random.below(size), random.below(size)];
    if (a !== b) chosen.add([a, b].toSorted((one, two) => one - two).join());
  }
  const links = [...chosen].map((pair) => {
    const [a = 0, b = 0] = pair.split(",").map(Number);
    return [a, b, 1 + random.below(HOP_MS)] as const;
  });
  return new FaultyMesh(sites, links, random.below(2 ** 31), areas);
}

/** Something that happens to a mesh. Returns after how long, in milliseconds, every way must be right again. */
type Fault = (mesh: FaultyMesh, random: SeededRandom) => number | Promise<number>;

const oneOf = <T>(random: SeededRandom, list: readonly T[]): T => list[random.below(list.length)] as T;
const nodesOf = ({ size }: FaultyMesh): number[] => Array.from({ length: size }, (_, node) => node);
const wireOf = (mesh: FaultyMesh, random: SeededRandom) => {
  const ends = oneOf(random, mesh.links);
  return mesh.wire(...ends);
};

const FAULTS = {
  kill: (mesh, random) => {
    const living = nodesOf(mesh).filter((node) => mesh.lives(node));
    if (living.length > mesh.size / 2) mesh.kill(oneOf(random, living));
    return SPREAD_MS;
  },
  start: (mesh, random) => {
    const dead = nodesOf(mesh).filter((node) => !mesh.lives(node));
    if (dead.length > 0) mesh.start(oneOf(random, dead));
    return UP_MS;
  },
  /** With the number of an earlier start, as from a backup: others know newer words of it. */
  startLow: (mesh, random) => {
    const dead = nodesOf(mesh).filter((node) => !mesh.lives(node));
    if (dead.length > 0) mesh.start(oneOf(random, dead), 1);
    return UP_MS;
  },
  cut: (mesh, random) => {
    wireOf(mesh, random)?.cut();
    return SPREAD_MS;
  },
  hole: (mesh, random) => {
    wireOf(mesh, random)?.lose(0, 1);
    return SILENT_MS;
  },
  oneWay: (mesh, random) => {
    wireOf(mesh, random)?.lose(random.below(2) === 0 ? 0 : 1);
    return SILENT_MS;
  },
  silence: (mesh, random) => {
    const node = random.below(mesh.size);
    for (const peer of nodesOf(mesh)) mesh.wire(node, peer)?.lose(0, 1);
    return SILENT_MS;
  },
  partition: (mesh, random) => {
    const isHere = nodesOf(mesh).map(() => random.below(2) === 0);
    const isSilent = random.below(2) === 0;
    for (const [a, b] of mesh.links) {
      if (isHere[a] === isHere[b]) continue;
      if (isSilent) mesh.wire(a, b)?.lose(0, 1);
      else mesh.wire(a, b)?.cut();
    }
    return isSilent ? SILENT_MS : SPREAD_MS;
  },
  heal: (mesh, random) => {
    wireOf(mesh, random)?.heal();
    return UP_MS;
  },
  merge: (mesh) => {
    for (const ends of mesh.links) mesh.wire(...ends)?.heal();
    return UP_MS;
  },
  flap: async (mesh, random) => {
    const wire = wireOf(mesh, random);
    for (let time = 0; time < 3; time++) {
      wire?.cut();
      await mesh.clock.advanceMs(random.below(300));
      wire?.heal();
      await mesh.clock.advanceMs(random.below(700));
    }
    return UP_MS;
  },
  cost: (mesh, random) => {
    wireOf(mesh, random)?.delay(random.below(2) === 0 ? 0 : 1, 1 + random.below(HOP_MS));
    return 0;
  },
  replay: (mesh, random) => {
    const node = random.below(mesh.size);
    if (mesh.lives(node)) mesh.replay(node);
    return SPREAD_MS;
  },
  lie: (mesh, random) => {
    const [node, about] = [random.below(mesh.size), random.below(mesh.size)];
    if (mesh.lives(node) && node !== about) mesh.lie(node, about);
    return SPREAD_MS;
  },
} satisfies Readonly<Record<string, Fault>>;

/** How often each happens, beside the others. What concerns many links at once is seldom, and moves as many statements. */
const SHARES: Readonly<Record<keyof typeof FAULTS, number>> = {
  kill: 3,
  start: 3,
  startLow: 2,
  cut: 6,
  hole: 6,
  oneWay: 6,
  silence: 1,
  partition: 1,
  heal: 12,
  merge: 1,
  flap: 3,
  cost: 6,
  replay: 3,
  lie: 2,
};
const KINDS = Object.entries(SHARES).flatMap(([kind, share]) =>
  Array.from({ length: share }, () => kind as keyof typeof FAULTS),
);

function reachedFrom(mesh: FaultyMesh, from: number, neighbours: readonly number[][]): Set<number> {
  const reached = new Set([from]);
  for (const at of reached) {
    for (const to of neighbours[at] ?? []) if (mesh.carries(at, to)) reached.add(to);
  }
  return reached;
}

/** Hops between the two that are farthest from each other, of those that reach each other. */
function farthest(mesh: FaultyMesh, neighbours: readonly number[][]): number {
  let most = 0;
  for (const from of nodesOf(mesh)) {
    const hops = new Map([[from, 0]]);
    for (const [at, count] of hops)
      for (const to of neighbours[at] ?? []) if (!hops.has(to) && mesh.carries(at, to)) hops.set(to, count + 1);
    most = Math.max(most, ...hops.values());
  }
  return most;
}

/** Pairs between which a way is missing though there is one, and those whose way leads over what carries nothing. */
function wrongPairs(mesh: FaultyMesh, neighbours: readonly number[][]): { missing: number; stale: number } {
  let [missing, stale] = [0, 0];
  for (const from of nodesOf(mesh)) {
    if (!mesh.lives(from)) continue;
    const reached = reachedFrom(mesh, from, neighbours);
    for (const to of nodesOf(mesh)) {
      if (to === from) continue;
      const [way] = mesh.router(from).ways(mesh.idOf(to));
      if (way === undefined) missing += reached.has(to) ? 1 : 0;
      else if (!isWhole(mesh, from, way)) stale += 1;
    }
  }
  return { missing, stale };
}

/** Whether bytes get along a way. Inside a site it may lead over nodes that it does not name. */
function isWhole(mesh: FaultyMesh, from: number, way: readonly string[]): boolean {
  const nodes = [from, ...way.map((id) => mesh.numberOf(id))];
  return nodes.every((node, i) => {
    const before = nodes[i - 1];
    return before === undefined || mesh.carries(before, node) || areJoined(mesh, before, node);
  });
}

/** Whether two nodes of one site reach each other inside it; where nobody but nodes that know all links chose the way, that does not count. */
function areJoined(mesh: FaultyMesh, a: number, b: number): boolean {
  if (mesh.areas === "one" || mesh.siteOf(a) !== mesh.siteOf(b)) return false;
  const inside = nodesOf(mesh).filter((node) => mesh.siteOf(node) === mesh.siteOf(a));
  const reached = new Set([a]);
  for (const at of reached) for (const to of inside) if (mesh.carries(at, to)) reached.add(to);
  return reached.has(b);
}

/** Backup paths that share a node or a link with the path, though there is a way that does not. */
function sharedBackups(mesh: FaultyMesh, random: SeededRandom): number {
  let shared = 0;
  for (let time = 0; time < BACKUPS; time++) {
    const [from, to] = [random.below(mesh.size), random.below(mesh.size)];
    if (from === to || !mesh.lives(from)) continue;
    const [way, backup] = [...mesh.router(from).ways(mesh.idOf(to))].map((ids) => ids.map((id) => mesh.numberOf(id)));
    if (way === undefined) continue;
    const between = new Set(way.slice(0, -1));
    const isApart = (a: number, b: number): boolean =>
      !between.has(b) &&
      !(way.length === 1 && Math.min(a, b) === Math.min(from, to) && Math.max(a, b) === Math.max(from, to));
    const isReached = (isUsable: (a: number, b: number) => boolean): boolean => {
      const reached = new Set([from]);
      for (const at of reached)
        for (const peer of nodesOf(mesh)) if (isApart(at, peer) && isUsable(at, peer)) reached.add(peer);
      return reached.has(to);
    };
    if (backup?.some((node) => between.has(node)) === false) continue;
    // a new link that nobody needs may be told of half a minute later (docs/spec/link-state.md, rule 1)
    const isTold = (a: number, b: number): boolean => mesh.carries(a, b) && mesh.tells(a, b) && mesh.tells(b, a);
    if (isReached((a, b) => mesh.carries(a, b)) && isReached(isTold)) shared += 1;
  }
  return shared;
}

async function faults(seed: number, events: number, areas: "one" | "site" = "one"): Promise<Outcome> {
  const random = new SeededRandom(seed);
  using mesh = layOut(random, areas);
  const neighbours = nodesOf(mesh).map((node) => nodesOf(mesh).filter((peer) => mesh.wire(node, peer) !== undefined));
  const onMs = (settleMs: number): number => {
    if (areas === "one" || settleMs === 0) return settleMs;
    return settleMs + (settleMs === UP_MS ? BORDER_MS.came : BORDER_MS.gone);
  };
  await mesh.clock.advanceMs(onMs(UP_MS));
  const totals = { missingPairSeconds: 0, stalePairSeconds: 0, latestMs: 0, never: 0, shared: 0 };
  for (let done = 0; done < events && totals.never === 0 && totals.stalePairSeconds < HOPELESS; ) {
    const burst = 1 + random.below(MAX_BURST);
    let rightMs = 0;
    for (let i = 0; i < burst; i++, done++) {
      const settleMs = await FAULTS[oneOf(random, KINDS)](mesh, random);
      rightMs = Math.max(rightMs, mesh.clock.nowMs() + onMs(settleMs));
      await mesh.clock.advanceMs(random.below(BURST_MS / burst));
    }
    rightMs += Math.max(0, 20 + farthest(mesh, neighbours) * HOP_MS - SPREAD_MS);
    await mesh.clock.advanceMs(Math.max(0, rightMs - mesh.clock.nowMs()));
    for (let lateMs = 0; ; lateMs += STEP_MS) {
      const { missing, stale } = wrongPairs(mesh, neighbours);
      if (missing + stale === 0) break;
      totals.missingPairSeconds += (missing * STEP_MS) / 1_000;
      totals.stalePairSeconds += (stale * STEP_MS) / 1_000;
      totals.latestMs = Math.max(totals.latestMs, lateMs + STEP_MS);
      if (lateMs >= PATIENCE_MS) {
        totals.never += 1;
        break;
      }
      await mesh.clock.advanceMs(STEP_MS);
    }
    if (areas === "one") totals.shared += sharedBackups(mesh, random);
  }
  return {
    figures: { nodes: mesh.size, events, deaths: mesh.deaths, ...totals },
    bars: [
      atMost("bursts after which not all ways were right within a minute", 0, totals.never),
      atMost("pair-seconds without a way though there is one, once it is time", 0, totals.missingPairSeconds),
      atMost("pair-seconds of ways over what carries nothing, once it is time", 0, totals.stalePairSeconds),
      atMost("backup paths that share more than they have to", 0, totals.shared),
    ],
  };
}

/** The production path choice, gossip and probes on virtual time, with random faults. */
export const ROUTING_SCENARIOS: readonly Scenario[] = [
  {
    name: "routing/faults",
    claim:
      "12 to 32 nodes, 1,000 events of 14 kinds: wherever a way is there is one, none leads over what is gone, and the backup shares what it must.",
    run: (seed) => faults(seed, 1_000),
  },
  {
    name: "routing/areas",
    claim:
      "The same with each of four sites an area: wherever a way is there is one, and none leads over what is gone, nor through a site that fell apart there.",
    run: (seed) => faults(seed, 1_000, "site"),
  },
];
