import { z } from "zod";
import { type Clock, Fault } from "#core";
import { atMost, type Bar, defineBench, median, numberFlag, percentile } from "./bench.ts";
import { type Carrier, installed, mesh, type Move, portolanOver, ring, type Topology } from "./carriers.ts";
import type { FlowReport } from "./flow-part.ts";
import { type Child, Graph, labNeeds, type LinkFault } from "./lab/index.ts";

/** So long after a fault it is looked how long the flow stood; a connection that hears nothing is not dead by then. */
const WATCH_MS = 3_000;
/** What is not over by then is shown as the time until then. */
const REPORT_MS = 10_000;

const options = z.object({
  rounds: numberFlag(4, 1, 1_000, "faults of each kind and topology"),
  delay: numberFlag(25, 1, 500, "milliseconds that a link takes one way"),
  topology: z.enum(["both", "ring", "mesh"]).default("both").describe("where"),
  beside: z
    .enum(["none", "frr", "babeld", "all"])
    .default("none")
    .describe("routing in the kernel over the same links"),
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
    const samples: Outage[] = [];
    for (const where of chosen) {
      const carriers = [portolanOver, ...(await installed(beside, progress))];
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

async function takeReport(reader: Child): Promise<FlowReport> {
  const line = reader.line("what came", REPORT_MS, (text) => text.startsWith("{"));
  reader.send("report");
  return JSON.parse(await line) as FlowReport;
}

/** One fault, and how long the flow stood. Where the carrier says so, what it is made of. */
type Outage = {
  topology: string;
  carrier: string;
  fault: LinkFault;
  /** The broken one. */
  link: string;
  /** The longest pause, less the usual one. */
  outageMs: number;
  /** Of the way that the flow goes then. */
  pathRttMs: number;
  /** Messages that never came. */
  missing: number;
  breakTookMs: number;
  before: string;
  after: string;
} & Partial<Terms>;

/**
 * What an outage is made of: until an end of the link knew, until the source did (the delay between them), until a way was chosen and the target had
 * answered over it, until the flow went on.
 */
type Terms = { detectMs: number; tellMs: number; switchMs: number; resendMs: number };

type Round = { fault: LinkFault; round: number };

/** Breaks a link that the flow goes over, another one each time, and says how long the flow stood. */
async function breakOnce(
  clock: Clock,
  graph: Graph,
  where: Topology,
  carrier: Carrier,
  { fault, round }: Round,
): Promise<Outage> {
  const before = await carrier.path();
  const spans = spansOf(before).filter(([a, b]) => where.siteOf(a) !== where.siteOf(b));
  const [from, to] = spans[round % spans.length] as [string, string];
  const tellMs = roundTripMs(graph, before.slice(0, before.indexOf(from) + 1)) / 2;
  await takeReport(carrier.reader);
  const brokenMs = clock.wallMs();
  await graph.break(from, to, fault);
  const tookMs = clock.wallMs() - brokenMs;
  await clock.sleep(WATCH_MS);
  let report = await takeReport(carrier.reader);
  const { usualMs } = report;
  let { gapMs, gapFromMs, missing } = report;
  // still nothing: the pause goes on from where it was
  for (let waits = 0; report.messages === 0 || endOf(report) >= clock.wallMs() - 100; waits++) {
    if (waits > 60) throw new Fault("bench.no-way", `${carrier.name} found no other way than ${before.join(" ")}`);
    await clock.sleep(1_000);
    report = await takeReport(carrier.reader);
    missing += report.missing;
    if (report.gapMs > gapMs) ({ gapMs, gapFromMs } = report);
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
    ...(move === undefined ? {} : termsOf(move, brokenMs, tellMs, gapFromMs + gapMs)),
    breakTookMs: tookMs,
    before: before.join(" "),
    after: after.join(" "),
  };
}

const endOf = ({ gapFromMs, gapMs }: FlowReport): number => gapFromMs + gapMs;

function termsOf({ soughtMs, tookMs }: Move, brokenMs: number, tellMs: number, gapEndMs: number): Terms {
  return {
    detectMs: Math.round(soughtMs - brokenMs - tellMs),
    tellMs: Math.round(tellMs),
    switchMs: tookMs,
    resendMs: Math.round(gapEndMs - soughtMs - tookMs),
  };
}

const spansOf = (path: readonly string[]): [string, string][] => path.slice(1).map((to, i) => [path[i] as string, to]);

const roundTripMs = (graph: Graph, path: readonly string[]): number =>
  spansOf(path).reduce((sum, [a, b]) => sum + 2 * graph.delayMs(a, b), 0);

/** Of each carrier, topology and fault: how long the flow stood. */
function summaries(samples: readonly Outage[]): Record<string, unknown> {
  const groups = Map.groupBy(samples, ({ topology, carrier, fault }) => `${topology} ${carrier} ${fault}`);
  return Object.fromEntries(
    [...groups].map(([name, group]) => {
      const outages = group.map(({ outageMs }) => outageMs);
      const figures = [median(outages), percentile(outages, 0.95), Math.max(...outages)].map(Math.round);
      return [`outage, ms: ${name}`, `p50 ${figures[0]}, p95 ${figures[1]}, max ${figures[2]}, of ${outages.length}`];
    }),
  );
}

function barsOf(samples: readonly Outage[], where: string): Bar[] {
  const of = (wanted: LinkFault): Outage[] =>
    samples.filter(({ topology, carrier, fault }) => topology === where && carrier === "portolan" && fault === wanted);
  const beyond = of("reset").map(({ outageMs, pathRttMs }) => outageMs - pathRttMs);
  const silent = of("silent").map(({ outageMs }) => outageMs);
  return [
    atMost(`${where}, reset: outage beyond the round trip, ms, p95`, 50, percentile(beyond, 0.95)),
    atMost(`${where}, silent: outage, ms, p95`, 900, percentile(silent, 0.95)),
  ];
}
