import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { ControlClient } from "#api";
import { atLeast, atMost, defineBench, median, numberFlag } from "./bench.ts";
import { compareCopies, cpuSeconds, type Fleet, type Place, startLocally } from "./fleet.ts";
import { startPortolan, until } from "./portolan.ts";
import { writeRandomFile } from "./workspace.ts";

const SITES = 4;
/** Below those that the kernel gives out by itself. */
const FIRST_PORT = 21_000;
/** What docs/spec/hello.md lets a node have. */
const MAX_DEGREE = 40;
const DISTRIBUTION_MS = 300_000;

const options = z.object({
  nodes: numberFlag(40, 2, 500, "daemons"),
  mib: numberFlag(8, 1, 1_024, "size of the artifact in MiB"),
});

export const fleet = defineBench({
  name: "fleet",
  claim:
    "40 real daemons on loopback, in four sites, are one connected mesh of bounded degree, and one 8 MiB artifact reaches all",
  options,
  missing: async () => (process.platform === "linux" ? undefined : "memory is read from /proc, which needs Linux"),
  run: async (context, { nodes, mib }) => {
    const { clock } = context;
    const directory = join(context.directory, "fleet");
    const file = join(context.directory, "source", "file.bin");
    await mkdir(dirname(file));
    const sha256 = await writeRandomFile(file, mib * 2 ** 20);
    const [first, ...others] = Array.from({ length: nodes }, (_, i) => placeOf(i));
    if (first === undefined) throw new RangeError("a fleet has a node");
    await using fleet = await startPortolan(
      { clock, startAt: startLocally(clock) },
      { places: [first, ...others], file, directory },
    );
    context.progress(`${nodes} daemons joined`);
    const clients = Array.from({ length: nodes }, (_, i) => new ControlClient(clock, join(directory, `node-${i}`)));
    const startMs = clock.nowMs();
    await until(clock, "the fleet to be in one piece", async () => piecesOf(await linksOf(clients)) === 1);
    const wholeSeconds = (clock.nowMs() - startMs) / 1_000;
    const cpuBefore = sum(await cpuSeconds(fleet));
    const arrivals = await fleet.distribute(DISTRIBUTION_MS);
    const distributionCpuSeconds = sum(await cpuSeconds(fleet)) - cpuBefore;
    const degrees = [...(await linksOf(clients)).values()].map((peers) => peers.length);
    const memory = await readMemory(fleet);
    await compareCopies(fleet, sha256);
    const times = arrivals.map((arrival) => arrival?.durableSeconds ?? Number.NaN);
    const lastSeconds = Math.max(...times);
    context.progress(`the last of ${arrivals.length} had it after ${lastSeconds.toFixed(1)} s`);
    const figures = {
      wholeSeconds,
      lastSeconds,
      medianSeconds: median(times),
      distributionCpuSeconds,
      meanDegree: sum(degrees) / nodes,
      minDegree: Math.min(...degrees),
      ...memory,
    };
    return {
      conditions: { nodes, sites: SITES, mib, path: "127.0.0.1" },
      setupSeconds: fleet.setupSeconds,
      samples: [{ ...figures, degrees }],
      bars: [
        atMost("pieces of the mesh", 1, piecesOf(await linksOf(clients))),
        atMost("most neighbours of a node", MAX_DEGREE, Math.max(...degrees)),
        atLeast("nodes that got the artifact", nodes - 1, arrivals.length),
      ],
    };
  },
});

const placeOf = (i: number): Place => ({
  address: "127.0.0.1",
  port: FIRST_PORT + i,
  site: `site-${(i % SITES) + 1}`,
});

/** Each node's neighbours, by name. */
async function linksOf(clients: readonly ControlClient[]): Promise<Map<string, string[]>> {
  const links = clients.map(async (client): Promise<[string, string[]]> => {
    const [{ name }, { items }] = await Promise.all([client.call("status", {}), client.call("links.list", {})]);
    return [name, items.map((link) => link.name)];
  });
  return new Map(await Promise.all(links));
}

/** Connected parts of the mesh; a link counts when both ends have it. */
function piecesOf(links: ReadonlyMap<string, readonly string[]>): number {
  const left = new Set(links.keys());
  let pieces = 0;
  for (const first of left) {
    pieces += 1;
    left.delete(first);
    const reached = [first];
    for (const name of reached) {
      for (const peer of links.get(name) ?? []) {
        if (links.get(peer)?.includes(name) === true && left.delete(peer)) reached.push(peer);
      }
    }
  }
  return pieces;
}

/** Resident memory of one daemon, and of all together with shared pages counted once. */
async function readMemory({ processes }: Fleet): Promise<Record<"rssMibMedian" | "rssMibMost" | "pssMibAll", number>> {
  const kib = await Promise.all(
    processes.map(async ({ pid }) => {
      const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
      const [rss, pss] = ["Rss", "Pss"].map((name) =>
        Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "mu").exec(text)?.[1]),
      );
      return { rss: rss ?? Number.NaN, pss: pss ?? Number.NaN };
    }),
  );
  const rss = kib.map((one) => one.rss / 1_024);
  return {
    rssMibMedian: median(rss),
    rssMibMost: Math.max(...rss),
    pssMibAll: sum(kib.map((one) => one.pss)) / 1_024,
  };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
