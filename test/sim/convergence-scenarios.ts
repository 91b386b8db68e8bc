import type { Random } from "#core";
import { atMost, percentile } from "../../bench/bench.ts";
import { CIRCUIT_PROBE_MS, IDLE_PROBE_MS } from "../../src/mesh/link-health.ts";
import { LINK_LOOK_MS } from "../../src/routing/circuit/circuits.ts";
import { orderPaths } from "../../src/routing/circuit/order-paths.ts";
import { FaultyMesh } from "../support/faulty-mesh.ts";
import type { Outcome, Scenario } from "./scenario.ts";

const ROUNDS = 1_000;
/** Until all have heard that a link is back: tellings are 2 s apart, and wait up to 32 s where there is always something to tell (docs/spec/link-state.md, rule 1). */
const SETTLED_MS = 40_000;
/** Who does not know by then never does: silent links are dead after 5 s. */
const PATIENCE_MS = 10_000;
/** What a silent link takes to be suspect at most (docs/spec/probe.md, rules 5, 6 and 10): three probes, and the time by which the last is missed. */
const suspectMs = (rttMs: number): number => 3 * CIRCUIT_PROBE_MS + Math.max(100, 4 * rttMs);

type Links = readonly (readonly [a: number, b: number, delayMs: number])[];
type World = { sites: readonly string[]; links: Links; from: number; to: number };

/** The worlds of `bench convergence`: a ring of six with two ways of three links, and three sites of a gateway and a node behind it. */
const WORLDS: Readonly<Record<string, World>> = {
  ring: {
    sites: ["n1", "n2", "n3", "n4", "n5", "n6"],
    links: [0, 1, 2, 3, 4, 5].map((n) => [n, (n + 1) % 6, 25] as const),
    from: 0,
    to: 3,
  },
  mesh: {
    sites: ["a", "a", "b", "b", "c", "c"],
    links: [
      [0, 1, 0.1],
      [2, 3, 0.1],
      [4, 5, 0.1],
      [0, 2, 25],
      [2, 4, 25],
      [4, 0, 25],
    ],
    from: 1,
    to: 3,
  },
};

/** How long a flow stood still, and the longest that it may, ms. */
type Outage = { isSilent: boolean; detectMs: number; outageMs: number; boundMs: number };

/** A circuit in a world: the production code says when a link is silent and which way to try next; what opening a way takes is worked out. */
class Flow {
  readonly #world: World;
  readonly #mesh: FaultyMesh;
  readonly #random: Random;
  #path: readonly number[] = [];

  constructor(world: World, seed: number) {
    this.#world = world;
    this.#mesh = new FaultyMesh(world.sites, world.links, seed);
    this.#random = this.#mesh.random;
  }

  async *outages(rounds: number): AsyncGenerator<Outage> {
    using mesh = this.#mesh;
    await mesh.clock.advanceMs(SETTLED_MS);
    this.#goBy(this.#ways()[0] ?? []);
    for (let round = 0; round < rounds; round++) {
      const between = this.#legs().filter(([a, b]) => this.#world.sites[a] !== this.#world.sites[b]);
      const broken = between[round % between.length] as [number, number];
      yield await this.#breakLink(broken, round % 2 === 1);
      mesh.wire(...broken)?.heal();
      await mesh.clock.advanceMs(SETTLED_MS + 1_000 * this.#random.unit());
    }
  }

  async #breakLink([near, far]: [number, number], isSilent: boolean): Promise<Outage> {
    const { clock } = this.#mesh;
    const wire = this.#mesh.wire(near, far);
    const startMs = clock.nowMs();
    if (isSilent) wire?.lose(0, 1);
    else wire?.cut(); // both ends know
    while (!this.#mesh.suspects(near, far) && clock.nowMs() - startMs < PATIENCE_MS)
      await clock.advanceMs(LINK_LOOK_MS);
    const detectMs = clock.nowMs() - startMs;
    const tellMs = this.#takesMs(this.#path.slice(0, this.#path.indexOf(near) + 1));
    await clock.advanceMs(tellMs);
    const before = this.#path;
    const outageMs = detectMs + tellMs + this.#open();
    const newRttMs = 2 * this.#takesMs(this.#path);
    const latestMs = isSilent ? suspectMs(2 * this.#takesMs([near, far])) + LINK_LOOK_MS : 0;
    if (this.#path === before) return { isSilent, detectMs, outageMs: PATIENCE_MS, boundMs: latestMs };
    return { isSilent, detectMs, outageMs, boundMs: latestMs + tellMs + newRttMs };
  }

  /** Tries ways in the order that a circuit does, and goes by the first that works. Returns what that took, ms. */
  #open(): number {
    let tookMs = 0;
    const failed = this.#path.map((node) => this.#mesh.idOf(node));
    const ordered = orderPaths(
      this.#ways().map((path) => path.slice(1).map((node) => this.#mesh.idOf(node))),
      failed.slice(1),
    );
    for (const ids of ordered) {
      const path = [this.#world.from, ...ids.map((id) => this.#mesh.numberOf(id))];
      const at = legsOf(path).findIndex(([a, b]) => !this.#mesh.carries(a, b));
      tookMs += 2 * this.#takesMs(at < 0 ? path : path.slice(0, at + 1)); // an answer, or a refusal where it ends
      if (at >= 0) continue;
      this.#goBy(path);
      return tookMs;
    }
    return tookMs;
  }

  /** Links under the circuit are probed more often. */
  #goBy(path: readonly number[]): void {
    for (const [a, b] of this.#legs()) this.#mesh.wire(a, b)?.probeEvery(IDLE_PROBE_MS);
    this.#path = path;
    for (const [a, b] of this.#legs()) this.#mesh.wire(a, b)?.probeEvery(CIRCUIT_PROBE_MS);
  }

  #legs(): [number, number][] {
    return legsOf(this.#path);
  }

  /** From the source on. */
  #ways(): number[][] {
    const { from, to } = this.#world;
    const ways = [...this.#mesh.router(from).ways(this.#mesh.idOf(to))];
    return ways.map((way) => [from, ...way.map((id) => this.#mesh.numberOf(id))]);
  }

  /** One way, ms. */
  #takesMs(path: readonly number[]): number {
    const delayOf = ([a, b]: [number, number]): number =>
      this.#world.links.find(([one, other]) => (one === a && other === b) || (one === b && other === a))?.[2] ?? 0;
    return legsOf(path).reduce((sum, leg) => sum + delayOf(leg), 0);
  }
}

function legsOf(path: readonly number[]): [number, number][] {
  return path.slice(1).map((node, i) => [path[i] as number, node]);
}

async function converge(world: World, seed: number): Promise<Outcome> {
  const outages = await Array.fromAsync(new Flow(world, seed).outages(ROUNDS));
  const of = (isSilent: boolean, at: (outage: Outage) => number, share: number): number =>
    percentile(outages.filter((outage) => outage.isSilent === isSilent).map(at), share);
  const ratio = percentile(
    outages.map(({ outageMs, boundMs }) => outageMs / boundMs),
    0.99,
  );
  return {
    figures: {
      rounds: ROUNDS,
      resetP50Ms: of(false, ({ outageMs }) => outageMs, 0.5),
      resetP99Ms: of(false, ({ outageMs }) => outageMs, 0.99),
      silentP50Ms: of(true, ({ outageMs }) => outageMs, 0.5),
      silentP99Ms: of(true, ({ outageMs }) => outageMs, 0.99),
      detectP99Ms: of(true, ({ detectMs }) => detectMs, 0.99),
      boundMs: Math.max(...outages.map(({ boundMs }) => boundMs)),
    },
    bars: [atMost("outage ÷ what its terms add up to, p99", 1.2, ratio)],
  };
}

/** How long a live circuit stands still when a link under it breaks. */
export const CONVERGENCE_SCENARIOS: readonly Scenario[] = Object.entries(WORLDS).map(([name, world]) => ({
  name: `convergence/${name}`,
  claim: `After each of 1,000 faults (${name}) a circuit goes on within what noticing, telling and opening another way may take.`,
  run: (seed) => converge(world, seed),
}));
