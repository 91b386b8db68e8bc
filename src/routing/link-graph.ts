import type { NodeId } from "#identity";

/** Cost of a directed link, by the node that it leads to. */
export type AdvertisedLinks = ReadonlyMap<NodeId, number>;
/** A directed link whose cost is another than before; `undefined`: there is none. Nodes by their numbers in the graph. */
export type LinkChange = { from: number; to: number; cost: number | undefined };

/**
 * Who can reach whom at which cost, as all nodes together tell. A link counts once both ends list it: what one end still
 * believes of a neighbour that has gone leads nowhere. Costs are directed, each told by the node that sends. Nodes are
 * numbered as they come up, so that path choice runs over arrays.
 */
export class LinkGraph {
  readonly #numbers = new Map<NodeId, number>();
  readonly #ids: NodeId[] = [];
  /** What each node lists, also of nodes that say nothing themselves: those get no number, so that nobody fills this with names. */
  readonly #listed: AdvertisedLinks[] = [];
  /** The links that count, from each node. */
  readonly #links: Map<number, number>[] = [];
  readonly #carries: boolean[] = [];

  /** Takes in what a node says of its links, in place of what it said before. `carries`: it passes on what is not for itself. */
  set(origin: NodeId, links: AdvertisedLinks, carries: boolean): LinkChange[] {
    const from = this.#add(origin);
    const before = this.#listed[from] ?? new Map();
    this.#listed[from] = links;
    const changes: LinkChange[] = [];
    for (const [peer, was] of before) {
      const cost = links.get(peer);
      if (cost === undefined) this.#settleBoth(from, peer, changes);
      else if (cost !== was) this.#reprice(from, peer, cost, changes);
    }
    for (const peer of links.keys()) if (!before.has(peer)) this.#settleBoth(from, peer, changes);
    if (this.#carries[from] !== carries) {
      this.#carries[from] = carries;
      for (const [to, cost] of this.#links[from] ?? []) changes.push({ from, to, cost }); // whether it is any use to others
    }
    return changes;
  }

  /** What a node lists as before has another cost: if it counts, it counts with that. */
  #reprice(from: number, peer: NodeId, cost: number, changes: LinkChange[]): void {
    const to = this.#numbers.get(peer);
    const links = this.#links[from];
    if (to === undefined || links?.has(to) !== true) return;
    links.set(to, cost);
    changes.push({ from, to, cost });
  }

  #settleBoth(from: number, peer: NodeId, changes: LinkChange[]): void {
    const to = this.#numbers.get(peer);
    if (to === undefined || to === from) return;
    this.#settle(from, to, changes);
    this.#settle(to, from, changes);
  }

  /** Makes the link from one node to the other what both say together. */
  #settle(from: number, to: number, changes: LinkChange[]): void {
    const isMutual = this.#listed[to]?.has(this.nodeAt(from)) === true;
    const cost = isMutual ? this.#listed[from]?.get(this.nodeAt(to)) : undefined;
    const links = this.#links[from];
    if (links === undefined || links.get(to) === cost) return;
    if (cost === undefined) links.delete(to);
    else links.set(to, cost);
    changes.push({ from, to, cost });
  }

  #add(node: NodeId): number {
    let number = this.#numbers.get(node);
    if (number === undefined) {
      number = this.#ids.length;
      this.#numbers.set(node, number);
      this.#ids.push(node);
      this.#listed.push(new Map());
      this.#links.push(new Map());
      this.#carries.push(false);
    }
    return number;
  }

  /** Nodes that ever told of their links. */
  get size(): number {
    return this.#ids.length;
  }

  numberOf(node: NodeId): number | undefined {
    return this.#numbers.get(node);
  }

  nodeAt(number: number): NodeId {
    return this.#ids[number] as NodeId;
  }

  /** The links that count, from this node, with their costs. */
  from(number: number): ReadonlyMap<number, number> {
    return this.#links[number] ?? new Map();
  }

  cost(from: number, to: number): number | undefined {
    return this.#links[from]?.get(to);
  }

  /** What a path costs; `undefined` when there is no such link, or a node between its ends does not carry. */
  costAlong(nodes: readonly NodeId[]): number | undefined {
    let cost = 0;
    for (const [i, node] of nodes.slice(1).entries()) {
      const [from, to] = [this.numberOf(nodes[i] ?? ""), this.numberOf(node)];
      if (from === undefined || to === undefined || (i > 0 && !this.carries(from))) return undefined;
      const link = this.cost(from, to);
      if (link === undefined) return undefined;
      cost += link;
    }
    return cost;
  }

  /** The nodes that a node can reach without some links, itself among them. */
  reached(from: number, isLeftOut: (from: number, to: number) => boolean): Set<number> {
    const reached = new Set([from]);
    for (const node of reached) {
      if (node !== from && !this.carries(node)) continue;
      for (const peer of this.from(node).keys()) if (!isLeftOut(node, peer)) reached.add(peer);
    }
    return reached;
  }

  carries(number: number): boolean {
    return this.#carries[number] ?? false;
  }
}
