import type { NodeId } from "#identity";

/** The nodes of a path behind its source: gateways, then the target. */
export type CircuitPath = readonly NodeId[];

/**
 * In which order to try ways to a node: the cheapest first, but those over gateways of one that just failed later, as it is likely one of them
 * that is gone, and that one last.
 */
export function orderPaths(known: Iterable<CircuitPath>, failed: CircuitPath | undefined): CircuitPath[] {
  const unique = [...new Map([...known].map((path) => [path.join(), path])).values()];
  const doubtful = new Set(failed?.slice(0, -1));
  const doubt = (path: CircuitPath): number =>
    path.join() === failed?.join() ? Number.POSITIVE_INFINITY : path.filter((node) => doubtful.has(node)).length;
  return unique.toSorted((a, b) => compare(doubt(a), doubt(b)));
}

/** By difference, where infinities are equal. */
function compare(a: number, b: number): number {
  return a === b ? 0 : a - b;
}
