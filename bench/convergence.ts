import { join } from "node:path";
import { z } from "zod";
import { type Clock, Fault } from "#core";
import {
  atMost,
  type Bar,
  type BenchContext,
  defineBench,
  median,
  numberFlag,
  percentile,
  type Sample,
} from "./bench.ts";
import { Daemons } from "./daemons.ts";
import type { Place } from "./fleet.ts";
import type { FlowReport } from "./flow-part.ts";
import {
  babel,
  frr,
  kernelPath,
  type KernelRouting,
  loopbackOf,
  routeInKernel,
  untilRouted,
} from "./kernel-routing.ts";
import { type Child, Graph, type GraphLink, labNeeds, type LinkFault } from "./lab/index.ts";

/** So long after a fault it is looked how long the flow stood; a connection that hears nothing is not dead by then. */
const WATCH_MS = 3_000;
/** What is not over by then is shown as the time until then. */
const REPORT_MS = 10_000;
/** A circuit is to be opened, or routes to be found, before the first message comes. */
const FIRST_MS = 60_000;
const PORT = 4001;
const FLOW = join(import.meta.dirname, "flow-part.ts");
const SERVICE = "flow";

type Topology = {
  name: string;
  nodes: readonly string[];
  links: (delayMs: number) => GraphLink[];
  siteOf: (node: string) => string;
  reader: string;
  host: string;
};

const RING = ["n1", "n2", "n3", "n4", "n5", "n6"] as const;
/** Six sites of a node each, and a flow between opposite ones: two ways of three links. */
const ring: Topology = {
  name: "ring",
  nodes: RING,
  links: (delayMs) => RING.map((a, i) => ({ a, b: RING[(i + 1) % RING.length] as string, delayMs })),
  siteOf: (node) => `site-${node}`,
  reader: "n1",
  host: "n4",
};
/** Three sites of a gateway and a node behind it, 0.2 ms away; the gateways are joined to each other. */
const mesh: Topology = {
  name: "mesh",
  nodes: ["a1", "a2", "b1", "b2", "c1", "c2"],
  links: (delayMs) => [
    ...["a", "b", "c"].map((site) => ({ a: `${site}1`, b: `${site}2`, delayMs: 0.1 })),
    { a: "a1", b: "b1", delayMs },
    { a: "b1", b: "c1", delayMs },
    { a: "c1", b: "a1", delayMs },
  ],
  siteOf: (node) => `site-${node[0]}`,
  reader: "a2",
  host: "b2",
};

/** Something that carries the flow over a graph. */
type Carrier = {
  name: string;
  /** How it is told that a link is gone, where the fault says so. */
  clean: LinkFault;
  /** The nodes on the way that the flow takes, its two ends among them. */
  path: () => Promise<string[]>;
  /** Resolves when all links are in use again. */
  settled: () => Promise<void>;
  /** The process that reads the flow. */
  reader: Child;
  /** When it began to look for another way after a time, and how long that took. */
  moveSince?: (sinceMs: number) => { soughtMs: number; tookMs: number } | undefined;
};

const options = z.object({
  rounds: numberFlag(4, 1, 1_000, "faults of each kind and topology"),
  delay: numberFlag(25, 1, 500, "milliseconds that a link takes one way"),
  topology: z.enum(["both", "ring", "mesh"]).default("both").describe("where"),
  beside: z.boolean().default(false).describe("FRR (OSPF, BFD) and babeld over the same links, too, where installed"),
});

export const convergence = defineBench({
  name: "convergence",
  claim:
    "A flow over three links goes another way a round trip after one is reset, and within 0.9 s of one that falls silent.",
  options,
  missing: labNeeds,
  run: async (context, { rounds, delay, topology, beside }) => {
    const chosen = [ring, mesh].filter(({ name }) => topology === "both" || topology === name);
    const { clock, progress } = context;
    const startMs = clock.nowMs();
    const samples: Sample[] = [];
    for (const where of chosen) {
      const carriers = [portolanOver, ...(beside ? await installed(progress) : [])];
      for (const start of carriers) {
        await using stack = new AsyncDisposableStack();
        const graph = stack.use(await Graph.make(clock, where.nodes, where.links(delay)));
        const carrier = await start(context, stack, graph, where);
        progress(`${where.name}: ${carrier.name} carries the flow over ${(await carrier.path()).join(" ")}`);
        for (let round = 0; round < rounds; round++) {
          for (const fault of [carrier.clean, "silent"] as const)
            samples.push(await breakOnce(clock, graph, where, carrier, { fault, round }));
          progress(
            samples
              .slice(-2)
              .map((sample) => JSON.stringify(sample))
              .join("\n"),
          );
        }
      }
    }
    return {
      conditions: { rounds, delayMs: delay, linkRttMs: 2 * delay, ...summaries(samples) },
      setupSeconds: { all: (clock.nowMs() - startMs) / 1_000 },
      samples,
      bars: chosen.flatMap(({ name }) => barsOf(samples, name)),
    };
  },
});

type StartCarrier = (
  context: BenchContext,
  stack: AsyncDisposableStack,
  graph: Graph,
  where: Topology,
) => Promise<Carrier>;

/** Real daemons, which joined over a network that is gone then: each has links to its neighbours only. */
const portolanOver: StartCarrier = async ({ clock, directory }, stack, graph, where) => {
  const places = Object.fromEntries(
    where.nodes.map((node): [string, Place] => [
      node,
      { netns: node, address: "0.0.0.0", port: PORT, site: where.siteOf(node) },
    ]),
  );
  const startAt = ({ netns = "" }: Place, argv: readonly string[]): Child => graph.start(netns, argv);
  const daemons = stack.use(new Daemons({ clock, startAt }, join(directory, where.name), places));
  await graph.meet();
  await daemons.fleet();
  await daemons.untilLinked(Object.fromEntries(where.nodes.map((node) => [node, where.nodes.length - 1])));
  for (const node of where.nodes) await daemons.stop(node);
  await graph.part();
  for (const node of where.nodes) await daemons.up(node);
  const degrees = Object.fromEntries(where.nodes.map((node) => [node, graph.devicesOf(node).length]));
  const settled = (): Promise<void> => daemons.untilLinked(degrees);
  await settled();
  const server = graph.start(where.host, [process.execPath, FLOW, "serve-tcp"]);
  const served = await server.line("the flow's port", REPORT_MS, (line) => line.startsWith("port "));
  await daemons.cli(where.host, "service", "publish", SERVICE, "--to", `127.0.0.1:${served.slice("port ".length)}`);
  const stop = new AbortController();
  stack.defer(() => stop.abort());
  const port = await daemons.connect(where.reader, SERVICE, stop.signal);
  const reader = await startReader(graph, where.reader, ["read-tcp", String(port)]);
  return {
    name: "portolan",
    clean: "reset",
    path: async () => [where.reader, ...(await daemons.gateways(where.reader)), where.host],
    settled,
    reader,
    moveSince: (sinceMs) => moveSince(daemons.node(where.reader).process.stderr, sinceMs),
  };
};

/** Kernels that forward, and routing daemons that tell them where to. */
const kernelOver =
  (routing: KernelRouting): StartCarrier =>
  async ({ clock, directory }, _stack, graph, where) => {
    await routeInKernel(clock, graph, routing, join(directory, where.name));
    const to = [loopbackOf(graph, where.reader), String(PORT)];
    graph.start(where.host, [process.execPath, FLOW, "send-udp", ...to]);
    const reader = await startReader(graph, where.reader, ["read-udp", String(PORT)]);
    return {
      name: routing.name,
      clean: "down",
      path: () => kernelPath(graph, where.host, where.reader),
      settled: () => untilRouted(clock, graph),
      reader,
    };
  };

async function installed(progress: (line: string) => void): Promise<StartCarrier[]> {
  const starts: StartCarrier[] = [];
  for (const routing of [frr, babel(0.5), babel(4)]) {
    const cause = await routing.missing();
    if (cause === undefined) starts.push(kernelOver(routing));
    else progress(`without ${routing.name}: ${cause}`);
  }
  return starts;
}

async function startReader(graph: Graph, node: string, words: readonly string[]): Promise<Child> {
  const reader = graph.start(node, [process.execPath, FLOW, ...words]);
  await reader.line("the first messages", FIRST_MS, (line) => line === "ready");
  return reader;
}

async function takeReport(reader: Child): Promise<FlowReport> {
  const line = reader.line("what came", REPORT_MS, (text) => text.startsWith("{"));
  reader.send("report");
  return JSON.parse(await line) as FlowReport;
}

/** What the log of the circuit's source says of its last move, if that ended after a time. Times are Unix milliseconds. */
function moveSince(log: string, sinceMs: number): { soughtMs: number; tookMs: number } | undefined {
  const moves = [...log.matchAll(/^(\S+) info +circuit goes on .*tookMs=(\d+)/gmu)].map(([, time = "", took]) => ({
    soughtMs: Date.parse(time) - Number(took),
    tookMs: Number(took),
  }));
  return moves.find(({ soughtMs, tookMs }) => soughtMs + tookMs >= sinceMs);
}

type Round = { fault: LinkFault; round: number };

/** Breaks a link that the flow goes over, another one each time, and says how long the flow stood. */
async function breakOnce(
  clock: Clock,
  graph: Graph,
  where: Topology,
  carrier: Carrier,
  { fault, round }: Round,
): Promise<Sample> {
  const before = await carrier.path();
  const spans = spansOf(before).filter(([a, b]) => where.siteOf(a) !== where.siteOf(b));
  const [from, to] = spans[round % spans.length] as [string, string];
  await takeReport(carrier.reader);
  const brokenMs = clock.wallMs();
  await graph.break(from, to, fault);
  const tookMs = clock.wallMs() - brokenMs;
  await clock.sleep(WATCH_MS);
  let report = await takeReport(carrier.reader);
  const { missing, usualMs } = report;
  let [gapMs, gapFromMs] = [report.gapMs, report.gapFromMs];
  // still nothing: the pause goes on from where it was
  for (let waits = 0; report.messages === 0 || endOf(report) >= clock.wallMs() - 100; waits++) {
    if (waits > 60) throw new Fault("bench.no-way", `${carrier.name} found no other way than ${before.join(" ")}`);
    await clock.sleep(1_000);
    report = await takeReport(carrier.reader);
    if (report.gapMs > gapMs) [gapMs, gapFromMs] = [report.gapMs, report.gapFromMs];
  }
  const after = await carrier.path().catch(() => []);
  const move = carrier.moveSince?.(brokenMs);
  await graph.mend(from, to, fault);
  await carrier.settled();
  return {
    topology: where.name,
    carrier: carrier.name,
    fault,
    link: `${from}-${to}`,
    outageMs: Math.round(gapMs - usualMs),
    pathRttMs: Math.round(roundTripMs(graph, after)),
    missing,
    ...(move === undefined ? {} : termsOf(move, { brokenMs, gapEndMs: gapFromMs + gapMs })),
    breakTookMs: tookMs,
    before: before.join(" "),
    after: after.join(" "),
  };
}

const endOf = ({ gapFromMs, gapMs }: FlowReport): number => gapFromMs + gapMs;

/** What the outage is made of: until the source knew, until the target had answered over another way, until the flow went on. */
function termsOf(
  { soughtMs, tookMs }: { soughtMs: number; tookMs: number },
  { brokenMs, gapEndMs }: { brokenMs: number; gapEndMs: number },
): Sample {
  return {
    knownAfterMs: Math.round(soughtMs - brokenMs),
    switchMs: tookMs,
    flowsAfterMs: Math.round(gapEndMs - soughtMs - tookMs),
  };
}

const spansOf = (path: readonly string[]): [string, string][] => path.slice(1).map((to, i) => [path[i] as string, to]);

const roundTripMs = (graph: Graph, path: readonly string[]): number =>
  spansOf(path).reduce((sum, [a, b]) => sum + 2 * graph.delayMs(a, b), 0);

/** Of each carrier, topology and fault: how long the flow stood. */
function summaries(samples: readonly Sample[]): Record<string, unknown> {
  const groups = Map.groupBy(samples, (sample) => `${sample["topology"]} ${sample["carrier"]} ${sample["fault"]}`);
  return Object.fromEntries(
    [...groups].map(([name, group]) => {
      const outages = group.map(({ outageMs }) => Number(outageMs));
      const figures = [median(outages), percentile(outages, 0.95), Math.max(...outages)].map(Math.round);
      return [`outage, ms: ${name}`, `p50 ${figures[0]}, p95 ${figures[1]}, max ${figures[2]}, of ${outages.length}`];
    }),
  );
}

function barsOf(samples: readonly Sample[], topology: string): Bar[] {
  const own = samples.filter((sample) => sample["topology"] === topology && sample["carrier"] === "portolan");
  const of = (fault: LinkFault): Sample[] => own.filter((sample) => sample["fault"] === fault);
  const beyond = of("reset").map(({ outageMs, pathRttMs }) => Number(outageMs) - Number(pathRttMs));
  const silent = of("silent").map(({ outageMs }) => Number(outageMs));
  return [
    atMost(`${topology}, reset: outage beyond the round trip, ms, p95`, 50, percentile(beyond, 0.95)),
    atMost(`${topology}, silent: outage, ms, p95`, 900, percentile(silent, 0.95)),
  ];
}
