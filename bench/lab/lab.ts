import { z } from "zod";
import type { Clock } from "#core";
import type { Child, ChildOptions } from "./child.ts";
import { Namespaces } from "./namespaces.ts";
import {
  DEFAULT_LAB,
  hasWan,
  type LabHost,
  type LabOptions,
  labHosts,
  lanScript,
  wanemuArguments,
  wanScript,
} from "./plan.ts";

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
 * Makes sites of hosts in network namespaces, with shaped links and emulated WANs. Needs root and the tools of `labNeeds`.
 *
 * Throws Fault `lab.command` when a step fails.
 */
export async function startLab(clock: Clock, partial: Partial<LabOptions> = {}): Promise<Lab> {
  const options: LabOptions = { ...DEFAULT_LAB, ...partial };
  const hosts = labHosts(options);
  await using stack = new AsyncDisposableStack();
  const namespaces = stack.use(await Namespaces.make(clock));

  await namespaces.shell(lanScript(options));
  const links: Child[] = [];
  for (let site = 1; hasWan(options) && site <= options.sites; site++)
    links.push(await namespaces.link(wanemuArguments(site, options.wan, site)));
  await namespaces.shell(wanScript(options));

  const congestionControl = await namespaces.shell(["ip netns exec h1-1 sysctl -n net.ipv4.tcp_congestion_control"]);
  const running = stack.move();
  return {
    options,
    hosts,
    congestionControl,
    start: (netns, argv, extra) => namespaces.start(netns, argv, extra),
    run: (netns, argv, ms) => namespaces.run(netns, argv, ms),
    counters: async (netns, device) =>
      readCounters(await namespaces.shell([`ip -n ${netns} -s -j link show dev ${device}`])),
    wanCounters: (site) => readWanCounters(links[site - 1]),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
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
