import { MinHeap } from "#core";
import type { NodeId } from "#identity";
import type { LinkGraph } from "./link-graph.ts";
import type { Path } from "./path-tree.ts";

/**
 * More than any path costs, of some thousand links at 4,000,000 each: what is shared with the other path counts before what it costs. As often as a path
 * may share, the sum stays exact.
 */
const SHARED = 2 ** 40;

/**
 * The path to take when the other one fails: of those that share the fewest nodes and links with it, the cheapest, so that no single failure
 * between the ends takes both where that can be. `undefined` where there is only the one. `ends`: where it may end, when that is not the node itself but
 * any that leads to it; then the last node of the path is one that may fail.
 */
export function backupPath(graph: LinkGraph, path: Path, ends?: readonly NodeId[]): Path | undefined {
  const numbers = path.nodes.flatMap((node) => graph.numberOf(node) ?? []);
  const [from, to] = [numbers[0], numbers.at(-1)];
  if (from === undefined || to === undefined || numbers.length < 2 || numbers.length < path.nodes.length)
    return undefined;
  const through = new Set(ends === undefined ? numbers.slice(1, -1) : numbers.slice(1));
  const wanted = new Set(ends === undefined ? [to] : ends.flatMap((end) => graph.numberOf(end) ?? []));
  const next = new Map(numbers.slice(0, -1).map((node, i) => [node, numbers[i + 1]]));
  const best = cheapest(
    graph,
    from,
    wanted,
    (a, b) => (through.has(b) ? SHARED : 0) + (next.get(a) === b ? SHARED : 0),
  );
  return best === undefined || isSame(best, numbers) ? undefined : toPath(graph, best);
}

/** Dijkstra from one node to the first of some, with more cost for some links. */
function cheapest(
  graph: LinkGraph,
  from: number,
  ends: ReadonlySet<number>,
  extra: (from: number, to: number) => number,
): number[] | undefined {
  const costs = new Map([[from, 0]]);
  const parents = new Map<number, number>();
  const heap = new MinHeap();
  heap.push(0, from);
  for (let at = heap.pop(); at !== undefined; at = heap.pop()) {
    const { key, value: node } = at;
    if (ends.has(node)) return traceBack(parents, node);
    if (key > (costs.get(node) ?? 0) || (node !== from && !graph.carries(node))) continue;
    for (const [peer, cost] of graph.from(node)) {
      const total = key + cost + extra(node, peer);
      if (total >= (costs.get(peer) ?? Number.POSITIVE_INFINITY)) continue;
      costs.set(peer, total);
      parents.set(peer, node);
      heap.push(total, peer);
    }
  }
  return undefined;
}

function traceBack(parents: ReadonlyMap<number, number>, end: number): number[] {
  const nodes = [end];
  for (let at = parents.get(end); at !== undefined; at = parents.get(at)) nodes.push(at);
  return nodes.toReversed();
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((node, i) => node === b[i]);
}

function toPath(graph: LinkGraph, numbers: readonly number[]): Path {
  const cost = numbers.slice(1).reduce((sum, to, i) => sum + (graph.cost(numbers[i] ?? 0, to) ?? 0), 0);
  return { nodes: numbers.map((number) => graph.nodeAt(number)), cost };
}
