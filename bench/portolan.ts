import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ControlClient, type FetchProgress, type Fetched, type Status } from "#api";
import { type Clock, Fault, withDeadline } from "#core";
import { type Child, run } from "./lab/index.ts";
import {
  type Arrival,
  type Fleet,
  type FleetDeps,
  type FleetOptions,
  type Place,
  type StartFleet,
  timed,
} from "./fleet.ts";

const PORTOLAN = join(import.meta.dirname, "..", "bin", "portolan");
const ARTIFACT = "bench:1";
/** Daemons that start at once, on two cores at about a second of CPU each. */
const STARTS = 12;
const READY_MS = 60_000;
const COMMAND_MS = 60_000;
/** Reading and hashing 1 GiB takes about 2 s. */
const PUBLISH_MS = 300_000;
/** Between two looks at a state that a daemon has no event for. */
const POLL_MS = 50;

/** Where a fleet is: its places, and the directory of its files. */
type Grounds = { places: readonly Place[]; directory: string };
export type Node = { place: Place; data: string; process: Child; client: ControlClient };

/** Real daemons, one per place: the first makes a fleet and publishes, the others join from its token by claims. */
export const startPortolan: StartFleet = (deps, options) => startDaemons(deps, options);

/** The same, but who brings the file into `site` is killed with -9 when it has brought half of it. */
export const startPortolanLosingLeader =
  (site: string): StartFleet =>
  (deps, options) =>
    startDaemons(deps, options, site);

async function startDaemons(deps: FleetDeps, options: FleetOptions, bereaved?: string): Promise<Fleet> {
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
  const receivers = new Receivers(clock, join.result, bereaved);
  return {
    setupSeconds: { createFleet: create.seconds, join: join.seconds, publish: publish.seconds },
    processes: nodes.map(({ process }) => process),
    distribute: (deadlineMs) =>
      withDeadline(clock, deadlineMs, "the distribution", (signal) =>
        Promise.all(join.result.map((node) => receivers.fetch(node, signal))),
      ),
    copies: () => Promise.all([...receivers.left].map(writeCopy)),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Those who get the file, and the one of them that is killed on the way, if any. */
class Receivers {
  readonly left: Set<Node>;
  readonly #clock: Clock;
  readonly #bereaved: string | undefined;
  #killed: Node | undefined;

  constructor(clock: Clock, nodes: readonly Node[], bereaved: string | undefined) {
    this.#clock = clock;
    this.left = new Set(nodes);
    this.#bereaved = bereaved;
  }

  /** Resolves with `undefined` where the node was killed. */
  async fetch(node: Node, signal: AbortSignal): Promise<Arrival | undefined> {
    const onProgress = (progress: FetchProgress): void => this.#killLeader(node, progress);
    try {
      const job = (): Promise<Fetched> => node.client.job("fetch", { name: ARTIFACT }, onProgress, signal);
      const { seconds, result } = await timed(this.#clock, job);
      const { bytesFromSite, bytesFromWan } = result;
      // a daemon says that it has a file only once it is on the disk
      return { verifiedSeconds: seconds, durableSeconds: seconds, payload: { bytesFromSite, bytesFromWan } };
    } catch (error) {
      if (node === this.#killed) return undefined;
      throw error;
    }
  }

  #killLeader(node: Node, { bytesFromWan, sizeBytes }: FetchProgress): void {
    if (node.place.site !== this.#bereaved || this.#killed !== undefined || bytesFromWan < sizeBytes / 2) return;
    this.#killed = node;
    this.left.delete(node);
    node.process.signal("SIGKILL");
  }
}

/** Starts a daemon at a place; resolves once it answers. */
export async function startNode(
  { clock, startAt }: FleetDeps,
  stack: AsyncDisposableStack,
  { places, directory }: Grounds,
  index: number,
  flags: readonly string[],
): Promise<Node> {
  const place = places[index];
  if (place === undefined) throw new RangeError("no such place");
  const data = join(directory, `node-${index}`);
  await mkdir(data, { recursive: true, mode: 0o700 });
  const at = (address: string): string => `/ip4/${address}/tcp/${place.port}/tls`;
  const reached = place.outside === undefined ? [] : [place.address, place.outside];
  const announce = reached.flatMap((address) => ["--announce", at(address)]);
  const listen = place.hidden === true ? ["--config", await hidingConfig(data)] : ["--listen", at(place.address)];
  const where = ["--site", place.site, ...listen, ...announce, "--no-mdns", "--names", "off"];
  const argv = [PORTOLAN, "up", "--data", data, ...where, ...flags];
  const process = stack.use(startAt(place, argv));
  const node = { place, data, process, client: new ControlClient(clock, data) };
  await untilStatus(clock, node, "running", () => true);
  return node;
}

async function hidingConfig(data: string): Promise<string> {
  const file = `${data}.yaml`;
  await writeFile(file, "listen: []\n");
  return file;
}

/** Claims for the serials of all other places, then their daemons with the token; resolves once all are members. */
export async function joinOthers(
  clock: Clock,
  first: Node,
  { places, directory }: Grounds,
  up: (index: number, flags: readonly string[]) => Promise<Node>,
): Promise<Node[]> {
  const others = places.slice(1).map((_, i) => i + 1);
  const claims = join(directory, "claims.csv");
  const rows = others.map((i) => `serial-${i},bench,,,,`);
  await writeFile(claims, ["serial,model,key,tenant,labels,expires", ...rows, ""].join("\n"));
  await command(clock, first, ["admit", "-f", claims]);
  const { token } = await first.client.call("token", {});
  const nodes: Node[] = [];
  for (let done = 0; done < others.length; done += STARTS) {
    const batch = others.slice(done, done + STARTS);
    nodes.push(...(await Promise.all(batch.map((i) => up(i, ["--token", token, "--serial", `serial-${i}`])))));
  }
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

async function writeCopy({ data, client }: Node): Promise<string> {
  const output = `${data}.copy`;
  await client.job("fetch", { name: ARTIFACT, output }, () => undefined);
  return output;
}

/** Runs one command of the CLI against a node. What it remembers of keys stays beside the nodes' data: the user's own is left alone. */
export const command = (clock: Clock, { data }: Node, argv: readonly string[], ms = COMMAND_MS): Promise<string> =>
  run(clock, ms, [PORTOLAN, ...argv, "--data", data], { env: { XDG_CONFIG_HOME: `${data}.config` } });

function untilStatus(clock: Clock, node: Node, what: string, holds: (status: Status) => boolean): Promise<void> {
  const ended = node.process.ended.then((how) => {
    throw new Fault("bench.daemon-ended", `the daemon of ${node.data}: ${how}\n${node.process.stderr}`);
  });
  const reached = until(clock, `${node.data} to be ${what}`, async () => holds(await node.client.call("status", {})));
  return Promise.race([reached, ended]);
}

/** Waits until a question to a daemon is answered with yes; a daemon that is not up yet is a no. */
export async function until(clock: Clock, what: string, holds: () => Promise<boolean>): Promise<void> {
  await withDeadline(clock, READY_MS, `waiting for ${what}`, async (signal) => {
    while (!(await holds().catch(isDown))) await clock.sleep(POLL_MS, signal);
  });
}

function isDown(error: unknown): false {
  if (error instanceof Fault && error.exit === "offline") return false;
  throw error;
}
