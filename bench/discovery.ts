import { join } from "node:path";
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
import { type Calm, Daemons } from "./daemons.ts";
import { abroad, SITES, type World } from "./discovery-world.ts";
import { DnsClient } from "./dns-client.ts";
import { type Place, startLocally } from "./fleet.ts";
import { killInstances } from "./instance-deaths.ts";

const FIRST_PORT = 22_000;
/** Where the node that looks up answers DNS. */
const NAMES = { host: "127.77.0.1", port: 7_399 };
const ZONE = "default.mesh";
/** Questions for one name that is not there yet go this far apart, whether the last one is answered or not. */
const ASK_EVERY_MS = 5;
/** For many names at a time less often: a server answers 1,000 questions of a client in a second, and has other work while it starts. */
const ASK_COLD_EVERY_MS = 100;
const RESOLVE_MS = 10_000;
const COLD_MS = 120_000;
const LOOK_UPS = 2_000;
/** Between two look-ups; see `ASK_COLD_EVERY_MS`. */
const LOOK_UP_PAUSE_MS = 2;
/** What daemons do after they joined, or published thousands of services, is not measured: many of them share this machine's processors. */
const CALM = { share: 0.5, forMs: 2_000 };

const options = z.object({
  nodes: numberFlag(9, 4, 200, "daemons, in three sites"),
  services: numberFlag(2_000, 10, 100_000, "services that all of them publish together; a node can tell of 480"),
  rounds: numberFlag(30, 1, 1_000, "services published one after the other"),
  kills: numberFlag(3, 1, 100, "instances of each kind that die"),
  calm: numberFlag(120, 1, 3_600, "seconds to wait at most, twice, until the daemons have done what nobody waits for"),
});

export const discovery = defineBench({
  name: "discovery",
  claim:
    "A service is found in another site within 1 s, 10,000 by a node that starts within 10 s, and one that dies is offered no more after 2 s.",
  options,
  missing: () => Promise.resolve(undefined),
  run: async (context, { nodes, services, rounds, kills, calm }) => {
    const calmly = { ...CALM, atMostMs: calm * 1_000 };
    await using stack = new AsyncDisposableStack();
    const { clock } = context;
    const startMs = clock.nowMs();
    const world = await startWorld(context, stack, nodes);
    await world.daemons.untilCalm(calmly);
    const setupSeconds = { start: (clock.nowMs() - startMs) / 1_000 };
    const publish = await publishOneByOne(world, rounds);
    const deaths = await killInstances(world, stack, kills);
    const cold = await startCold(world, services, calmly);
    const lookUps = await lookUpAgain(world, "s0-0");
    return {
      conditions: { nodes, services, rounds, calm, sites: SITES.length, path: "127.0.0.1" },
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
async function untilResolved(
  clock: Clock,
  dns: DnsClient,
  name: string,
  { everyMs, ms } = { everyMs: ASK_EVERY_MS, ms: RESOLVE_MS },
): Promise<void> {
  const { promise: found, resolve } = Promise.withResolvers<true>();
  await withDeadline(clock, ms, `an address of ${name}`, async (signal) => {
    for (let isFound = false; !isFound; ) {
      dns.hasAddress(`${name}.${ZONE}`).then(
        (has) => (has ? resolve(true) : undefined),
        () => undefined, // it was not there for so long
      );
      isFound = await Promise.race([found, clock.sleep(everyMs, signal).then(() => false)]);
    }
  });
}

/** Publishes all, then starts the node that looks up anew, and waits until it resolves the last service of each node. */
async function startCold(world: World, services: number, calmly: Calm): Promise<Sample> {
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
  const calmSeconds = await daemons.untilCalm(calmly);
  progress(`calm after ${calmSeconds.toFixed(0)} s more`);
  const startMs = clock.nowMs();
  await daemons.up(seeker, ["--names", `${NAMES.host}:${NAMES.port}`]);
  const readySeconds = (clock.nowMs() - startMs) / 1_000;
  await Promise.all(last.map((name) => untilResolved(clock, dns, name, { everyMs: ASK_COLD_EVERY_MS, ms: COLD_MS })));
  const allSeconds = (clock.nowMs() - startMs) / 1_000;
  const { items } = await daemons.client(seeker).call("services.list", {});
  const known = items.filter(({ name, healthy }) => /^s\d/u.test(name) && healthy > 0).length;
  return { what: "cold", publishSeconds, calmSeconds, readySeconds, allSeconds, known };
}

/** Times of look-ups whose answer is known, in ms. */
async function lookUpAgain({ clock, daemons, seeker, dns }: World, name: string): Promise<Sample> {
  const timesOf = async (count: number, look: () => Promise<unknown>): Promise<number[]> => {
    const times: number[] = [];
    for (let i = 0; i < count; i++) {
      const startMs = clock.nowMs();
      await look();
      times.push(clock.nowMs() - startMs);
      await clock.sleep(LOOK_UP_PAUSE_MS);
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
