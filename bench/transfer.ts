import { mkdir, rm } from "node:fs/promises";
import { loadavg } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { atLeast, type Bar, type BenchContext, defineBench, median, numberFlag, type Sample } from "./bench.ts";
import { run } from "./lab/index.ts";
import { compareCopies, cpuSeconds, type Place, type StartFleet, startLocally } from "./fleet.ts";
import { libtorrentMissing, startLibtorrent } from "./libtorrent.ts";
import { startPortolan } from "./portolan.ts";
import { writeRandomFile } from "./workspace.ts";

/** The stage's bar: median speed over libtorrent's median speed. */
const SPEED_RATIO = 1.2;
/** A transfer that takes this long is a hang: 1 GiB at 2 MiB/s. */
const TRANSFER_MS = 600_000;
const SYNC_MS = 120_000;

const options = z.object({
  mib: numberFlag(1024, 1, 65_536, "size of the file in MiB"),
  runs: numberFlag(3, 1, 99, "measured runs of each peer, alternating"),
  peers: z.boolean().default(true).describe("also run libtorrent, which the bar compares with"),
});

export const transfer = defineBench({
  name: "transfer",
  claim: `one file from one daemon to another on loopback, encrypted, hashed, to disk: ≥ ${SPEED_RATIO} × libtorrent`,
  options,
  missing: async () => (process.platform === "linux" ? undefined : "CPU time is read from /proc, which needs Linux"),
  run: async (context, { mib, runs, peers }) => {
    const noPeer = peers ? await libtorrentMissing(context.clock) : "switched off";
    if (noPeer !== undefined) context.progress(`without libtorrent, so without a bar: ${noPeer}`);
    const source = join(context.directory, "source");
    await mkdir(source);
    const file = join(source, "file.bin");
    const sha256 = await writeRandomFile(file, mib * 2 ** 20);
    const kinds: [string, StartFleet][] = [["portolan", startPortolan]];
    if (noPeer === undefined) kinds.push(["libtorrent", startLibtorrent]);
    const samples: TransferSample[] = [];
    const setupSeconds: Record<string, number> = {};
    // Run 0 is not counted: a virtual machine pays for the memory of the page cache when it is first touched.
    for (let i = 0; i <= runs; i++) {
      for (const [peer, start] of kinds) {
        const { setup, figures } = await measure(context, start, { file, sha256, mib });
        context.progress(`${peer} ${i}: ${figures.mibPerSecond.toFixed(0)} MiB/s`);
        if (i === 0) continue;
        samples.push({ peer, run: i, ...figures });
        for (const [step, seconds] of Object.entries(setup)) setupSeconds[`${peer} ${i} ${step}`] = seconds;
      }
    }
    const medians = kinds.map(([peer]) => mediansOf(peer, samples));
    return {
      conditions: { fileMib: mib, sha256, path: "127.0.0.1", directory: context.directory, runs, medians },
      setupSeconds,
      samples,
      bars: barsOf(medians),
    };
  },
});

/** Speeds are until the file is on the disk; `load1` is the machine's load average just before. */
type Figures = {
  load1: number;
  verifiedSeconds: number;
  durableSeconds: number;
  mibPerSecond: number;
  mibPerSecondUnsynced: number;
  sendCpuSeconds: number;
  receiveCpuSeconds: number;
  cpuSecondsPerGib: number;
};
type TransferSample = Sample & Figures & { peer: string };
type Medians = { peer: string; mibPerSecond: number; mibPerSecondUnsynced: number; cpuSecondsPerGib: number };

function mediansOf(peer: string, samples: readonly TransferSample[]): Medians {
  const own = samples.filter((sample) => sample.peer === peer);
  return {
    peer,
    mibPerSecond: median(own.map((sample) => sample.mibPerSecond)),
    mibPerSecondUnsynced: median(own.map((sample) => sample.mibPerSecondUnsynced)),
    cpuSecondsPerGib: median(own.map((sample) => sample.cpuSecondsPerGib)),
  };
}

function barsOf([own, other]: readonly Medians[]): Bar[] {
  if (own === undefined || other === undefined) return [];
  const ratio = own.mibPerSecond / other.mibPerSecond;
  return [atLeast(`median speed to disk ÷ ${other.peer}'s`, SPEED_RATIO, ratio)];
}

const PLACES: readonly [Place, Place] = [
  { address: "127.0.0.1", port: 46_881, site: "site-1" },
  { address: "127.0.0.1", port: 46_882, site: "site-1" },
];

type Measured = { setup: Readonly<Record<string, number>>; figures: Figures };
type Subject = { file: string; sha256: string; mib: number };

async function measure(context: BenchContext, start: StartFleet, { file, sha256, mib }: Subject): Promise<Measured> {
  const { clock } = context;
  const directory = join(context.directory, "fleet");
  try {
    await using fleet = await start({ clock, startAt: startLocally(clock) }, { places: PLACES, file, directory });
    await run(clock, SYNC_MS, ["sync"]); // what earlier steps left to write is not this run's
    const [load1 = Number.NaN] = loadavg();
    const before = await cpuSeconds(fleet);
    const [arrival] = await fleet.distribute(TRANSFER_MS);
    const after = await cpuSeconds(fleet);
    await compareCopies(fleet, sha256);
    const [sendCpuSeconds = Number.NaN, receiveCpuSeconds = Number.NaN] = after.map((s, i) => s - (before[i] ?? 0));
    const { verifiedSeconds = Number.NaN, durableSeconds = Number.NaN } = arrival ?? {};
    const figures = {
      load1,
      verifiedSeconds,
      durableSeconds,
      mibPerSecond: mib / durableSeconds,
      mibPerSecondUnsynced: mib / verifiedSeconds,
      sendCpuSeconds,
      receiveCpuSeconds,
      cpuSecondsPerGib: ((sendCpuSeconds + receiveCpuSeconds) * 1024) / mib,
    };
    return { setup: fleet.setupSeconds, figures };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
