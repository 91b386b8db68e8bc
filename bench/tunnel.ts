import { z } from "zod";
import { atLeast, atMost, type Bar, type BenchContext, defineBench, median, numberFlag, type Sample } from "./bench.ts";
import { Child, type LabHost, labNeeds, onPath, startLab } from "./lab/index.ts";
import { CLIENTS, ECHO_ROUNDS, FLOWS, measure, rate } from "./tunnel-load.ts";
import {
  firstAnswerMs,
  type Machine,
  type Machines,
  oneFlow,
  StunnelChain,
  startPortolan,
  startTarget,
} from "./tunnel-paths.ts";
import type { Ports } from "./tunnel-part.ts";
import { VPNS } from "./tunnel-vpns.ts";

const GATEWAYS = [1, 3];
/** One way over each of the two access links: 100 ms there and back. */
const WAN_DELAY_MS = 25;
const WAN_MIB = 128;
/** Of stunnel's ports; below those that the system hands out. */
const FIRST_PORT = 21_000;
const PORTS_OF_CHAIN = 20;

/** A service of another node through a tunnel, beside stunnel processes between the same two programs in the same run. */
export const tunnel = defineBench({
  name: "tunnel",
  claim:
    "A tunnel to a service carries 0.8 × what a stunnel pair does, half of a chain through gateways, and takes 2,000 new connections a second.",
  options: z.object({
    mib: numberFlag(512, 16, 65_536, "MiB per throughput sample"),
    seconds: numberFlag(3, 1, 60, "how long new connections are made, per sample"),
    samples: numberFlag(3, 1, 99, "samples of each kind"),
    gateways: z.boolean().default(true).describe("also through one and three gateways"),
    wan: z.boolean().default(true).describe("also at a round trip of 100 ms, with root"),
    beside: z.boolean().default(true).describe("also between two hosts of the lab, beside Nebula and WireGuard"),
  }),
  missing: async () => {
    for (const program of ["stunnel4", "openssl", "setpriv"]) {
      if (!(await onPath(program)))
        return `${program} is not installed (Debian: apt-get install stunnel4 openssl util-linux)`;
    }
    return undefined;
  },
  run: async (context, { mib, seconds, samples, gateways, wan, beside }) => {
    const work: Work = { samples, bytes: mib * 2 ** 20, seconds };
    const runs = [await runLoopback(context, work, gateways ? GATEWAYS : [])];
    const cause = wan || beside ? await labNeeds() : undefined;
    if (cause !== undefined) context.progress(`skipped what needs the lab: ${cause}`);
    else {
      if (wan) runs.push(await runWan(context, samples));
      if (beside) runs.push(await runBeside(context, work));
    }
    return {
      conditions: { mib, seconds, clients: CLIENTS, flows: FLOWS, echoRounds: ECHO_ROUNDS, wanMib: WAN_MIB },
      setupSeconds: {},
      samples: runs.flatMap((run) => run.samples),
      bars: runs.flatMap((run) => run.bars),
    };
  },
});

type Work = { samples: number; bytes: number; seconds: number };
type Run = { samples: Sample[]; bars: Bar[] };

/** All on this machine: directly, through two nodes and two stunnel processes, and through as many gateways of either. */
async function runLoopback({ clock, directory, progress }: BenchContext, work: Work, gateways: number[]): Promise<Run> {
  await using parts = new AsyncDisposableStack();
  const here: Machine = {
    ip: "127.0.0.1",
    start: (argv, env = {}) => parts.use(new Child(clock, argv, { env })),
  };
  const machines = (count: number): Machines => ({
    far: here,
    gateways: Array.from({ length: count }, () => here),
    near: here,
  });
  const stunnel = new StunnelChain(clock, directory);
  const direct = await startTarget(here);
  const chains = new Map<string, Ports>([["direct", direct]]);
  for (const [index, count] of [0, ...gateways].entries()) {
    chains.set(kindOf("portolan", count), await startPortolan(machines(count), direct));
    const firstPort = FIRST_PORT + index * PORTS_OF_CHAIN;
    chains.set(kindOf("stunnel", count), await stunnel.start(machines(count), direct, firstPort));
  }
  const samples: Sample[] = [];
  for (let round = -1; round < work.samples; round++) {
    for (const [kind, ports] of chains) {
      progress(round < 0 ? `not counted: ${kind}` : `round ${round + 1} of ${work.samples}: ${kind}`);
      const figures = kind.includes("gateway")
        ? { oneFlowMbPerSecond: await rate(clock, ports.sink, 1, work.bytes / 2) }
        : await measure(clock, ports, work);
      if (round >= 0) samples.push({ kind, round, ...figures });
    }
  }
  return { samples, bars: loopbackBars(samples, gateways) };
}

const kindOf = (what: string, gateways: number): string => (gateways === 0 ? what : `${what}, gateways: ${gateways}`);

function loopbackBars(samples: readonly Sample[], gateways: readonly number[]): Bar[] {
  const of = (kind: string, key: string): number => medianOf(samples, kind, key);
  const added = (key: string): number => of("portolan", key) - of("direct", key);
  const ratio = (count: number): number =>
    of(kindOf("portolan", count), "oneFlowMbPerSecond") / of(kindOf("stunnel", count), "oneFlowMbPerSecond");
  return [
    atLeast("one flow ÷ stunnel's", 0.8, ratio(0)),
    atLeast("8 flows ÷ one flow", 1, of("portolan", "manyFlowsMbPerSecond") / of("portolan", "oneFlowMbPerSecond")),
    atLeast("new connections a second, 16 clients", 2_000, of("portolan", "connectionsPerSecond")),
    atMost("added latency p50, ms", 0.15, added("echoP50Ms")),
    atMost("added latency p99, ms", 1, added("echoP99Ms")),
    ...gateways.map((count) => atLeast(`one flow ÷ stunnel's, gateways: ${count}`, 0.5, ratio(count))),
  ];
}

/** Two sites, 50 ms apart; the service in one, its user in the other, and where there is a gateway, it is in the user's. */
async function runWan({ clock, directory, progress }: BenchContext, samples: number): Promise<Run> {
  const wan = { rateBps: 0, delayMs: WAN_DELAY_MS, jitterMs: 0, queueBytes: 64 * 2 ** 20, lossRatio: 0 };
  await using lab = await startLab(clock, { sites: 2, hostsPerSite: 2, wan });
  const [near, gateway, far] = lab.hosts.map(
    ({ netns, address }): Machine => ({ ip: address, start: (argv, env = {}) => lab.start(netns, argv, { env }) }),
  );
  if (near === undefined || gateway === undefined || far === undefined) return { samples: [], bars: [] };
  const direct = await startTarget(far);
  const machines = (gateways: readonly Machine[]): Machines => ({ far, gateways, near });
  const stunnel = new StunnelChain(clock, directory);
  const paths: [string, string, Ports][] = [
    ["direct, 100 ms", far.ip, direct],
    ["portolan, 100 ms", near.ip, await startPortolan(machines([]), direct)],
    ["stunnel, 100 ms", near.ip, await stunnel.start(machines([]), direct, FIRST_PORT)],
    ["portolan, 100 ms, gateways: 1", near.ip, await startPortolan(machines([gateway]), direct)],
    [
      "stunnel, 100 ms, gateways: 1",
      near.ip,
      await stunnel.start(machines([gateway]), direct, FIRST_PORT + PORTS_OF_CHAIN),
    ],
  ];
  const results: Sample[] = [];
  for (const [kind, ip, ports] of paths) results.push({ kind, firstMs: await firstAnswerMs(near, ip, ports) });
  for (let round = 0; round < samples; round++) {
    for (const [kind, ip, ports] of paths) {
      progress(`round ${round + 1} of ${samples}: ${kind}`);
      results.push({ kind, round, oneFlowMbPerSecond: await oneFlow(near, ip, ports, WAN_MIB * 2 ** 20) });
    }
  }
  const bars = ["", ", gateways: 1"].map((over) => {
    const mbitPerSecond = 8 * medianOf(results, `portolan, 100 ms${over}`, "oneFlowMbPerSecond");
    return atLeast(`one flow at 100 ms round trip${over}, Mbit/s`, 200, mbitPerSecond);
  });
  return { samples: results, bars };
}

/** Two hosts of one site: the tunnel, stunnel, and networks that carry all of IP. Figures only. */
async function runBeside({ clock, directory, progress }: BenchContext, { samples, bytes }: Work): Promise<Run> {
  await using lab = await startLab(clock);
  const [near, far] = lab.hosts;
  if (near === undefined || far === undefined) return { samples: [], bars: [] };
  const machine = ({ netns, address }: LabHost, ip = address): Machine => ({
    ip,
    start: (argv, env = {}) => lab.start(netns, argv, { env }),
  });
  const machines: Machines = { near: machine(near), gateways: [], far: machine(far) };
  const target = await startTarget(machines.far);
  const stunnel = new StunnelChain(clock, directory);
  const paths: [string, string, Ports][] = [
    ["direct, lab", far.address, target],
    ["portolan, lab", near.address, await startPortolan(machines, target)],
    ["stunnel, lab", near.address, await stunnel.start(machines, target, FIRST_PORT)],
  ];
  for (const vpn of VPNS) {
    const pair = { clock, lab, near, far, directory };
    const missing = await vpn.missing(pair);
    if (missing !== undefined) progress(`skipped ${vpn.name}: ${missing}`);
    else {
      const inside = await vpn.start(pair);
      paths.push([`${vpn.name}, lab`, inside, await startTarget(machine(far, inside))]);
    }
  }
  const results: Sample[] = [];
  for (let round = -1; round < samples; round++) {
    for (const [kind, ip, ports] of paths) {
      const oneFlowMbPerSecond = await oneFlow(machines.near, ip, ports, bytes);
      if (round >= 0) results.push({ kind, round, oneFlowMbPerSecond }); // the first one is not counted
    }
  }
  return { samples: results, bars: [] };
}

function medianOf(samples: readonly Sample[], kind: string, key: string): number {
  const of = samples.filter((sample) => sample["kind"] === kind && sample[key] !== undefined);
  return median(of.map((sample) => Number(sample[key])));
}
