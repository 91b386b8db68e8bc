import { SeededRandom } from "#core";
import { atLeast, atMost } from "../../bench/bench.ts";
import { VirtualFleet, type VirtualNode } from "../support/virtual-fleet.ts";
import type { Outcome, Scenario } from "./scenario.ts";

const MIB = 1024 * 1024;
/** Everybody comes at once: the registrar and the strangers' places are shared. */
const JOIN_MS = 300_000;
/** What docs/spec/hello.md promises once silence was noticed, and what notices it. */
const WHOLE_MS = 30_000;
const NOTICE_MS = 5_000;
/** Documents and an artifact of 1 MiB, to everybody, also to those who were away. */
const SPREAD_MS = 120_000;
/** The bound of neighbours; those that have nobody else come on top. */
const MOST_NEIGHBOURS = 40;

/** A day in a fleet's life, as fast as it can be worked out. */
async function live(siteSizes: readonly number[], seed: number): Promise<Outcome> {
  await using fleet = new VirtualFleet(siteSizes, seed);
  const random = new SeededRandom(seed);
  const seconds: Record<string, number> = {};
  let degree = 0;
  const until = async (what: string, mostMs: number, holds: () => boolean): Promise<void> => {
    const look = (): boolean => {
      degree = Math.max(degree, ...degreesOf(fleet));
      return holds();
    };
    seconds[what] = (await fleet.untilMs(mostMs, look)) / 1_000;
  };
  await fleet.found();
  for (const node of fleet.nodes.slice(1)) await fleet.start(node);
  await until("joined", JOIN_MS, () => fleet.alive.every(isMember));
  await until("equal", SPREAD_MS, () => isEqual(fleet));
  await until("whole", WHOLE_MS, () => piecesOf(fleet) === 1);
  await fleet.publish("model:v1", random.bytes(MIB));
  await until("everywhere", SPREAD_MS, () => fleet.alive.every((node) => hasAll(node, 1)));
  const [, ...others] = fleet.nodes;
  const away = others.filter((node) => node.name.endsWith("-0") || random.unit() < 1 / 3);
  for (const node of away) await fleet.kill(node);
  await fleet.publish("model:v2", random.bytes(MIB));
  await fleet.advanceMs(NOTICE_MS);
  await until("wholeWithoutThem", WHOLE_MS, () => piecesOf(fleet) === 1);
  await until("everywhereWithoutThem", SPREAD_MS, () => fleet.alive.every((node) => hasAll(node, 2)));
  for (const node of away) await fleet.start(node);
  await until("wholeAgain", WHOLE_MS, () => piecesOf(fleet) === 1);
  await until("equalAgain", SPREAD_MS, () => isEqual(fleet));
  await until("everywhereAgain", SPREAD_MS, () => fleet.alive.every((node) => hasAll(node, 2)));
  const degrees = degreesOf(fleet);
  const figures = {
    nodes: fleet.nodes.length,
    away: away.length,
    ...seconds,
    maxDegree: degree,
    meanDegree: degrees.reduce((sum, one) => sum + one, 0) / degrees.length,
    hellos: fleet.network.counts.hellos,
    mibPerNode: process.memoryUsage().rss / MIB / fleet.nodes.length,
  };
  return {
    figures,
    bars: [
      atLeast("nodes that came through", fleet.nodes.length, fleet.alive.length),
      atMost("most neighbours of a node", MOST_NEIGHBOURS, degree),
      ...Object.entries(seconds).map(([what, s]) => atMost(`${what}, virtual seconds`, JOIN_MS / 1_000, s)),
    ],
  };
}

function isMember({ life }: VirtualNode): boolean {
  const state = life?.node.state;
  return state !== undefined && state.members.of(state.data.key.nodeId) !== undefined;
}

/** Whether so many artifacts are complete here, or were published here. */
function hasAll({ life }: VirtualNode, count: number): boolean {
  return (life?.node.copies.allOwn() ?? []).filter(({ state }) => state === "complete").length === count;
}

function isEqual({ alive }: VirtualFleet): boolean {
  return (
    new Set(alive.map(({ life }) => Buffer.from(life?.node.state.store.digest() ?? []).toString("hex"))).size === 1
  );
}

function degreesOf({ alive }: VirtualFleet): number[] {
  return alive.map(({ life }) => life?.host.sessions().length ?? 0);
}

/** Connected parts of the mesh of those that live. */
function piecesOf({ alive }: VirtualFleet): number {
  const hosts = new Map(alive.flatMap(({ life }) => (life === undefined ? [] : [[life.host.nodeId, life.host]])));
  const left = new Set(hosts.keys());
  let pieces = 0;
  for (const first of left) {
    pieces += 1;
    left.delete(first);
    const reached = [first];
    for (const id of reached) {
      for (const { nodeId } of hosts.get(id)?.sessions() ?? []) if (left.delete(nodeId)) reached.push(nodeId);
    }
  }
  return pieces;
}

const scenario = (nodes: number, siteSizes: readonly number[], long: boolean): Scenario => ({
  name: `fleet/${nodes}`,
  claim: `${nodes} daemons over hosts in memory join, keep neighbours and bring an artifact to all, also while a third is away.`,
  long,
  run: (seed) => live(siteSizes, seed),
});

/**
 * The product's own daemons on virtual time: join, hello, neighbours, replication, placements and swarms. Their disks are real, so that
 * two runs of one seed may differ in the order of writes.
 */
export const FLEET_SCENARIOS: readonly Scenario[] = [
  scenario(30, [12, 10, 6, 1, 1], false),
  scenario(100, [30, 30, 20, 10, 5, 2, 1, 1, 1], true),
  scenario(300, [80, 60, 50, 40, 30, 20, 10, 5, 2, 1, 1, 1], true),
];
