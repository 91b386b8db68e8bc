import { SeededRandom } from "#core";
import { atMost } from "../../bench/bench.ts";
import { RoutingWorld } from "../support/routing-world.ts";
import type { Outcome, Scenario } from "./scenario.ts";

const SITES = "abcd";
/** Links that a node has at first, in the mean. */
const DEGREE = 4;
/** Sources from which all ways are looked at after an event. */
const SOURCES = 4;
const STEP_MS = 10;
/** What is not right by then never is. */
const PATIENCE_MS = 30_000;

/** What there is: links by the names of their ends, in that order. */
class Truth {
  readonly up = new Set<string>();
  readonly all: readonly string[];
  readonly nodes: readonly string[];
  readonly dead = new Set<string>();

  constructor(nodes: readonly string[], links: readonly string[]) {
    this.nodes = nodes;
    this.all = links;
    for (const link of links) this.up.add(link);
  }

  has(a: string, b: string): boolean {
    return this.up.has(`${a}-${b}`) || this.up.has(`${b}-${a}`);
  }

  reached(from: string): Set<string> {
    const reached = new Set([from]);
    for (const at of reached) for (const to of this.nodes) if (this.has(at, to)) reached.add(to);
    return reached;
  }
}

/** A ring through all nodes, so that all hang together, and more links at random. */
function links(nodes: readonly string[], random: SeededRandom): string[] {
  const chosen = new Set(nodes.map((node, i) => `${node}-${nodes[(i + 1) % nodes.length]}`));
  for (let i = 0; i < (nodes.length * (DEGREE - 2)) / 2; i++) {
    const [a, b] = [random.below(nodes.length), random.below(nodes.length)];
    if (a !== b && !chosen.has(`${nodes[b]}-${nodes[a]}`)) chosen.add(`${nodes[a]}-${nodes[b]}`);
  }
  return [...chosen];
}

/** One thing happens; says what. */
function happen(world: RoutingWorld, truth: Truth, random: SeededRandom): "cut" | "linked" | "measured" {
  const one = <T>(list: readonly T[]): T => list[random.below(list.length)] as T;
  const set = (link: string, up: boolean): void => {
    const [a = "", b = ""] = link.split("-");
    if (truth.up.has(link) === up) return;
    if (up) world.link(a, b, 1 + random.below(150));
    else world.cut(a, b);
    if (up) truth.up.add(link);
    else truth.up.delete(link);
  };
  const ofNode = (node: string): string[] => truth.all.filter((link) => link.split("-").includes(node));
  const lives = (link: string): boolean => !link.split("-").some((node) => truth.dead.has(node));
  switch (random.below(6)) {
    case 0: {
      const node = one(truth.nodes);
      truth.dead.add(node);
      for (const link of ofNode(node)) set(link, false);
      return "cut";
    }
    case 1: {
      const [node] = truth.dead;
      if (node === undefined) return "measured";
      truth.dead.delete(node);
      for (const link of ofNode(node)) if (lives(link)) set(link, true);
      return "linked";
    }
    case 2:
    case 3:
      set(one(truth.all), false);
      return "cut";
    case 4: {
      // what was cut comes back, all at once: parts of the mesh that were apart meet
      for (const link of truth.all) if (lives(link)) set(link, true);
      return "linked";
    }
    default: {
      const link = one(truth.all);
      const [a = "", b = ""] = link.split("-");
      if (truth.up.has(link)) world.measure(a, b, 1 + random.below(150));
      return "measured";
    }
  }
}

/** How many ways from these sources are missing, or lead over a link that is gone. */
function wrong(world: RoutingWorld, truth: Truth, sources: readonly string[]): { missing: number; stale: number } {
  let [missing, stale] = [0, 0];
  for (const from of sources) {
    const reached = truth.reached(from);
    for (const to of truth.nodes) {
      if (to === from) continue;
      const path = world.path(from, to);
      if (path === undefined) missing += reached.has(to) ? 1 : 0;
      else if (path.some((node, i) => i > 0 && !truth.has(path[i - 1] ?? "", node))) stale += 1;
    }
  }
  return { missing, stale };
}

async function churn(seed: number, events: number): Promise<Outcome> {
  const random = new SeededRandom(seed);
  const nodes = Array.from({ length: 12 + random.below(21) }, (_, i) => `${SITES[i % SITES.length]}${i}`);
  const all = links(nodes, random);
  const rtts = Object.fromEntries(all.map((link) => [link, 1 + random.below(150)]));
  using world = new RoutingWorld(rtts, { seed });
  const truth = new Truth(nodes, all);
  await world.clock.advanceMs(5_000);
  const tookMs: Record<"cut" | "linked" | "measured", number[]> = { cut: [], linked: [], measured: [] };
  let never = 0;
  for (let i = 0; i < events; i++) {
    const what = happen(world, truth, random);
    const sources = Array.from({ length: SOURCES }, () => nodes[random.below(nodes.length)] ?? "");
    const startMs = world.clock.nowMs();
    const isWrong = (): boolean => {
      const { missing, stale } = wrong(world, truth, sources);
      return missing + stale > 0;
    };
    while (isWrong() && world.clock.nowMs() - startMs < PATIENCE_MS) await world.clock.advanceMs(STEP_MS);
    if (isWrong()) never += 1;
    tookMs[what].push(world.clock.nowMs() - startMs);
    await world.clock.advanceMs(random.below(3_000));
  }
  const most = (list: readonly number[]): number => Math.max(0, ...list);
  const figures = {
    nodes: nodes.length,
    events,
    neverRight: never,
    afterCutMs: most(tookMs.cut),
    afterLinkMs: most(tookMs.linked),
  };
  return {
    figures,
    bars: [
      atMost("events after which not all ways were right within 30 s", 0, never),
      atMost("ms until all ways are right after a cut", 250, figures.afterCutMs),
      atMost("ms until all ways are right after links came up", 2_300, figures.afterLinkMs),
      atMost("ms until all ways are right after a cost changed", 0, most(tookMs.measured)),
    ],
  };
}

/** The production path choice over gossip in memory, 5 ms a message, with random events. */
export const ROUTING_SCENARIOS: readonly Scenario[] = [
  {
    name: "routing/churn",
    claim: "12 to 32 nodes, 300 events: wherever a way is there is one, and none leads over what is gone.",
    run: (seed) => churn(seed, 300),
  },
];
