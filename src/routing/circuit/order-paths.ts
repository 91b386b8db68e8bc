import type { NodeId } from "#identity";

/** The nodes of a path behind its source: gateways, then the target. */
export type CircuitPath = readonly NodeId[];

/** In which order to try ways to a node: the cheapest first, but one that just failed last. */
export function orderPaths(known: Iterable<CircuitPath>, failed: CircuitPath | undefined): CircuitPath[] {
  const unique = [...new Map([...known].map((path) => [path.join(), path])).values()];
  const isFailed = (path: CircuitPath): boolean => path.join() === failed?.join();
  return [...unique.filter((path) => !isFailed(path)), ...unique.filter(isFailed)];
}
