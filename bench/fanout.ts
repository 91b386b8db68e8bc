import { mkdir, rm } from "node:fs/promises";
import { loadavg } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { type BenchContext, defineBench, numberFlag } from "./bench.ts";
import { type FanOutSample, type Scenario, scenariosOf } from "./fanout-scenarios.ts";
import { compareCopies, cpuSeconds, type StartFleet } from "./fleet.ts";
import { labNeeds, startLab } from "./lab/index.ts";
import { libtorrentMissing, startLibtorrent } from "./libtorrent.ts";
import { programMissing, startAria2, startCurl } from "./plain-peers.ts";
import { readHosts, readWans, traffic } from "./traffic.ts";
import { writeRandomFile } from "./workspace.ts";

/** A distribution may take this many times its bound before it counts as hung: naive copying takes 8.4 times. */
const HUNG_RATIO = 12;

const options = z.object({
  only: z.enum(["lan", "wan", "leader", "nat", "all"]).default("all").describe("the scenarios to run"),
  lanmib: numberFlag(256, 1, 4096, "size of the file for 1 → 8, in MiB"),
  wanmib: numberFlag(100, 1, 4096, "size of the file for 3 sites × 4, in MiB"),
  runs: numberFlag(3, 0, 99, "measured runs of Portolan in each scenario"),
  peers: z.boolean().default(true).describe("also run libtorrent once in lan and wan, for comparison"),
  more: z.boolean().default(false).describe("also aria2 and curl; copying with curl takes 8 times the bound"),
});

export const fanout = defineBench({
  name: "fanout",
  claim:
    "1 → 8 ends within 1.10 × the fluid bound, 3 sites × 4 within 1.15 × and 1.08 copies into each other site, also when a leader dies or all are behind NAT",
  options,
  missing: labNeeds,
  run: async (context, { only, runs, peers, more, ...sizes }) => {
    const others = await peersHere(context, [...(peers ? ["libtorrent"] : []), ...(more ? ["aria2", "curl"] : [])]);
    const scenarios = scenariosOf(sizes).filter(({ name }) => only === "all" || name === only);
    const samples: FanOutSample[] = [];
    const setupSeconds: Record<string, number> = {};
    for (const scenario of scenarios) {
      const own = Array.from({ length: runs }, (): [string, StartFleet] => ["portolan", scenario.start]);
      for (const [i, [peer, start]] of [...own, ...(scenario.compared ? others : [])].entries()) {
        const { setup, sample } = await measure(context, scenario, peer, start);
        samples.push(sample);
        for (const [step, seconds] of Object.entries(setup)) {
          setupSeconds[`${scenario.name}, ${peer} ${i + 1}, ${step}`] = seconds;
        }
        context.progress(
          `${scenario.name}, ${peer}: last after ${sample.lastSeconds.toFixed(1)} s, ${sample.lastRatio.toFixed(2)} × the bound`,
        );
      }
    }
    const ownRuns = ({ name }: Scenario): FanOutSample[] =>
      samples.filter(({ scenario, peer }) => scenario === name && peer === "portolan");
    return {
      conditions: { runs, scenarios },
      setupSeconds,
      samples,
      bars: scenarios.flatMap((scenario) => {
        const bars = ownRuns(scenario).length === 0 ? [] : scenario.barsOf(ownRuns(scenario));
        return bars.map((bar) => ({ ...bar, name: `${scenario.name}: ${bar.name}` }));
      }),
    };
  },
});

/** The other programs that are asked for and that this machine has. */
async function peersHere(
  { clock, progress }: BenchContext,
  wanted: readonly string[],
): Promise<[string, StartFleet][]> {
  const noLibtorrent = await libtorrentMissing(clock);
  const all: [string, StartFleet, string | undefined][] = [
    ["libtorrent", startLibtorrent, noLibtorrent],
    ["aria2", startAria2, noLibtorrent ?? (await programMissing("aria2c"))], // its torrent is made by libtorrent
    ["curl", startCurl, await programMissing("curl")],
  ];
  return all.flatMap(([peer, start, missing]): [string, StartFleet][] => {
    if (!wanted.includes(peer)) return [];
    if (missing === undefined) return [[peer, start]];
    progress(`without ${peer}: ${missing}`);
    return [];
  });
}

async function measure(context: BenchContext, scenario: Scenario, peer: string, start: StartFleet) {
  const { clock } = context;
  const directory = join(context.directory, "fleet");
  const source = join(context.directory, "source");
  const sizeBytes = scenario.mib * 2 ** 20;
  try {
    await mkdir(source);
    const file = join(source, "file.bin");
    const sha256 = await writeRandomFile(file, sizeBytes);
    await using lab = await startLab(clock, scenario.lab);
    const [first, ...others] = lab.hosts.map((host) => scenario.placeOf(host));
    if (first === undefined) throw new RangeError("a scenario needs a host");
    await using fleet = await start(
      { clock, startAt: ({ netns = "" }, argv, extra) => lab.start(netns, argv, extra) },
      { places: [first, ...others], file, directory },
    );
    const [hostsBefore, wansBefore] = await Promise.all([readHosts(lab), readWans(lab)]);
    const cpuBefore = await cpuSeconds(fleet);
    const [load1] = loadavg();
    const arrivals = await fleet.distribute(scenario.boundSeconds * HUNG_RATIO * 1000);
    const [hostsAfter, wansAfter] = await Promise.all([readHosts(lab), readWans(lab)]);
    const cpuAfter = await cpuSeconds(fleet);
    await compareCopies(fleet, sha256);
    const lastSeconds = Math.max(...arrivals.map((arrival) => arrival?.durableSeconds ?? 0));
    const sample: FanOutSample = {
      scenario: scenario.name,
      peer,
      load1,
      boundSeconds: scenario.boundSeconds,
      lastSeconds,
      lastRatio: lastSeconds / scenario.boundSeconds,
      receivers: others.map(({ netns = "", site }, i) => ({ host: netns, site, ...arrivals[i] })),
      cpuSeconds: cpuAfter.map((s, i) => (s === 0 ? null : s - (cpuBefore[i] ?? 0))), // null: it was killed
      congestionControl: lab.congestionControl,
      hosts: hostsAfter.map((reading, i) => traffic(reading, hostsBefore[i], sizeBytes)),
      wan: wansAfter.map((reading, i) => traffic(reading, wansBefore[i], sizeBytes)),
    };
    return { setup: fleet.setupSeconds, sample };
  } finally {
    await rm(directory, { recursive: true, force: true });
    await rm(source, { recursive: true, force: true });
  }
}
