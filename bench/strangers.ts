import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { atLeast, atMost, type BenchContext, defineBench, median, numberFlag } from "./bench.ts";
import { compareCopies, type Place } from "./fleet.ts";
import { labNeeds, startLab } from "./lab/index.ts";
import { startPortolan } from "./portolan.ts";
import { writeRandomFile } from "./workspace.ts";

/** The stage's bar: members' speed while strangers storm the sender, over their speed in peace. */
const SPEED_RATIO = 0.9;
/** Generous: a daemon that serves takes about 200 MiB. */
const RSS_MIB = 400;
const HOST_BPS = 200e6;
const TRANSFER_MS = 300_000;
const PORT = 4001;
const STORM = join(import.meta.dirname, "storm.ts");

const options = z.object({
  mib: numberFlag(256, 1, 4_096, "size of the file in MiB"),
  connections: numberFlag(10_000, 1, 1_000_000, "connections of the storm"),
  runs: numberFlag(3, 1, 99, "runs in peace and in the storm, alternating"),
});

export const strangers = defineBench({
  name: "strangers",
  claim: `10,000 connections of strangers, half-open joins, slow hellos and floods of probes leave members ≥ ${SPEED_RATIO} of their speed`,
  options,
  missing: labNeeds,
  run: async (context, { mib, connections, runs }) => {
    const file = join(context.directory, "source", "file.bin");
    await mkdir(join(context.directory, "source"));
    const sha256 = await writeRandomFile(file, mib * 2 ** 20);
    const samples: Transfer[] = [];
    for (let run = 1; run <= runs; run++) {
      for (const storm of [false, true]) {
        const sample = await transferOnce(context, { file, sha256, mib, connections: storm ? connections : 0 });
        samples.push(sample);
        context.progress(`${storm ? "storm" : "peace"} ${run}: ${sample.mibPerSecond.toFixed(1)} MiB/s`);
      }
    }
    const speed = (storm: boolean): number =>
      median(samples.filter((s) => s.storm === storm).map((s) => s.mibPerSecond));
    return {
      conditions: { mib, connections, runs, hostBps: HOST_BPS },
      setupSeconds: {},
      samples,
      bars: [
        atLeast("members' speed in the storm ÷ in peace, medians", SPEED_RATIO, speed(true) / speed(false)),
        atMost(
          "resident memory of the node in the storm, MiB, worst",
          RSS_MIB,
          Math.max(...samples.map((s) => s.rssMib)),
        ),
      ],
    };
  },
});

type Transfer = { storm: boolean; mibPerSecond: number; rssMib: number; strangers: string };
type Order = { file: string; sha256: string; mib: number; connections: number };

async function transferOnce(context: BenchContext, { file, sha256, mib, connections }: Order): Promise<Transfer> {
  const { clock } = context;
  const directory = join(context.directory, "fleet");
  try {
    await using lab = await startLab(clock, { hostsPerSite: 3, hostUpBps: HOST_BPS, hostDownBps: HOST_BPS });
    const [seed, member] = lab.hosts.map(
      ({ netns, address }): Place => ({ netns, address, port: PORT, site: "site-1" }),
    );
    if (seed === undefined || member === undefined) throw new RangeError("the lab has no hosts");
    await using fleet = await startPortolan(
      { clock, startAt: ({ netns = "" }, argv, extra) => lab.start(netns, argv, extra) },
      { places: [seed, member], file, directory },
    );
    const seconds = Math.ceil((mib * 2 ** 23) / HOST_BPS);
    const address = `/ip4/${seed.address}/tcp/${PORT}/tls`;
    const argv = [process.execPath, STORM, address, String(connections), String(seconds)];
    const storm = connections === 0 ? undefined : lab.start("h1-3", argv);
    const [arrival] = await fleet.distribute(TRANSFER_MS);
    const status = await readFile(`/proc/${fleet.processes[0]?.pid}/status`, "utf8");
    await compareCopies(fleet, sha256);
    const said = storm === undefined ? "none" : await storm.line("the storm's end", TRANSFER_MS, () => true);
    return {
      storm: storm !== undefined,
      mibPerSecond: mib / (arrival?.verifiedSeconds ?? Number.NaN),
      rssMib: Number(/^VmHWM:\s+(\d+) kB$/mu.exec(status)?.[1]) / 1024,
      strangers: said,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
