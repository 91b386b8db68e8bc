import { atLeast, atMost, type Bar, median, type Sample } from "./bench.ts";
import { exportSeconds, fanOutSeconds, wanSeconds } from "./fluid.ts";
import { type LabHost, type LabOptions, outsideOf } from "./lab/index.ts";
import type { Arrival, Place, StartFleet } from "./fleet.ts";
import { startPortolan, startPortolanLosingLeader } from "./portolan.ts";
import type { Traffic } from "./traffic.ts";

const PORT = 4001;
const LAN_BPS = 50e6;
const WAN_HOST_BPS = 100e6;
const WAN_BPS = 20e6;
const SITES = 3;
/** Twice across two access links of this delay is 60 ms from site to site and back. */
const WAN = { rateBps: WAN_BPS, delayMs: 15, jitterMs: 0, queueBytes: 256 * 1024, lossRatio: 0 };
const THREE_SITES = { sites: SITES, hostsPerSite: 4, hostUpBps: WAN_HOST_BPS, hostDownBps: WAN_HOST_BPS, wan: WAN };

export type ScenarioName = "lan" | "wan" | "leader" | "nat";

/** One network, one file that its first host brings to all others, and what that is held to. */
export type Scenario = {
  name: ScenarioName;
  title: string;
  lab: Partial<LabOptions>;
  mib: number;
  boundSeconds: number;
  start: StartFleet;
  /** Whether other programs are run in it, too. */
  compared: boolean;
  placeOf: (host: LabHost) => Place;
  barsOf: (runs: readonly FanOutSample[]) => Bar[];
};

/** One distribution. `receivers`: without times for one that was killed. */
export type FanOutSample = Sample & {
  scenario: string;
  peer: string;
  lastSeconds: number;
  lastRatio: number;
  receivers: ({ host: string; site: string } & Partial<Arrival>)[];
  hosts: Traffic[];
  wan: Traffic[];
};

/** All scenarios with files of these sizes. */
export function scenariosOf({ lanmib, wanmib }: { lanmib: number; wanmib: number }): Scenario[] {
  return [lan(lanmib), wan(wanmib), leader(wanmib), nat(wanmib)];
}

const placeOf = ({ netns, address, site }: LabHost): Place => ({ netns, address, port: PORT, site: `site-${site}` });

const lan = (mib: number): Scenario => ({
  name: "lan",
  title: "1 → 8 at 50 Mbit/s",
  lab: { sites: 1, hostsPerSite: 9, hostUpBps: LAN_BPS, hostDownBps: LAN_BPS },
  mib,
  boundSeconds: fanOutSeconds(mib * 2 ** 20, 8, { upBps: LAN_BPS, downBps: LAN_BPS }),
  start: startPortolan,
  compared: true,
  placeOf,
  barsOf: (runs) => [lastBar(1.1, runs)],
});

const wan = (mib: number): Scenario => ({
  name: "wan",
  title: "3 sites × 4 over 20 Mbit/s",
  lab: THREE_SITES,
  mib,
  boundSeconds: wanSeconds(mib * 2 ** 20, SITES, WAN_BPS),
  start: startPortolan,
  compared: true,
  placeOf,
  barsOf: (runs) => [wireBar(1.08, runs), payloadBar(1.02, mib, runs), lastBar(1.15, runs)],
});

const leader = (mib: number): Scenario => ({
  ...wan(mib),
  name: "leader",
  title: "3 × 4, the leader of site 2 killed half way",
  start: startPortolanLosingLeader("site-2"),
  compared: false,
  barsOf: (runs) => [wireBar(1.12, runs), completeBar(10, runs)],
});

/** Nobody gets in anywhere but through one forwarded port of the first site, so that its uplink carries every copy. */
const nat = (mib: number): Scenario => ({
  ...wan(mib),
  name: "nat",
  title: "3 × 4 behind NAT, one port of site 1 forwarded",
  lab: { ...THREE_SITES, natSites: [1, 2, 3], forwards: [{ site: 1, index: 1, port: PORT }] },
  boundSeconds: exportSeconds(mib * 2 ** 20, SITES, WAN_BPS),
  placeOf: (host) =>
    host.site === 1 && host.index === 1 ? { ...placeOf(host), outside: outsideOf(1) } : placeOf(host),
  barsOf: (runs) => [completeBar(11, runs), lastBar(1.2, runs)],
});

const lastBar = (limit: number, runs: readonly FanOutSample[]): Bar =>
  atMost("last receiver ÷ bound, median", limit, median(runs.map(({ lastRatio }) => lastRatio)));

/** Of the sites that have to get the file over their WAN link. */
const wireBar = (limit: number, runs: readonly FanOutSample[]): Bar =>
  atMost(
    "copies on the wire into another site, worst",
    limit,
    Math.max(...runs.flatMap((run) => run.wan.slice(1).map(({ copiesIn }) => copiesIn))),
  );

const payloadBar = (limit: number, mib: number, runs: readonly FanOutSample[]): Bar => {
  const payloads = runs.flatMap(({ receivers }) => {
    const elsewhere = receivers.filter(({ site }) => site !== "site-1");
    const sites = Map.groupBy(elsewhere, ({ site }) => site);
    return [...sites.values()].map((members) => members.reduce((sum, { payload }) => sum + wanBytes(payload), 0));
  });
  return atMost("copies of payload into another site, worst", limit, Math.max(...payloads) / (mib * 2 ** 20));
};

const wanBytes = (payload: Arrival["payload"]): number => payload?.bytesFromWan ?? Number.NaN;

const completeBar = (receivers: number, runs: readonly FanOutSample[]): Bar => {
  const complete = runs.map((run) => run.receivers.filter(({ durableSeconds }) => durableSeconds !== undefined).length);
  return atLeast("complete receivers, fewest", receivers, Math.min(...complete));
};
