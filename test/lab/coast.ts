import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "#core";
import { Daemons } from "../../bench/daemons.ts";
import type { Place, StartAt } from "../../bench/fleet.ts";
import { type Lab, startLab, type WanOptions } from "../../bench/lab/index.ts";

const gate = (index: number): Place & { netns: string } => ({
  netns: `h3-${index}`,
  address: `10.3.0.${10 + index}`,
  port: 4001,
  site: "harbour",
});
const behindNat = (netns: string, site: string): Place & { netns: string } => ({
  netns,
  address: "",
  port: 0,
  site,
  hidden: true,
});
/** Sites 1 and 2 are behind NAT; the gateways in site 3 are all that their nodes can reach of each other. */
export const PLACES = {
  "gate-1": gate(1),
  "gate-2": gate(2),
  cam: behindNat("h1-1", "cam"),
  pump: behindNat("h2-1", "pump"),
};
/** Links of those behind NAT, when all are up. */
export const LINKED = { cam: 2, pump: 2 };
/** 200 Mbit/s each way, and 10 ms, at each site. */
const WAN = { rateBps: 200e6, delayMs: 10, jitterMs: 0, queueBytes: 1024 * 1024, lossRatio: 0 };

/** Four daemons in three sites of a lab, and a folder for what a test writes. */
export type Coast = { lab: Lab; fleet: Daemons<keyof typeof PLACES>; folder: string };

/** Starts one, which ends with the stack; resolves when all are members and linked. `worse`: how each site's link differs from a good one. */
export async function startCoast(
  clock: Clock,
  stack: AsyncDisposableStack,
  worse: Partial<WanOptions> = {},
): Promise<Coast> {
  const wan = { ...WAN, ...worse };
  const lab = stack.use(await startLab(clock, { sites: 3, hostsPerSite: 2, natSites: [1, 2], wan }));
  const folder = mkdtempSync(join(tmpdir(), "coast-"));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  const startAt: StartAt = ({ netns = "" }, argv, options) => lab.start(netns, argv, options);
  const fleet = stack.use(new Daemons({ clock, startAt }, join(folder, "fleet"), PLACES));
  await fleet.fleet();
  await fleet.untilLinked(LINKED);
  return { lab, fleet, folder };
}
