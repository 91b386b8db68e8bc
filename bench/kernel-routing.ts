import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { type Clock, withDeadline } from "#core";
import { type Graph, onPath } from "./lab/index.ts";

/** What routes in the kernel: FRR's OSPF with BFD, or babeld with a hello interval in seconds. */
export type KernelRouting = {
  name: string;
  missing: () => Promise<string | undefined>;
  start: Start;
  /** Whether it would notice at once that a link of the node falls silent, where that is more than that there are routes. */
  isWatching?: (graph: Graph, node: string, directory: string) => Promise<boolean>;
};
type Start = (graph: Graph, node: string, directory: string) => Promise<void>;

const SETTLE_MS = 120_000; // babeld with hellos every 4 s takes up to 80
const POLL_MS = 100;
const COMMAND_MS = 10_000;
const FRR = "/usr/lib/frr";

/** The address of a node itself, whichever of its links are up. */
export const loopbackOf = (graph: Graph, node: string): string => `10.65.0.${graph.nodes.indexOf(node) + 1}`;

export const frr: KernelRouting = {
  name: "frr",
  missing: async () => (existsSync(FRR) ? undefined : "FRR is not installed (Debian: apt-get install frr)"),
  start: startFrr,
  isWatching: frrIsWatching,
};

export const babel = (helloSeconds: number): KernelRouting => ({
  name: `babeld-${helloSeconds}`,
  missing: async () =>
    (await onPath("babeld")) ? undefined : "babeld is not installed (Debian: apt-get install babeld)",
  start: (graph, node, directory) => startBabel(graph, node, directory, helloSeconds),
});

const directoryOf = (directory: string, { name }: KernelRouting, node: string): string =>
  join(directory, `${name}-${node}`);

/** Starts a routing daemon on all nodes; resolves when every link is in use. They end with the graph. */
export async function routeInKernel(
  clock: Clock,
  graph: Graph,
  routing: KernelRouting,
  directory: string,
): Promise<void> {
  for (const node of graph.nodes) {
    const own = directoryOf(directory, routing, node);
    await mkdir(own, { recursive: true });
    const inside = `ip netns exec ${node}`;
    await graph.shell([
      `ip -n ${node} addr add ${loopbackOf(graph, node)}/32 dev lo`,
      `${inside} sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0`,
      ...graph.devicesOf(node).map(({ device }) => `${inside} sysctl -qw net.ipv4.conf.${device}.rp_filter=0`),
    ]);
    await routing.start(graph, node, own);
  }
  await untilRouted(clock, graph, routing, directory);
}

/** Resolves when each node routes to each neighbour over the link between them, and to all others, and watches its links. */
export async function untilRouted(
  clock: Clock,
  graph: Graph,
  routing: KernelRouting,
  directory: string,
): Promise<void> {
  await withDeadline(clock, SETTLE_MS, "routes over all links", async (signal) => {
    const isRouted = async (node: string): Promise<boolean> => {
      const peers = graph.devicesOf(node);
      for (const to of graph.nodes.filter((other) => other !== node)) {
        const device = (await routeTo(graph, node, to))?.dev;
        const direct = peers.find(({ peer }) => peer === to);
        if (device === undefined || (direct !== undefined && device !== direct.device)) return false;
      }
      return (await routing.isWatching?.(graph, node, directoryOf(directory, routing, node))) ?? true;
    };
    for (const node of graph.nodes) while (!(await isRouted(node))) await clock.sleep(POLL_MS, signal);
  });
}

const Routes = z.array(z.object({ dev: z.string() }));

async function routeTo(graph: Graph, from: string, to: string): Promise<{ dev: string } | undefined> {
  const asked = graph.run(from, ["ip", "-j", "route", "get", loopbackOf(graph, to)], COMMAND_MS);
  const answer = await asked.catch(() => undefined); // unreachable
  return answer === undefined ? undefined : Routes.parse(JSON.parse(answer))[0];
}

/** The nodes from one to another, as their kernels route just now. Throws RangeError when they do not, or in a circle. */
export async function kernelPath(graph: Graph, from: string, to: string): Promise<string[]> {
  const path = [from];
  for (let at = from; at !== to && path.length <= graph.nodes.length; path.push(at)) {
    const device = (await routeTo(graph, at, to))?.dev;
    const next = graph.devicesOf(at).find((own) => own.device === device)?.peer;
    if (next === undefined) throw new RangeError(`${at} has no route to ${to}`);
    at = next;
  }
  if (path.at(-1) !== to) throw new RangeError(`a circle: ${path.join(" ")}`);
  return path;
}

async function startBabel(graph: Graph, node: string, directory: string, helloSeconds: number): Promise<void> {
  const seconds = String(helloSeconds);
  const words = ["redistribute ip 10.65.0.0/16", "redistribute local ip 10.65.0.0/16", "redistribute local deny"];
  const devices = graph.devicesOf(node).map(({ device }) => device);
  const files = ["-I", join(directory, "pid"), "-S", join(directory, "state")];
  graph.start(node, [
    "babeld",
    ...files,
    "-h",
    seconds,
    "-H",
    seconds,
    ...words.flatMap((word) => ["-C", word]),
    ...devices,
  ]);
}

/** BFD: three packets 100 ms apart. SPF without delay after a quiet time; hellos only find neighbours. */
async function startFrr(graph: Graph, node: string, directory: string): Promise<void> {
  const own = graph.devicesOf(node);
  const sockets = ["--vty_socket", directory, "-z", join(directory, "zserv.api"), "-P", "0"];
  const configs = {
    zebra: [],
    bfdd: ["bfd", " profile fast", "  detect-multiplier 3", "  receive-interval 100", "  transmit-interval 100"],
    ospfd: [
      ...own.flatMap(({ device }) => [
        `interface ${device}`,
        " ip ospf network point-to-point",
        " ip ospf bfd",
        " ip ospf bfd profile fast",
        " ip ospf hello-interval 1",
        " ip ospf dead-interval 10",
      ]),
      "router ospf",
      ` ospf router-id ${loopbackOf(graph, node)}`,
      " network 10.64.0.0/16 area 0",
      " network 10.65.0.0/16 area 0",
    ],
  };
  const above = dirname(directory);
  await graph.shell([`chmod 711 ${dirname(above)} ${above}`, `chown frr ${directory}`]); // they run as that user
  for (const [daemon, lines] of Object.entries(configs)) {
    const file = join(directory, `${daemon}.conf`);
    await writeFile(file, `${lines.join("\n")}\n`);
    const control = daemon === "bfdd" ? ["--bfdctl", join(directory, "bfdd.sock")] : [];
    graph.start(node, [`${FRR}/${daemon}`, ...sockets, ...control, "-f", file, "-i", join(directory, `${daemon}.pid`)]);
  }
}

const BfdPeers = z.array(z.object({ status: z.string() }));

/** Whether BFD is up with each neighbour: OSPF is so seconds before it on a link that was mended. */
async function frrIsWatching(graph: Graph, node: string, directory: string): Promise<boolean> {
  const asked = ["vtysh", "--vty_socket", directory, "-d", "bfdd", "-c", "show bfd peers json"];
  const peers = BfdPeers.parse(JSON.parse(await graph.run(node, asked, COMMAND_MS)));
  return peers.length === graph.devicesOf(node).length && peers.every(({ status }) => status === "up");
}
