import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ControlClient, type Fetched, type Status } from "#api";
import { type Clock, Fault, withDeadline } from "#core";
import { type Child, run } from "./lab/index.ts";
import { type Arrival, type FleetDeps, type FleetOptions, type Place, type StartFleet, timed } from "./fleet.ts";

const PORTOLAN = join(import.meta.dirname, "..", "bin", "portolan");
const ARTIFACT = "bench:1";
/** Twelve daemons start at once on two cores at under a second of CPU each. */
const READY_MS = 60_000;
const COMMAND_MS = 60_000;
/** Reading and hashing 1 GiB takes about 2 s. */
const PUBLISH_MS = 300_000;
/** Between two looks at a state that a daemon has no event for. */
const POLL_MS = 50;

export type Node = { place: Place; data: string; process: Child; client: ControlClient };

/** Real daemons, one per place: the first makes a fleet and publishes, the others join from its token by claims. */
export const startPortolan: StartFleet = async (deps, options) => {
  const { clock } = deps;
  await using stack = new AsyncDisposableStack();
  const up = (index: number, flags: readonly string[]): Promise<Node> => startNode(deps, stack, options, index, flags);

  const create = await timed(clock, async () => {
    const node = await up(0, []);
    await command(clock, node, ["fleet", "create", "bench", "--demo"]);
    return node;
  });
  const first = create.result;
  const join = await timed(clock, () => joinOthers(clock, first, options, up));
  const nodes = [first, ...join.result];
  const publish = await timed(clock, () => publishFile(clock, nodes, options.file));
  const running = stack.move();
  return {
    setupSeconds: { createFleet: create.seconds, join: join.seconds, publish: publish.seconds },
    processes: nodes.map(({ process }) => process),
    distribute: async (deadlineMs) => {
      const receive = async ({ client }: Node, signal: AbortSignal): Promise<Arrival> => {
        const { seconds, result } = await timed(clock, () => fetchArtifact(client, signal));
        const { bytesFromSite, bytesFromWan } = result;
        // a daemon says that it has a file only once it is on the disk
        return { verifiedSeconds: seconds, durableSeconds: seconds, payload: { bytesFromSite, bytesFromWan } };
      };
      const all = (signal: AbortSignal): Promise<Arrival[]> =>
        Promise.all(join.result.map((node) => receive(node, signal)));
      return await withDeadline(clock, deadlineMs, "the distribution", all);
    },
    copies: () => Promise.all(join.result.map(writeCopy)),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

/** Starts a daemon at a place; resolves once it answers. */
export async function startNode(
  { clock, startAt }: FleetDeps,
  stack: AsyncDisposableStack,
  { places, directory }: FleetOptions,
  index: number,
  flags: readonly string[],
): Promise<Node> {
  const place = places[index];
  if (place === undefined) throw new RangeError("no such place");
  const data = join(directory, `node-${index}`);
  await mkdir(data, { recursive: true, mode: 0o700 });
  const listen = `/ip4/${place.address}/tcp/${place.port}/tls`;
  const argv = [PORTOLAN, "up", "--data", data, "--site", place.site, "--listen", listen, "--no-mdns", ...flags];
  const process = stack.use(startAt(place, argv));
  const node = { place, data, process, client: new ControlClient(clock, data) };
  await untilStatus(clock, node, "running", () => true);
  return node;
}

/** Claims for the serials of all other places, then their daemons with the token; resolves once all are members. */
export async function joinOthers(
  clock: Clock,
  first: Node,
  { places, directory }: FleetOptions,
  up: (index: number, flags: readonly string[]) => Promise<Node>,
): Promise<Node[]> {
  const others = places.slice(1).map((_, i) => i + 1);
  const claims = join(directory, "claims.csv");
  const rows = others.map((i) => `serial-${i},bench,,,,`);
  await writeFile(claims, ["serial,model,key,tenant,labels,expires", ...rows, ""].join("\n"));
  await command(clock, first, ["admit", "-f", claims]);
  const { token } = await first.client.call("token", {});
  const nodes = await Promise.all(others.map((i) => up(i, ["--token", token, "--serial", `serial-${i}`])));
  await Promise.all(nodes.map((node) => untilStatus(clock, node, "a member", ({ state }) => state === "member")));
  return nodes;
}

/** Publishes on the first node; resolves once every node can name the artifact. */
async function publishFile(clock: Clock, nodes: readonly Node[], file: string): Promise<void> {
  const [first] = nodes;
  if (first === undefined) return;
  await command(clock, first, ["publish", file, "--name", ARTIFACT], PUBLISH_MS);
  for (const node of nodes) {
    await until(clock, `${node.place.site} to know ${ARTIFACT}`, async () => {
      const { items } = await node.client.call("artifacts.list", {});
      return items.length > 0;
    });
  }
}

function fetchArtifact(client: ControlClient, signal: AbortSignal): Promise<Fetched> {
  return client.job("fetch", { name: ARTIFACT }, () => undefined, signal);
}

async function writeCopy({ data, client }: Node): Promise<string> {
  const output = `${data}.copy`;
  await client.job("fetch", { name: ARTIFACT, output }, () => undefined);
  return output;
}

/** Runs one command of the CLI against a node. */
export const command = (clock: Clock, { data }: Node, argv: readonly string[], ms = COMMAND_MS): Promise<string> =>
  run(clock, ms, [PORTOLAN, ...argv, "--data", data]);

function untilStatus(clock: Clock, node: Node, what: string, holds: (status: Status) => boolean): Promise<void> {
  const ended = node.process.ended.then((how) => {
    throw new Fault("bench.daemon-ended", `the daemon of ${node.data}: ${how}\n${node.process.stderr}`);
  });
  const reached = until(clock, `${node.data} to be ${what}`, async () => holds(await node.client.call("status", {})));
  return Promise.race([reached, ended]);
}

/** Waits until a question to a daemon is answered with yes; a daemon that is not up yet is a no. */
async function until(clock: Clock, what: string, holds: () => Promise<boolean>): Promise<void> {
  await withDeadline(clock, READY_MS, `waiting for ${what}`, async (signal) => {
    while (!(await holds().catch(isDown))) await clock.sleep(POLL_MS, signal);
  });
}

function isDown(error: unknown): false {
  if (error instanceof Fault && error.exit === "offline") return false;
  throw error;
}
