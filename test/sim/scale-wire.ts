import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Random } from "#core";

/** Neighbours that a node looks for in all (src/mesh/neighbours.ts). */
export const WANTED = 16;
/** One way, within a site and between two, ms. */
export const DELAY_MS = { near: 1, far: 30, farthest: 60 };
/** What a message takes on the wire beside its body: IP and TCP with timestamps 52, a TLS record 22, yamux 12, the frame's head 12; and half an acknowledgement. */
export const OVERHEAD_BYTES = 98 + 26;

const MIB = 2 ** 20;

export const oneOf = <T>(random: Random, list: readonly T[]): T => list[random.below(list.length)] as T;

/** What is in use after all that is not was collected. */
export function heapMib(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed / MIB;
}
