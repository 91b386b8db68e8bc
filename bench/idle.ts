import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { ControlClient } from "#api";
import { type Clock, Fault, withDeadline } from "#core";
import { atLeast, atMost, defineBench, median, numberFlag, type Sample } from "./bench.ts";
import type { Place } from "./fleet.ts";
import { type Child, type Lab, labNeeds, startLab } from "./lab/index.ts";
import { startPortolan } from "./portolan.ts";

/** The stage's bars for one daemon with ten neighbours that has nothing to do. */
const NEIGHBOURS = 10;
const RSS_MIB = 150;
const START_SECONDS = 1.5;
const WIRE_KBITS = 20;
const WRITES_MIB_PER_HOUR = 5;

const PORT = 4001;
/** A start that takes this long is a hang. */
const READY_MS = 30_000;
const POLL_MS = 10;

const options = z.object({
  seconds: numberFlag(180, 10, 86_400, "length of the idle spell"),
  settle: numberFlag(60, 0, 3_600, "seconds that the daemon gets to come to rest first"),
  starts: numberFlag(3, 1, 20, "starts of which the median counts"),
});

export const idle = defineBench({
  name: "idle",
  claim: `one daemon with ${NEIGHBOURS} neighbours at rest: ≤ ${RSS_MIB} MiB, ready in ≤ ${START_SECONDS} s, ≤ ${WIRE_KBITS} kbit/s, ≤ ${WRITES_MIB_PER_HOUR} MiB written an hour`,
  options,
  missing: labNeeds,
  run: async (context, { seconds, settle, starts }) => {
    const { clock } = context;
    await using lab = await startLab(clock, { sites: 1, hostsPerSite: NEIGHBOURS + 1 });
    const places = lab.hosts.map(({ netns, address }): Place => ({ netns, address, port: PORT, site: "site-1" }));
    const [first, measured = { address: "", port: 0, site: "" }, ...others] = places;
    if (first === undefined) throw new RangeError("the lab has no hosts");
    const directory = join(context.directory, "fleet");
    const file = join(context.directory, "source", "file.bin");
    await mkdir(dirname(file));
    await writeFile(file, "an artifact that nobody fetches");
    await using fleet = await startPortolan(
      { clock, startAt: ({ netns = "" }, argv, extra) => lab.start(netns, argv, extra) },
      { places: [first, measured, ...others], file, directory },
    );
    // once more as an appliance starts it: with what it knows, and with mDNS
    const argv = fleet.processes[1]?.argv.filter((flag) => flag !== "--no-mdns") ?? [];
    await fleet.processes[1]?.stop();
    const client = new ControlClient(clock, join(directory, "node-1"));
    const readySeconds: number[] = [];
    for (let run = 1; run < starts; run++) {
      await using once = lab.start(measured.netns ?? "", argv);
      readySeconds.push(await untilReady(clock, client, once));
    }
    await using daemon = lab.start(measured.netns ?? "", argv);
    readySeconds.push(await untilReady(clock, client, daemon));
    context.progress(`ready after ${readySeconds.map((s) => s.toFixed(2)).join(", ")} s; settling`);
    await clock.sleep(settle * 1_000);
    const { links } = await client.call("status", {});
    context.progress(`${links} neighbours; measuring for ${seconds} s`);
    const before = await readUse(lab, measured, daemon);
    await clock.sleep(seconds * 1_000);
    const use = spent(before, await readUse(lab, measured, daemon), seconds);
    return {
      conditions: { neighbours: links, seconds, settle, wire: "bits of Ethernet frames, both ways", readySeconds },
      setupSeconds: fleet.setupSeconds,
      samples: [use],
      bars: [
        atLeast("neighbours", NEIGHBOURS, links),
        atMost("resident memory, MiB", RSS_MIB, use.rssMib),
        atMost("start to ready, seconds, median", START_SECONDS, median(readySeconds)),
        atMost("on the wire, both ways, kbit/s", WIRE_KBITS, use.wireKbits),
        atMost("written, MiB an hour", WRITES_MIB_PER_HOUR, use.writtenMibPerHour),
      ],
    };
  },
});

/** Seconds from now, when the process was just started, until its control API answers. Throws Fault `bench.daemon-ended`. */
async function untilReady(clock: Clock, client: ControlClient, daemon: Child): Promise<number> {
  const startMs = clock.nowMs();
  const died = daemon.ended.then((how) => {
    throw new Fault("bench.daemon-ended", `${how}\n${daemon.stderr}`);
  });
  await withDeadline(clock, READY_MS, "the daemon to be ready", async (signal) => {
    const answered = async (): Promise<boolean> => {
      try {
        return !(await client.call("status", {})).offline;
      } catch (error) {
        if (error instanceof Fault && error.exit === "offline") return false;
        throw error;
      }
    };
    while (!(await Promise.race([answered(), died]))) await clock.sleep(POLL_MS, signal);
  });
  return (clock.nowMs() - startMs) / 1_000;
}

/** Totals since the process or the device began. */
type Use = { rssBytes: number; wireBytes: number; wirePackets: number; writtenBytes: number; cpuSeconds: number };

async function readUse(lab: Lab, place: Place, daemon: Child): Promise<Use> {
  const [status, io, wire, cpuSeconds] = await Promise.all([
    readFile(`/proc/${daemon.pid}/status`, "utf8"),
    readFile(`/proc/${daemon.pid}/io`, "utf8"),
    lab.counters(place.netns ?? "", "eth0"),
    daemon.cpuSeconds(),
  ]);
  return {
    rssBytes: Number(/^VmRSS:\s+(\d+) kB$/mu.exec(status)?.[1]) * 1024,
    wireBytes: wire.rxBytes + wire.txBytes,
    wirePackets: wire.rxPackets + wire.txPackets,
    writtenBytes: Number(/^write_bytes: (\d+)$/mu.exec(io)?.[1]),
    cpuSeconds,
  };
}

type Rest = Sample & Record<"rssMib" | "wireKbits" | "packetsPerSecond" | "writtenMibPerHour" | "cpuPercent", number>;

function spent(before: Use, after: Use, seconds: number): Rest {
  return {
    rssMib: after.rssBytes / 2 ** 20,
    wireKbits: ((after.wireBytes - before.wireBytes) * 8) / 1_000 / seconds,
    packetsPerSecond: (after.wirePackets - before.wirePackets) / seconds,
    writtenMibPerHour: ((after.writtenBytes - before.writtenBytes) / 2 ** 20 / seconds) * 3_600,
    cpuPercent: ((after.cpuSeconds - before.cpuSeconds) / seconds) * 100,
  };
}
