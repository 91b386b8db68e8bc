import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { type Clock, withDeadline } from "#core";
import type { Sample } from "./bench.ts";
import { abroad, type World } from "./discovery-world.ts";
import { until } from "./portolan.ts";

/** New connections while an instance dies go this far apart, and each must bring the instance's word within this time. */
const OPEN_EVERY_MS = 20;
const OPEN_MS = 2_000;
const WATCH_MS = 6_000;
const LOOK_EVERY_MS = 5;
const GONE_MS = 60_000;
const SERVICE = "api";

/** Says its name to everybody who connects. */
async function startInstance(name: string, port = 0): Promise<Server> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.end(`${name}\n`);
  });
  await once(server.listen(port, "127.0.0.1"), "listening");
  return server;
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;

/** Two instances in different sites; the one that is chosen dies with its node, or alone, while new connections are made all the time. */
export async function killInstances(world: World, stack: AsyncDisposableStack, kills: number): Promise<Sample[]> {
  const { clock, daemons, seeker, progress } = world;
  const hosts = abroad(world).slice(0, 2);
  const servers = new Map<string, Server>();
  stack.defer(() => servers.forEach((server) => server.close()));
  for (const host of hosts) {
    const server = await startInstance(host);
    servers.set(host, server);
    const to = `127.0.0.1:${portOf(server)}`;
    await daemons.client(host).call("publishService", { name: SERVICE, to, check: "tcp" });
  }
  const stop = new AbortController();
  stack.defer(() => stop.abort());
  const port = await daemons.connect(seeker, SERVICE, stop.signal);
  const samples: Sample[] = [];
  for (let kill = 0; kill < kills; kill++) {
    for (const what of ["node killed", "process killed"] as const) {
      await untilHealthy(world, hosts.length);
      const chosen = await openOnce(clock, port);
      const server = servers.get(chosen ?? "");
      if (chosen === undefined || server === undefined) throw new RangeError(`${chosen} is no instance`);
      const at = portOf(server);
      const watching = watchOpens(clock, port);
      if (what === "node killed") daemons.signal(chosen, "SIGKILL");
      else server.close();
      const goneMs = await untilGone(world, hosts.length - 1);
      samples.push({ what, goneMs, ...(await watching) });
      if (what === "node killed") await daemons.up(chosen);
      else servers.set(chosen, await startInstance(chosen, at));
    }
    progress(
      samples
        .slice(-2)
        .map((sample) => JSON.stringify(sample))
        .join("\n"),
    );
  }
  stop.abort();
  for (const host of hosts) await daemons.client(host).call("unpublishService", { name: SERVICE });
  return samples;
}

async function healthyOf({ daemons, seeker }: World): Promise<number> {
  const { instances } = await daemons.client(seeker).call("services.get", { name: SERVICE });
  return instances.filter(({ state }) => state === "healthy").length;
}

const untilHealthy = (world: World, count: number): Promise<void> =>
  until(world.clock, `${count} healthy instances`, async () => (await healthyOf(world)) === count);

/** Milliseconds until so many are left among the answers. */
async function untilGone(world: World, count: number): Promise<number> {
  const startMs = world.clock.nowMs();
  await withDeadline(world.clock, GONE_MS, "the dead instance to be gone", async (signal) => {
    while ((await healthyOf(world)) > count) await world.clock.sleep(LOOK_EVERY_MS, signal);
  });
  return Math.round(world.clock.nowMs() - startMs);
}

/** Who answers a new connection; `undefined`: nobody. */
async function openOnce(clock: Clock, port: number): Promise<string | undefined> {
  const socket: Socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  try {
    const word = withDeadline(clock, OPEN_MS, "the instance's word", () =>
      Promise.race([once(socket, "data"), closed(socket)]),
    );
    return (await word)?.toString().trim();
  } catch {
    return undefined;
  } finally {
    socket.destroy();
  }
}

async function closed(socket: Socket): Promise<undefined> {
  await once(socket, "close");
  return undefined;
}

/** New connections all the time for a while: those that brought nothing, and those that did not with one more try. */
async function watchOpens(clock: Clock, port: number): Promise<{ opens: number; failed: number; failedAgain: number }> {
  const counts = { opens: 0, failed: 0, failedAgain: 0 };
  const one = async (): Promise<void> => {
    counts.opens += 1;
    if ((await openOnce(clock, port)) !== undefined) return;
    counts.failed += 1;
    if ((await openOnce(clock, port)) === undefined) counts.failedAgain += 1;
  };
  const all: Promise<void>[] = [];
  for (const endMs = clock.nowMs() + WATCH_MS; clock.nowMs() < endMs; await clock.sleep(OPEN_EVERY_MS)) all.push(one());
  await Promise.all(all);
  return counts;
}
