import { atMost } from "../../bench/bench.ts";
import type { NodeId } from "#identity";
import type { Router } from "#routing";
import { CIRCUIT_PROBE_MS } from "../../src/mesh/link-health.ts";
import { BetterPath } from "../../src/routing/circuit/better-path.ts";
import { BETTER_LOOK_MS } from "../../src/routing/circuit/circuits.ts";
import { FaultyMesh } from "../support/faulty-mesh.ts";
import type { Outcome, Scenario } from "./scenario.ts";

const STEP_MS = 100;
/** A path that has not moved by then never does. */
const PATIENCE_MS = 60_000;

/** From 0 to 2 over 1, or over 3, which is a little slower: links with the time that one way takes. */
const TWO_WAYS = [
  [0, 1, 25],
  [1, 2, 25],
  [0, 3, 29],
  [2, 3, 29],
] as const;

/** A mesh with two ways once penalties are gone, and where a circuit goes that lives as long. */
async function twoWays(seed: number): Promise<{ mesh: FaultyMesh; circuit: Circuit }> {
  const mesh = new FaultyMesh(["berlin", "genoa", "hull", "riga"], TWO_WAYS, seed);
  await mesh.clock.advanceMs(600_000);
  return { mesh, circuit: new Circuit(mesh, 0, 2) };
}

/** Where a live circuit goes: it stays on its path until a better one has been there for a while. */
class Circuit {
  readonly #mesh: FaultyMesh;
  readonly #router: Router;
  readonly #to: NodeId;
  readonly #better = new BetterPath();
  #path: readonly NodeId[];
  #lookMs = 0;

  constructor(mesh: FaultyMesh, from: number, to: number) {
    this.#mesh = mesh;
    this.#router = mesh.router(from);
    this.#to = mesh.idOf(to);
    this.#path = this.#best;
  }

  /** Looks for a better path, when it is time to, and says where it goes now. */
  path(): string {
    const nowMs = this.#mesh.clock.nowMs();
    if (nowMs - this.#lookMs >= BETTER_LOOK_MS) {
      this.#lookMs = nowMs;
      const [path, router] = [this.#best, this.#router];
      const current = { path: this.#path, cost: router.costAlong(this.#path) };
      const cost = router.costAlong(path);
      if (cost !== undefined && this.#better.isDue({ path, cost }, current, nowMs)) this.#path = path;
    }
    return this.#path.map((id) => this.#mesh.numberOf(id)).join(" ");
  }

  get #best(): readonly NodeId[] {
    const [best = []] = this.#router.ways(this.#to);
    return best;
  }
}

/** How often its path changes in this time, looked at ten times a second. */
async function changesOf({ clock }: FaultyMesh, circuit: Circuit, forMs: number): Promise<number> {
  let changes = 0;
  let last = circuit.path();
  for (const endMs = clock.nowMs() + forMs; clock.nowMs() < endMs; ) {
    await clock.advanceMs(100);
    const now = circuit.path();
    if (now !== last) changes += 1;
    last = now;
  }
  return changes;
}

async function jitter(seed: number): Promise<Outcome> {
  const { mesh, circuit } = await twoWays(seed);
  using _ = mesh;
  for (const [a, b, delayMs] of TWO_WAYS) {
    for (const end of [0, 1] as const) mesh.wire(a, b)?.delay(end, delayMs, 0.3);
  }
  for (const link of [mesh.wire(0, 1), mesh.wire(1, 2)]) link?.probeEvery(CIRCUIT_PROBE_MS); // where the circuit runs
  await mesh.clock.advanceMs(1_000);
  const changes = await changesOf(mesh, circuit, 600_000);
  for (const end of [0, 1] as const) mesh.wire(1, 2)?.delay(end, 50, 0.3);
  const before = circuit.path();
  const startMs = mesh.clock.nowMs();
  while (circuit.path() === before && mesh.clock.nowMs() - startMs < PATIENCE_MS) await mesh.clock.advanceMs(STEP_MS);
  const movedMs = mesh.clock.nowMs() - startMs;
  return {
    figures: { changes, movedMs, deaths: mesh.deaths },
    bars: [
      atMost("times that the way moved for round trips that swing by 30 %", 0, changes),
      atMost("ms until the way moved off a round trip that doubled", 10_000, movedMs),
      atMost("links taken for dead", 0, mesh.deaths),
    ],
  };
}

async function flap(seed: number): Promise<Outcome> {
  const { mesh, circuit } = await twoWays(seed);
  using _ = mesh;
  let changes = 0;
  for (let second = 0; second < 600; second++) {
    mesh.wire(1, 2)?.cut();
    changes += await changesOf(mesh, circuit, 500);
    mesh.wire(1, 2)?.heal();
    changes += await changesOf(mesh, circuit, 500);
  }
  return { figures: { changes }, bars: [atMost("times that the way moved", 10, changes)] };
}

/** Whether live circuits stay where they are while links are restless. */
export const STABILITY_SCENARIOS: readonly Scenario[] = [
  {
    name: "routing/jitter",
    claim:
      "Round trips that swing by 30 % for ten minutes move no way; one that doubles on a link in use moves it within 10 s.",
    run: jitter,
  },
  {
    name: "routing/flap",
    claim: "A link that comes and goes every second for ten minutes moves ways at most ten times.",
    run: flap,
  },
];
