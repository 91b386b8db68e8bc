import { once } from "node:events";
import { join } from "node:path";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { z } from "zod";
import { type Clock, withDeadline } from "#core";
import {
  atLeast,
  atMost,
  type Bar,
  type BenchContext,
  defineBench,
  numberFlag,
  percentile,
  type Sample,
} from "./bench.ts";
import { Daemons } from "./daemons.ts";
import { DnsClient } from "./dns-client.ts";
import { type Place, startLocally } from "./fleet.ts";
import { until } from "./portolan.ts";

const SITES = ["rome", "berlin", "hq"] as const;
const FIRST_PORT = 22_000;
/** Where the node that looks up answers DNS. */
const NAMES = { host: "127.77.0.1", port: 7_399 };
const ZONE = "default.mesh";
/** Questions for a name that is not there yet go this far apart, whether the last one is answered or not. */
const ASK_EVERY_MS = 5;
const RESOLVE_MS = 10_000;
const COLD_MS = 120_000;
const LOOK_UPS = 2_000;
/** New connections while an instance dies go this far apart, and each must bring the instance's word within this time. */
const OPEN_EVERY_MS = 20;
const OPEN_MS = 2_000;
const KILL_WATCH_MS = 6_000;
const SERVICE = "api";

const options = z.object({
  nodes: numberFlag(24, 4, 200, "daemons, in three sites"),
  services: numberFlag(10_000, 10, 100_000, "services that all of them publish together; a node can tell of 480"),
  rounds: numberFlag(50, 1, 1_000, "services published one after the other"),
  kills: numberFlag(3, 1, 100, "instances of each kind that die"),
});

/** What each part of the benchmark needs. */
type World = {
  clock: Clock;
  daemons: Daemons<string>;
  seeker: string;
  dns: DnsClient;
  progress: (line: string) => void;
};

export const discovery = defineBench({
  name: "discovery",
  claim:
    "A service is found in another site within 1 s, 10,000 by a node that starts within 10 s, and one that dies is offered no more after 2 s.",
  options,
  missing: () => Promise.resolve(undefined),
  run: async (context, { nodes, services, rounds, kills }) => {
    await using stack = new AsyncDisposableStack();
    const { clock } = context;
    const startMs = clock.nowMs();
    const world = await startWorld(context, stack, nodes);
    const setupSeconds = { start: (clock.nowMs() - startMs) / 1_000 };
    const publish = await publishOneByOne(world, rounds);
    const deaths = await killInstances(world, stack, kills);
    const cold = await startCold(world, services);
    const lookUps = await lookUpAgain(world, "s0-0");
    return {
      conditions: { nodes, services, rounds, sites: SITES.length, path: "127.0.0.1" },
      setupSeconds,
      samples: [...publish, ...deaths, cold, lookUps],
      bars: barsOf({ publish, deaths, cold, lookUps, services }),
    };
  },
});

/** The last node looks up; the others publish. */
async function startWorld(
  { clock, directory, progress }: BenchContext,
  stack: AsyncDisposableStack,
  nodes: number,
): Promise<World> {
  const names = Array.from({ length: nodes }, (_, i) => `n${i}`);
  const place = (i: number): Place => {
    const site = i === nodes - 1 ? "hq" : (SITES[i % SITES.length] as string);
    return { address: "127.0.0.1", port: FIRST_PORT + i, site };
  };
  const places = Object.fromEntries(names.map((name, i) => [name, place(i)]));
  const deps = { clock, startAt: startLocally(clock) };
  const daemons = stack.use(new Daemons<string>(deps, join(directory, "fleet"), places));
  await daemons.fleet();
  const seeker = names.at(-1) as string;
  await restart(daemons, seeker);
  await daemons.untilLinked({ [seeker]: Math.min(3, nodes - 1) });
  progress(`${nodes} daemons are members`);
  return { clock, daemons, seeker, dns: stack.use(new DnsClient(clock, NAMES)), progress };
}

async function restart(daemons: Daemons<string>, seeker: string): Promise<void> {
  await daemons.stop(seeker);
  await daemons.up(seeker, ["--names", `${NAMES.host}:${NAMES.port}`]);
}

/** Those in other sites than the node that looks up. */
const abroad = ({ daemons, seeker }: World): string[] =>
  daemons.names.filter((name, i) => name !== seeker && SITES[i % SITES.length] !== "hq");

/** From the order to publish until the first answer with an address, in another site. */
async function publishOneByOne(world: World, rounds: number): Promise<Sample[]> {
  const { clock, daemons, dns, progress } = world;
  const hosts = abroad(world);
  const samples: Sample[] = [];
  for (let round = 0; round < rounds; round++) {
    const host = hosts[round % hosts.length] as string;
    const name = `new-${round}`;
    const startMs = clock.nowMs();
    await daemons.client(host).call("publishService", { name, to: "127.0.0.1:9" });
    await untilResolved(clock, dns, name);
    samples.push({ what: "published", resolvableMs: clock.nowMs() - startMs });
    await daemons.client(host).call("unpublishService", { name });
  }
  progress(`published and found, ms: ${samples.map(({ resolvableMs }) => Math.round(Number(resolvableMs))).join(" ")}`);
  return samples;
}

/** Asks again and again, without waiting for answers: a client that comes later must not have to wait for the miss of an earlier one. */
async function untilResolved(clock: Clock, dns: DnsClient, name: string, ms = RESOLVE_MS): Promise<void> {
  const { promise: found, resolve } = Promise.withResolvers<true>();
  await withDeadline(clock, ms, `an address of ${name}`, async (signal) => {
    let isFound = false;
    void found.then(() => (isFound = true));
    while (!isFound) {
      dns.hasAddress(`${name}.${ZONE}`).then(
        (has) => (has ? resolve(true) : undefined),
        () => undefined, // it was not there for so long
      );
      await Promise.race([found, clock.sleep(ASK_EVERY_MS, signal)]);
    }
  });
}

/** Publishes all, then starts the node that looks up anew, and waits until it resolves the last service of each node. */
async function startCold(world: World, services: number): Promise<Sample> {
  const { clock, daemons, seeker, dns, progress } = world;
  const hosts = daemons.names.filter((name) => name !== seeker);
  await daemons.stop(seeker);
  const each = Math.ceil(services / hosts.length);
  const publishing = hosts.map(async (host, h) => {
    const count = Math.min(each, services - h * each);
    for (let i = 0; i < count; i++)
      await daemons.client(host).call("publishService", { name: `s${h}-${i}`, to: "127.0.0.1:9" });
    return `s${h}-${count - 1}`;
  });
  const publishMs = clock.nowMs();
  const last = (await Promise.all(publishing)).filter((name) => !name.endsWith("--1"));
  const publishSeconds = (clock.nowMs() - publishMs) / 1_000;
  progress(`${services} services are published after ${publishSeconds.toFixed(1)} s`);
  const startMs = clock.nowMs();
  await daemons.up(seeker, ["--names", `${NAMES.host}:${NAMES.port}`]);
  const readySeconds = (clock.nowMs() - startMs) / 1_000;
  await Promise.all(last.map((name) => untilResolved(clock, dns, name, COLD_MS)));
  const allSeconds = (clock.nowMs() - startMs) / 1_000;
  const { items } = await daemons.client(seeker).call("services.list", {});
  const known = items.filter(({ name, healthy }) => /^s\d/u.test(name) && healthy > 0).length;
  return { what: "cold", publishSeconds, readySeconds, allSeconds, known };
}

/** Times of look-ups whose answer is known, in ms. */
async function lookUpAgain({ clock, daemons, seeker, dns }: World, name: string): Promise<Sample> {
  const timesOf = async (count: number, look: () => Promise<unknown>): Promise<number[]> => {
    const times: number[] = [];
    for (let i = 0; i < count; i++) {
      const startMs = clock.nowMs();
      await look();
      times.push(clock.nowMs() - startMs);
    }
    return times.slice(count / 10); // the first ones compile code
  };
  const byDns = await timesOf(LOOK_UPS, () => dns.hasAddress(`${name}.${ZONE}`));
  const byApi = await timesOf(LOOK_UPS / 10, () => daemons.client(seeker).call("services.get", { name }));
  const figures = (times: readonly number[]) => [percentile(times, 0.5), percentile(times, 0.99)];
  const [dnsP50Ms, dnsP99Ms] = figures(byDns);
  const [apiP50Ms, apiP99Ms] = figures(byApi);
  return { what: "look-up", dnsP50Ms, dnsP99Ms, apiP50Ms, apiP99Ms };
}

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
async function killInstances(world: World, stack: AsyncDisposableStack, kills: number): Promise<Sample[]> {
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
  await withDeadline(world.clock, RESOLVE_MS * 6, "the dead instance to be gone", async (signal) => {
    while ((await healthyOf(world)) > count) await world.clock.sleep(ASK_EVERY_MS, signal);
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
  for (const endMs = clock.nowMs() + KILL_WATCH_MS; clock.nowMs() < endMs; await clock.sleep(OPEN_EVERY_MS))
    all.push(one());
  await Promise.all(all);
  return counts;
}

type Parts = { publish: Sample[]; deaths: Sample[]; cold: Sample; lookUps: Sample; services: number };

function barsOf({ publish, deaths, cold, lookUps, services }: Parts): Bar[] {
  const resolvable = publish.map(({ resolvableMs }) => Number(resolvableMs) / 1_000);
  const most = (kind: string, key: string): number =>
    Math.max(...deaths.filter(({ what }) => what === kind).map((sample) => Number(sample[key])));
  return [
    atMost("published until resolvable in another site, s, p99", 1, percentile(resolvable, 0.99)),
    atLeast("services that the node knows after its start", services, Number(cold["known"])),
    atMost("from its start until it resolves all, s", 10, Number(cold["allSeconds"])),
    atMost("look-up of what is known, by DNS, ms, p50", 1, Number(lookUps["dnsP50Ms"])),
    ...["node killed", "process killed"].flatMap((kind) => [
      atMost(`${kind}: until it is in no answer, s`, 2, most(kind, "goneMs") / 1_000),
      atMost(`${kind}: failed opens, each time`, 1, most(kind, "failed")),
      atMost(`${kind}: opens that failed with a retry, too`, 0, most(kind, "failedAgain")),
    ]),
  ];
}
