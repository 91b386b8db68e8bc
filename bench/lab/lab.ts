import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import type { Clock } from "#core";
import { Child, type ChildOptions, run } from "./child.ts";
import {
  DEFAULT_LAB,
  gatewayOf,
  hasWan,
  type LabHost,
  type LabOptions,
  labHosts,
  lanScript,
  wanemuArguments,
  wanScript,
} from "./plan.ts";

/** Setting up forty hosts takes under 3 s on two cores; a hung command should not hang the run. */
const SETUP_MS = 60_000;
const COMMAND_MS = 10_000;

/** What one network device has carried since it was made, seen from its namespace; Ethernet headers counted. */
export type DeviceCounters = { rxBytes: number; rxPackets: number; txBytes: number; txPackets: number };

const WanDirection = z.object({ packets: z.number(), bytes: z.number(), queueDrops: z.number(), losses: z.number() });
const WanemuCounters = z.object({ aToB: WanDirection, bToA: WanDirection });

/** Frames that the WAN link of a site has passed and dropped; `up` leaves the site. */
export type WanCounters = Record<"up" | "down", z.infer<typeof WanDirection>>;

/** A running lab. Dispose of it to end everything that runs in it. */
export interface Lab extends AsyncDisposable {
  readonly options: LabOptions;
  readonly hosts: readonly LabHost[];
  /** TCP congestion control inside the namespaces: the machine's default. */
  readonly congestionControl: string;
  /** Starts a command on a host; it ends with the lab. */
  start(netns: string, argv: readonly string[], options?: ChildOptions): Child;
  /** Runs a command on a host to its end; returns its stdout. */
  run(netns: string, argv: readonly string[], ms: number): Promise<string>;
  /** Counters of a device, say `eth0` of `h1-2` or `wan0` of `gw1`. */
  counters(netns: string, device: string): Promise<DeviceCounters>;
  /** What wanemu says of a site's access link. */
  wanCounters(site: number): Promise<WanCounters>;
}

/**
 * Makes sites of hosts in network namespaces, with shaped links and emulated WANs. Names live in a mount namespace that
 * only a helper process holds: runs side by side do not see each other, and when this process ends in whatever way, the
 * kernel ends the helper and takes all of it down. Needs root and the tools of `labNeeds`.
 *
 * Throws Fault `lab.command` when a step fails.
 */
export async function startLab(clock: Clock, partial: Partial<LabOptions> = {}): Promise<Lab> {
  const options: LabOptions = { ...DEFAULT_LAB, ...partial };
  const hosts = labHosts(options);
  await using stack = new AsyncDisposableStack();
  const holder = stack.use(new Child(clock, ["unshare", "--mount", "--propagation", "private", "sh", "-ec", HOLDER]));
  await holder.line("the lab's mount namespace", COMMAND_MS, (line) => line === "ready");
  const mountns = `/proc/${holder.pid}/ns/mnt`;
  const inLab = (lines: string[]): Promise<string> =>
    run(clock, SETUP_MS, ["sh", "-e"], { mountns, input: lines.join("\n") });

  await inLab(lanScript(options));
  const links = hasWan(options) ? await startWan(clock, stack, mountns, options) : [];
  await inLab(wanScript(options));

  const congestionControl = await inLab(["ip netns exec h1-1 sysctl -n net.ipv4.tcp_congestion_control"]);
  const running = stack.move();
  const netnsPath = (netns: string): string => `/proc/${holder.pid}/root/run/netns/${netns}`;
  return {
    options,
    hosts,
    congestionControl,
    start: (netns, argv, extra = {}) => running.use(new Child(clock, argv, { ...extra, netns: netnsPath(netns) })),
    run: (netns, argv, ms) => run(clock, ms, argv, { netns: netnsPath(netns) }),
    counters: async (netns, device) => readCounters(await inLab([`ip -n ${netns} -s -j link show dev ${device}`])),
    wanCounters: (site) => readWanCounters(links[site - 1]),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Holds the mount namespace until its stdin ends, with this process at the latest. */
const HOLDER = "mkdir -p /run/netns; mount -t tmpfs lab /run/netns; echo ready; exec cat >&2";

async function startWan(
  clock: Clock,
  stack: AsyncDisposableStack,
  mountns: string,
  options: LabOptions,
): Promise<Child[]> {
  const directory = await mkdtemp(join(tmpdir(), "wanemu-"));
  const binary = join(directory, "wanemu");
  stack.defer(() => rm(directory, { recursive: true }));
  await run(clock, SETUP_MS, ["gcc", "-O2", "-o", binary, join(import.meta.dirname, "wanemu.c")]);
  const links: Child[] = [];
  for (let site = 1; site <= options.sites; site++) {
    const argv = [binary, ...wanemuArguments(site, options.wan, site)];
    const link = stack.use(new Child(clock, argv, { mountns }));
    await link.line(`the WAN link of ${gatewayOf(site)}`, COMMAND_MS, (line) => line === "ready");
    links.push(link);
  }
  return links;
}

const LinkStatistics = z.object({ bytes: z.number(), packets: z.number() });
const LinkShow = z.tuple([z.object({ stats64: z.object({ rx: LinkStatistics, tx: LinkStatistics }) })]);

function readCounters(json: string): DeviceCounters {
  const { rx, tx } = LinkShow.parse(JSON.parse(json))[0].stats64;
  return { rxBytes: rx.bytes, rxPackets: rx.packets, txBytes: tx.bytes, txPackets: tx.packets };
}

async function readWanCounters(link: Child | undefined): Promise<WanCounters> {
  if (link === undefined) throw new RangeError("that site has no WAN link");
  link.signal("SIGUSR1");
  const line = await link.line("WAN counters", COMMAND_MS, (text) => text.startsWith("{"));
  const { aToB, bToA } = WanemuCounters.parse(JSON.parse(line));
  return { up: bToA, down: aToB };
}
