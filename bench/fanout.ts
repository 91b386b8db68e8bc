import { mkdir, rm } from "node:fs/promises";
import { loadavg } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { gatewayOf, type Lab, type LabHost, labNeeds, type LabOptions, startLab } from "./lab/index.ts";
import { atMost, type Bar, type BenchContext, defineBench, median, numberFlag, type Sample } from "./bench.ts";
import { compareCopies, cpuSeconds, type Place, type StartFleet } from "./fleet.ts";
import { fanOutSeconds, wanSeconds } from "./fluid.ts";
import { libtorrentMissing, startLibtorrent } from "./libtorrent.ts";
import { startPortolan } from "./portolan.ts";
import { writeRandomFile } from "./workspace.ts";

/** The stage's bars: the last receiver over the fluid bound, and copies over each WAN link. */
const LAST_RATIO = 1.25;
const WAN_COPIES = 1.3;
/** A distribution may take this many times its bound before it counts as hung: naive copying takes 8.4 times. */
const HUNG_RATIO = 12;
const PORT = 4001;

/** One network and one file: what is brought to every other host of it, from the first. */
type Scenario = { name: string; lab: Partial<LabOptions>; mib: number; boundSeconds: number };

/** 1 → 8 on one switch, 50 Mbit/s each way. */
const lanScenario = (mib: number): Scenario => ({
  name: "1 → 8 at 50 Mbit/s",
  lab: { sites: 1, hostsPerSite: 9, hostUpBps: 50e6, hostDownBps: 50e6 },
  mib,
  boundSeconds: fanOutSeconds(mib * 2 ** 20, 8, { upBps: 50e6, downBps: 50e6 }),
});

/** 3 sites × 4, WAN links of 20 Mbit/s and 15 ms: 60 ms between sites and back. */
const wanScenario = (mib: number): Scenario => ({
  name: "3 sites × 4 over 20 Mbit/s",
  lab: { sites: 3, hostsPerSite: 4, hostUpBps: 100e6, hostDownBps: 100e6 },
  mib,
  boundSeconds: wanSeconds(mib * 2 ** 20, 3, 20e6),
});

const options = z.object({
  only: z.enum(["lan", "wan", "both"]).default("both").describe("the scenarios to run"),
  lanmib: numberFlag(256, 1, 4096, "size of the file for 1 → 8, in MiB"),
  wanmib: numberFlag(100, 1, 4096, "size of the file for 3 sites × 4, in MiB"),
  runs: numberFlag(3, 0, 99, "measured runs of Portolan in each scenario"),
  peers: z.boolean().default(true).describe("also run libtorrent once in each scenario, for comparison"),
});

export const fanout = defineBench({
  name: "fanout",
  claim: `1 → 8 ends within ${LAST_RATIO} × the fluid bound, and 3 sites × 4 carry ≤ ${WAN_COPIES} copies over each WAN link`,
  options,
  missing: labNeeds,
  run: async (context, { only, lanmib, wanmib, runs, peers }) => {
    const noPeer = peers ? await libtorrentMissing(context.clock) : "switched off";
    if (noPeer !== undefined) context.progress(`without libtorrent: ${noPeer}`);
    const plan: [string, StartFleet][] = Array.from({ length: runs }, () => ["portolan", startPortolan]);
    if (noPeer === undefined) plan.push(["libtorrent", startLibtorrent]);
    const scenarios = [only === "wan" ? [] : lanScenario(lanmib), only === "lan" ? [] : wanScenario(wanmib)].flat();
    const samples: FanOutSample[] = [];
    const setupSeconds: Record<string, number> = {};
    for (const scenario of scenarios) {
      for (const [i, [peer, start]] of plan.entries()) {
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
    return {
      conditions: { runs, scenarios },
      setupSeconds,
      samples,
      bars: scenarios.flatMap((scenario) => barsOf(scenario, samples)),
    };
  },
});

/** Bytes on the wire with Ethernet headers, from interface counters, over the time of the distribution. */
type Traffic = {
  interface: string;
  bytesIn: number;
  bytesOut: number;
  copiesIn: number;
  copiesOut: number;
  drops: number;
};

type FanOutSample = Sample & {
  scenario: string;
  peer: string;
  lastSeconds: number;
  lastRatio: number;
  hosts: Traffic[];
  wan: Traffic[];
};

function barsOf(scenario: Scenario, samples: readonly FanOutSample[]): Bar[] {
  const own = samples.filter((s) => s.scenario === scenario.name && s.peer === "portolan");
  if (own.length === 0) return [];
  const last = atMost(
    `${scenario.name}: last receiver ÷ fluid bound, median`,
    LAST_RATIO,
    median(own.map((s) => s.lastRatio)),
  );
  if (own[0]?.wan.length === 0) return [last];
  return (own[0]?.wan ?? []).map((link, i) => {
    const copies = own.map(({ wan }) => Math.max(wan[i]?.copiesIn ?? Number.NaN, wan[i]?.copiesOut ?? Number.NaN));
    return atMost(
      `${scenario.name}: copies over ${link.interface}, busier way, worst run`,
      WAN_COPIES,
      Math.max(...copies),
    );
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
    const [first, ...others] = lab.hosts.map(placeOf);
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
    const lastSeconds = Math.max(...arrivals.map(({ durableSeconds }) => durableSeconds));
    const sample: FanOutSample = {
      scenario: scenario.name,
      peer,
      load1,
      boundSeconds: scenario.boundSeconds,
      lastSeconds,
      lastRatio: lastSeconds / scenario.boundSeconds,
      receivers: others.map(({ netns }, i) => ({ host: netns, ...arrivals[i] })),
      cpuSeconds: cpuAfter.map((s, i) => s - (cpuBefore[i] ?? 0)),
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

const placeOf = ({ netns, address, site }: LabHost): Place => ({ netns, address, port: PORT, site: `site-${site}` });

/** Bytes that a host's `eth0` or a site's `wan0` has carried, Ethernet headers included. */
type Reading = { interface: string; rxBytes: number; txBytes: number; drops: number };

/** Every host's link. Its shapers queue rather than drop, and do not say when they drop. */
function readHosts(lab: Lab): Promise<Reading[]> {
  return Promise.all(
    lab.hosts.map(async ({ netns }) => {
      const { rxBytes, txBytes } = await lab.counters(netns, "eth0");
      return { interface: `${netns}/eth0`, rxBytes, txBytes, drops: 0 };
    }),
  );
}

/** Every site's WAN link; none when there is one site only. */
async function readWans(lab: Lab): Promise<Reading[]> {
  if (lab.options.sites === 1) return [];
  return await Promise.all(
    Array.from({ length: lab.options.sites }, async (_, i) => {
      const { rxBytes, txBytes } = await lab.counters(gatewayOf(i + 1), "wan0");
      const { up, down } = await lab.wanCounters(i + 1);
      return { interface: `${gatewayOf(i + 1)}/wan0`, rxBytes, txBytes, drops: up.queueDrops + down.queueDrops };
    }),
  );
}

function traffic(after: Reading, before: Reading | undefined, sizeBytes: number): Traffic {
  const bytesIn = after.rxBytes - (before?.rxBytes ?? 0);
  const bytesOut = after.txBytes - (before?.txBytes ?? 0);
  return {
    interface: after.interface,
    bytesIn,
    bytesOut,
    copiesIn: bytesIn / sizeBytes,
    copiesOut: bytesOut / sizeBytes,
    drops: after.drops - (before?.drops ?? 0),
  };
}
