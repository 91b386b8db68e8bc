import { MinHeap } from "#core";
import type { NodeId } from "#identity";
import type { LinkChange, LinkGraph } from "./link-graph.ts";

/** A way from one node to another, both named; its cost is that of its links, each in the direction of the way. */
export type Path = { nodes: readonly NodeId[]; cost: number };

const NONE = -1;

/**
 * The cheapest path from one node to every other (Dijkstra 1959), kept up to date as links change: what hangs on a link that
 * became dearer or went is looked for anew from its surroundings, the rest stays (Ramalingam and Reps 1996). Nodes that do not carry
 * are only ends. Of paths that cost the same, the one that was there stays.
 */
export class PathTree {
  readonly #graph: LinkGraph;
  readonly #root: number;
  readonly #costs: number[] = [];
  readonly #parents: number[] = [];

  /** `root` must be in the graph. */
  constructor(graph: LinkGraph, root: number) {
    this.#graph = graph;
    this.#root = root;
    this.#grow();
    this.#costs[root] = 0;
    const heap = new MinHeap();
    heap.push(0, root);
    this.#spread(heap);
  }

  /** Follows the graph, which has changed so. Returns how many nodes were looked at. */
  update(changes: readonly LinkChange[]): number {
    this.#grow();
    const lost = this.#losing(changes);
    for (const node of lost) {
      this.#costs[node] = Number.POSITIVE_INFINITY;
      this.#parents[node] = NONE;
    }
    const heap = new MinHeap();
    for (const node of lost) this.#relaxInto(node, heap);
    for (const { from, to } of changes) this.#relax(from, to, heap);
    return lost.size + this.#spread(heap);
  }

  /** Nodes whose way leads over a link that is not what it was, or through one that carries no more. */
  #losing(changes: readonly LinkChange[]): Set<number> {
    const children = this.#children();
    const stack: number[] = [];
    for (const { from, to } of changes) {
      if (this.#parents[to] !== from) continue;
      const cost = this.#linkCost(from, to);
      if (cost === undefined || (this.#costs[from] ?? 0) + cost > (this.#costs[to] ?? 0)) stack.push(to);
    }
    const lost = new Set<number>();
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (lost.has(node)) continue;
      lost.add(node);
      stack.push(...(children.get(node) ?? []));
    }
    return lost;
  }

  #children(): Map<number, number[]> {
    const children = new Map<number, number[]>();
    for (const [node, parent] of this.#parents.entries()) {
      if (parent === NONE) continue;
      const list = children.get(parent);
      if (list === undefined) children.set(parent, [node]);
      else list.push(node);
    }
    return children;
  }

  /** Finds the best way to a node from those around it. */
  #relaxInto(node: number, heap: MinHeap): void {
    for (const from of this.#graph.from(node).keys()) this.#relax(from, node, heap); // links count in both directions or not at all
  }

  #relax(from: number, to: number, heap: MinHeap): void {
    const cost = this.#linkCost(from, to);
    if (cost === undefined || to === this.#root) return;
    const total = (this.#costs[from] ?? Number.POSITIVE_INFINITY) + cost;
    if (!(total < (this.#costs[to] ?? Number.POSITIVE_INFINITY))) return;
    this.#costs[to] = total;
    this.#parents[to] = from;
    heap.push(total, to);
  }

  /** What a link costs on a way from the root; `undefined` where there is none, or the node before it does not carry. */
  #linkCost(from: number, to: number): number | undefined {
    return from === this.#root || this.#graph.carries(from) ? this.#graph.cost(from, to) : undefined;
  }

  #spread(heap: MinHeap): number {
    let looked = 0;
    for (let next = heap.pop(); next !== undefined; next = heap.pop()) {
      if (next.key > (this.#costs[next.value] ?? 0)) continue; // a better way was found meanwhile
      looked += 1;
      for (const to of this.#graph.from(next.value).keys()) this.#relax(next.value, to, heap);
    }
    return looked;
  }

  #grow(): void {
    for (let node = this.#costs.length; node < this.#graph.size; node++) {
      this.#costs.push(Number.POSITIVE_INFINITY);
      this.#parents.push(NONE);
    }
  }

  /** The root, and the nodes to which there is a path. */
  *reached(): Generator<NodeId> {
    for (const [number, cost] of this.#costs.entries()) {
      if (cost !== Number.POSITIVE_INFINITY) yield this.#graph.nodeAt(number);
    }
  }

  /** What the cheapest path to a node costs; `Infinity` where there is none. */
  costTo(node: NodeId): number {
    return this.#costs[this.#graph.numberOf(node) ?? NONE] ?? Number.POSITIVE_INFINITY;
  }

  /** The cheapest path to a node; `undefined` where there is none. */
  to(node: NodeId): Path | undefined {
    const number = this.#graph.numberOf(node);
    const cost = this.costTo(node);
    if (number === undefined || cost === Number.POSITIVE_INFINITY) return undefined;
    const nodes: NodeId[] = [];
    for (let at = number; at !== NONE; at = this.#parents[at] ?? NONE) nodes.push(this.#graph.nodeAt(at));
    return { nodes: nodes.toReversed(), cost };
  }
}
