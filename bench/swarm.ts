import { z } from "zod";
import { SwarmWorld, type WorldOptions } from "./sim/swarm-world.ts";
import { atMost, type Bar, defineBench, numberFlag, type Sample } from "./bench.ts";

const MIB = 1024 * 1024;
const LAN = { sites: 1, uplinkBps: 50e6, wanBps: 20e6, sizeBytes: 256 * MIB };
const WAN = { nodesPerSite: 4, sites: 3, uplinkBps: 100e6, wanBps: 20e6, sizeBytes: 100 * MIB };

/** What the scheduler is held to: the worst seed counts. `ratio`: last finisher ÷ fluid bound; `copies`: over the WAN into the worst site. */
const CASES: Readonly<Record<string, { world: Omit<WorldOptions, "seed">; ratio: number; copies?: number }>> = {
  "1 to 8": { world: { ...LAN, nodesPerSite: 9 }, ratio: 1.03 },
  "1 to 32": { world: { ...LAN, nodesPerSite: 33 }, ratio: 1.04 },
  "3 sites of 4": { world: WAN, ratio: 1.03, copies: 1.01 },
  "10 sites of 10": { world: { ...WAN, sites: 10, nodesPerSite: 10 }, ratio: 1.1 },
  "20 % die": { world: { ...LAN, nodesPerSite: 17, dyingRatio: 0.2 }, ratio: 1.1 },
  "leaders die": { world: { ...WAN, leadersDie: true }, ratio: 1.05, copies: 1.03 },
  "uplinks of 10 to 100 Mbit/s": { world: { ...LAN, nodesPerSite: 17, mixed: true }, ratio: 1.06 },
  "30 % liars": { world: { ...LAN, nodesPerSite: 17, liarRatio: 0.3 }, ratio: 1.05 },
};

/** The scheduler of the daemon on virtual time: links with rates, delays and queues, stale views, faults. */
export const swarm = defineBench({
  name: "swarm",
  claim: "The swarm scheduler, on virtual time, ends close to the fluid bound with one copy per site over the WAN.",
  options: z.object({
    seeds: numberFlag(3, 1, 1_000, "runs of each case"),
    first: numberFlag(1, 0, 2 ** 31, "first seed"),
    case: z.string().default("all").describe("one case by its name"),
  }),
  missing: async () => undefined,
  run: async ({ progress }, { seeds, first, case: only }) => {
    const samples: Sample[] = [];
    const bars: Bar[] = [];
    for (const [name, { world, ratio, copies }] of Object.entries(CASES)) {
      if (only !== "all" && only !== name) continue;
      const results = Array.from({ length: seeds }, (_, at) => {
        const seed = first + at;
        const result = new SwarmWorld({ ...world, seed }).run();
        progress(`${name}, seed ${seed}: ${result.ratio.toFixed(3)} of the bound`);
        samples.push({ case: name, seed, ...result });
        return result;
      });
      const worst = (of: (result: (typeof results)[number]) => number): number => Math.max(...results.map(of));
      bars.push(
        atMost(
          `${name}: time ÷ bound`,
          ratio,
          worst((r) => r.ratio),
        ),
      );
      bars.push(
        atMost(
          `${name}: unfinished nodes`,
          0,
          worst((r) => r.unfinished),
        ),
      );
      bars.push(
        atMost(
          `${name}: decision, µs per chunk`,
          50,
          worst((r) => r.decisionUs),
        ),
      );
      bars.push(
        atMost(
          `${name}: liars not named`,
          0,
          worst((r) => r.liars - r.liarsNamed),
        ),
      );
      if (copies !== undefined)
        bars.push(
          atMost(
            `${name}: copies over the WAN`,
            copies,
            worst((r) => r.wanCopies),
          ),
        );
    }
    return {
      conditions: { seeds, first, uplinkBps: { lan: LAN.uplinkBps, sites: WAN.uplinkBps }, wanBps: LAN.wanBps },
      setupSeconds: {},
      samples,
      bars,
    };
  },
});
