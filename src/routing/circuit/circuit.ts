import type { Clock, Ed25519Key, Log, Random } from "#core";
import type { NodeId } from "#identity";
import type { CarriedHost } from "#mesh";
import type { StepDeps } from "./leg.ts";
import type { CircuitPath } from "./order-paths.ts";

/** How long a circuit without a path is kept. A user's connection sees a pause for so long, then a reset. */
export const HOLD_MS = 30_000;

export type CircuitsDeps = StepDeps & {
  host: CarriedHost;
  clock: Clock;
  random: Random;
  log: Log;
  key: Ed25519Key;
  fleet: () => string | undefined;
  /** The fleet's time, in Unix milliseconds. */
  trustedMs: () => number;
  isMember: (node: NodeId) => boolean;
  /** Whether a node is a member of this node's own site; this node is. */
  isNear: (node: NodeId) => boolean;
  /** Whether this node passes on what is not for itself, by now. */
  transit: () => boolean;
  /** Ways to a node, cheapest first; those behind the first are worked out when they are asked for. */
  pathsTo: (node: NodeId) => Iterable<CircuitPath>;
  /** `undefined` when a link of it is gone, as far as this node has heard. */
  costAlong: (path: CircuitPath) => number | undefined;
};

/** A circuit that begins or ends here. `path` is known at its source. */
export type CircuitState = {
  peer: NodeId;
  role: "source" | "target";
  path: CircuitPath | undefined;
  /** How often it went another way. */
  moves: number;
  isAttached: boolean;
  rttMs: number;
  bytesIn: number;
  bytesOut: number;
};
