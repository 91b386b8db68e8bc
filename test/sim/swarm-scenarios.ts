import { atMost } from "../../bench/bench.ts";
import { SwarmWorld, type WorldOptions, type WorldResult } from "../../bench/sim/swarm-world.ts";
import type { Scenario } from "./scenario.ts";

const MIB = 1024 * 1024;
const LAN = { sites: 1, uplinkBps: 50e6, wanBps: 20e6, sizeBytes: 256 * MIB };
const WAN = { sites: 3, nodesPerSite: 4, uplinkBps: 100e6, wanBps: 20e6, sizeBytes: 100 * MIB };
const CHUNK_BYTES = MIB / 4;
const MANY = { ...WAN, sites: 30, nodesPerSite: 17, mixed: true, chunkBytes: CHUNK_BYTES };
/** Processor time of the scheduler for each chunk that a node gets: 40,000 chunks a second at a quarter of one core. */
const DECISION_US = 50;

type Limits = {
  /** Last finisher ÷ fluid bound. */
  ratio: number;
  /** Over the WAN into the worst site. */
  copies?: number;
  /** Cells that came for nothing ÷ useful ones. */
  duplicates?: number;
};

const scenario = (name: string, claim: string, world: Omit<WorldOptions, "seed">, limits: Limits): Scenario => ({
  name: `swarm/${name}`,
  claim,
  run: (seed) => {
    const result = new SwarmWorld({ ...world, seed }).run();
    return { figures: result, bars: barsOf(result, limits) };
  },
});

const long = (scenario: Scenario): Scenario => ({ ...scenario, long: true });

function barsOf(result: WorldResult, { ratio, copies, duplicates }: Limits): ReturnType<typeof atMost>[] {
  const bars = [
    atMost("time ÷ bound", ratio, result.ratio),
    atMost("unfinished nodes", 0, result.unfinished),
    atMost("decision, µs per chunk", DECISION_US, result.decisionUs),
  ];
  if (copies !== undefined) bars.push(atMost("copies over the WAN", copies, result.wanCopies));
  if (duplicates !== undefined) bars.push(atMost("duplicate ÷ useful cells", duplicates, result.duplicateRatio));
  if (result.liars > 0) bars.push(atMost("liars not named", 0, result.liars - result.liarsNamed));
  return bars;
}

/** The production scheduler over links with rates, delays and queues, with stale views and faults. */
export const SWARM_SCENARIOS: readonly Scenario[] = [
  scenario(
    "1-to-8",
    "One node brings 256 MiB to 8, 50 Mbit/s each.",
    { ...LAN, nodesPerSite: 9 },
    { ratio: 1.03, duplicates: 0 },
  ),
  scenario("1-to-32", "The same to 32.", { ...LAN, nodesPerSite: 33 }, { ratio: 1.04, duplicates: 0 }),
  scenario("3x4", "100 MiB reach 3 sites of 4 over WAN links of 20 Mbit/s.", WAN, {
    ratio: 1.03,
    copies: 1.01,
    duplicates: 0,
  }),
  scenario(
    "10x10",
    "The same, 10 sites of 10.",
    { ...WAN, sites: 10, nodesPerSite: 10 },
    { ratio: 1.1, duplicates: 0 },
  ),
  scenario(
    "mixed-uplinks",
    "16 nodes with uplinks of 10 to 100 Mbit/s.",
    { ...LAN, nodesPerSite: 17, mixed: true },
    { ratio: 1.06, duplicates: 0 },
  ),
  scenario(
    "deaths",
    "A fifth of 16 nodes die on the way.",
    { ...LAN, nodesPerSite: 17, dyingRatio: 0.2 },
    { ratio: 1.1 },
  ),
  scenario(
    "dead-leaders",
    "The leader of every second site dies on the way.",
    { ...WAN, leadersDie: true },
    { ratio: 1.05, copies: 1.03 },
  ),
  scenario(
    "liars",
    "30 % of 16 nodes say they have all, and send wrong bytes.",
    { ...LAN, nodesPerSite: 17, liarRatio: 0.3 },
    { ratio: 1.05 },
  ),
  long(
    scenario(
      "30x17",
      "40,000 chunks reach 30 sites of 17 with uplinks of 10 to 100 Mbit/s.",
      { ...MANY, sizeBytes: 40_000 * CHUNK_BYTES },
      { ratio: 1.1 },
    ),
  ),
  long(scenario("30x17-short", "The same with 4,000.", { ...MANY, sizeBytes: 4_000 * CHUNK_BYTES }, { ratio: 1.1 })),
];
