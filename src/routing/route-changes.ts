import type { NodeId } from "#identity";
import type { LinkGraph } from "./link-graph.ts";
import { type Path, PathTree } from "./path-tree.ts";

/** A way from one node to another in two graphs; `undefined`: there is none. */
export type RouteChange = { from: NodeId; to: NodeId; before: Path | undefined; after: Path | undefined };

/** What becomes other in the ways from one node when one graph takes the place of the other. Of ways that cost the same, the one that was there stays. */
export function routeChanges(before: LinkGraph, after: LinkGraph, from: NodeId): RouteChange[] {
  const [was, is] = [treeFrom(before, from), treeFrom(after, from)];
  return nodesOf(before).flatMap((to) => {
    const change = { from, to, before: was?.to(to), after: is?.to(to) };
    return to === from || isSame(change, after) ? [] : [change];
  });
}

/** Every node of a graph. */
export function nodesOf(graph: LinkGraph): NodeId[] {
  return Array.from({ length: graph.size }, (_, number) => graph.nodeAt(number));
}

function treeFrom(graph: LinkGraph, node: NodeId): PathTree | undefined {
  const root = graph.numberOf(node);
  return root === undefined ? undefined : new PathTree(graph, root);
}

function isSame({ before, after }: RouteChange, graph: LinkGraph): boolean {
  if (before?.cost !== after?.cost) return false;
  return before === undefined || graph.costAlong(before.nodes) === after?.cost;
}
