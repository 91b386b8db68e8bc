import { join } from "node:path";
import type { BenchContext } from "./bench.ts";
import { Daemons } from "./daemons.ts";
import type { Place } from "./fleet.ts";
import {
  babel,
  frr,
  kernelPath,
  type KernelRouting,
  loopbackOf,
  routeInKernel,
  untilRouted,
} from "./kernel-routing.ts";
import { type Child, Graph, type GraphLink, type LinkFault } from "./lab/index.ts";

const PORT = 4001;
const FLOW = join(import.meta.dirname, "flow-part.ts");
const SERVICE = "flow";
const SERVED_MS = 10_000;
/** A circuit is to be opened, or routes to be found, before the first message comes. */
const FIRST_MS = 60_000;

/** Nodes and their links, and where the flow comes from and goes to. */
export type Topology = {
  name: string;
  nodes: readonly string[];
  links: (delayMs: number) => GraphLink[];
  siteOf: (node: string) => string;
  reader: string;
  host: string;
};

const RING = ["n1", "n2", "n3", "n4", "n5", "n6"] as const;
/** Six sites of a node each, and a flow between opposite ones: two ways of three links. */
export const ring: Topology = {
  name: "ring",
  nodes: RING,
  links: (delayMs) => RING.map((a, i) => ({ a, b: RING[(i + 1) % RING.length] as string, delayMs })),
  siteOf: (node) => `site-${node}`,
  reader: "n1",
  host: "n4",
};
/** Three sites of a gateway and a node behind it, 0.2 ms away; the gateways are joined to each other. */
export const mesh: Topology = {
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
export type Carrier = {
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
  moveSince?: (sinceMs: number) => Move | undefined;
};
/** When the source of a circuit began to look for another way, in Unix milliseconds, and how long that took. */
export type Move = { soughtMs: number; tookMs: number };

export type StartCarrier = (
  context: BenchContext,
  stack: AsyncDisposableStack,
  graph: Graph,
  where: Topology,
) => Promise<Carrier>;

/** Real daemons, which joined over a network that is gone then: each has links to its neighbours only. */
export const portolanOver: StartCarrier = async ({ clock, directory }, stack, graph, where) => {
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
  const served = await server.line("the flow's port", SERVED_MS, (line) => line.startsWith("port "));
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
    const own = join(directory, where.name);
    await routeInKernel(clock, graph, routing, own);
    const to = [loopbackOf(graph, where.reader), String(PORT)];
    graph.start(where.host, [process.execPath, FLOW, "send-udp", ...to]);
    const reader = await startReader(graph, where.reader, ["read-udp", String(PORT)]);
    return {
      name: routing.name,
      clean: "down",
      path: () => kernelPath(graph, where.host, where.reader),
      settled: () => untilRouted(clock, graph, routing, own),
      reader,
    };
  };

/** Those of the kind that are installed; who is not is told of. */
export async function installed(
  kind: "none" | "frr" | "babeld" | "all",
  progress: (line: string) => void,
): Promise<StartCarrier[]> {
  const starts: StartCarrier[] = [];
  for (const routing of [frr, babel(0.5), babel(4)].filter(({ name }) => kind === "all" || name.startsWith(kind))) {
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

/** What the log of the circuit's source says of its last move, if that ended after a time. Times are Unix milliseconds. */
function moveSince(log: string, sinceMs: number): Move | undefined {
  const moves = [...log.matchAll(/^(\S+) info +circuit goes on .*tookMs=(\d+)/gmu)].map(([, time = "", took]) => ({
    soughtMs: Date.parse(time) - Number(took),
    tookMs: Number(took),
  }));
  return moves.find(({ soughtMs, tookMs }) => soughtMs + tookMs >= sinceMs);
}
