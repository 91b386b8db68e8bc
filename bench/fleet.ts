import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { type Clock, Fault } from "#core";
import { Child, type ChildOptions } from "./lab/index.ts";

/**
 * Where a peer runs: a host of the lab, or this machine when there is no `netns`. `outside`: where other sites reach it, if not there. `hidden`:
 * nobody can dial it.
 */
export type Place = {
  netns?: string;
  address: string;
  outside?: string;
  port: number;
  site: string;
  hidden?: boolean;
};

/** Starts a command at a place; it ends with the fleet. */
export type StartAt = (place: Place, argv: readonly string[], options?: ChildOptions) => Child;

/** What each kind of fleet is started with. */
export type FleetDeps = { clock: Clock; startAt: StartAt };

export type FleetOptions = {
  /** The first place holds the file, the others get it. */
  places: readonly [Place, ...Place[]];
  /** The file to bring to all; nothing else lies in its directory. */
  file: string;
  /** For the fleet's own files. */
  directory: string;
};

/** Seconds from the order until a receiver had verified the whole file, and until the file was on its disk, too. */
export type Arrival = {
  verifiedSeconds: number;
  durableSeconds: number;
  /** Content that it received from its own site and from others, by its own account. */
  payload?: { bytesFromSite: number; bytesFromWan: number };
};

/** Peers of one kind, joined and ready to bring one file from the first of them to all others. */
export interface Fleet extends AsyncDisposable {
  /** What it took to get here; not part of any measured time. */
  readonly setupSeconds: Readonly<Record<string, number>>;
  /** Their processes, in the order of the places. */
  readonly processes: readonly Child[];
  /** Starts all receivers at once; resolves with when each had the whole file, in order; `undefined` for one that was killed. */
  distribute(deadlineMs: number): Promise<(Arrival | undefined)[]>;
  /** Paths of the copies, for comparing. */
  copies(): Promise<string[]>;
}

export type StartFleet = (deps: FleetDeps, options: FleetOptions) => Promise<Fleet>;

/** Runs a command on this machine for a place without a namespace; `env` is added to its environment. */
export const startLocally =
  (clock: Clock, env: Readonly<Record<string, string>> = {}): StartAt =>
  (_place, argv, options) =>
    new Child(clock, argv, { ...options, env: { ...env, ...options?.env } });

/** CPU seconds that the processes have used so far, in order. */
export function cpuSeconds(fleet: Fleet): Promise<number[]> {
  return Promise.all(fleet.processes.map((process) => process.cpuSeconds()));
}

/** Throws Fault `bench.copy-differs` unless every copy has this SHA-256 (hex). */
export async function compareCopies(fleet: Fleet, sha256: string): Promise<void> {
  for (const path of await fleet.copies()) {
    const hash = createHash("sha256");
    await pipeline(createReadStream(path), hash);
    if (hash.digest("hex") !== sha256) throw new Fault("bench.copy-differs", `${path} differs from the source`);
  }
}

/** Seconds that a step takes, and what it resolves with. */
export async function timed<T>(clock: Clock, step: () => Promise<T>): Promise<{ seconds: number; result: T }> {
  const startMs = clock.nowMs();
  const result = await step();
  return { seconds: (clock.nowMs() - startMs) / 1000, result };
}
