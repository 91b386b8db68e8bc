import type { Random } from "#core";
import type { NodeId } from "#identity";

/** Feeds that a node picks in its own site, and in others; where one share lacks neighbours, the other makes up for it. */
const WANTED_HERE = 2;
const WANTED_ELSEWHERE = 1;
/** Up to so many neighbours are all picked: where there are few, some nodes would often pick just each other, and hear nothing for half a minute. */
const FEW = 6;

type Neighbour = { nodeId: NodeId; site: string };
/** The neighbours of the own site, or of all others. */
type Share = { wanted: number; picked: NodeId[]; free: NodeId[] };
/** Neighbours to tell that they are feeds now, or are not any more. */
export type FeedChange = { picked: NodeId[]; dropped: NodeId[] };

/**
 * Those neighbours with which a node exchanges statements as they come, in both directions: three that it picks (all where there are
 * few), and all that picked it. Where each picks two or more at random, all hang together by such links (Fenner and Frieze 1982), so that what goes over them
 * alone reaches everybody. No I/O.
 */
export class Feeds {
  readonly #random: Random;
  /** At most as many as are wanted in all. */
  readonly #picked = new Set<NodeId>();
  /** At most as many as there are sessions. */
  readonly #pickedUs = new Set<NodeId>();

  constructor(random: Random) {
    this.#random = random;
  }

  all(): Set<NodeId> {
    return this.#picked.union(this.#pickedUs);
  }

  hasPicked(peer: NodeId): boolean {
    return this.#picked.has(peer);
  }

  /** A neighbour picked this node, or did so no longer. */
  pickedBy(peer: NodeId, feed: boolean): void {
    if (feed) this.#pickedUs.add(peer);
    else this.#pickedUs.delete(peer);
  }

  down(peer: NodeId): void {
    this.#picked.delete(peer);
    this.#pickedUs.delete(peer);
  }

  /** Picks those that are wanting; a share that has too many gives way to one that has too few. `site`: the own one. */
  fill(neighbours: readonly Neighbour[], site: string | undefined): FeedChange {
    const change: FeedChange = { picked: [], dropped: [] };
    const [here, elsewhere] = this.#shares(neighbours, site);
    const wanted = neighbours.length <= FEW ? neighbours.length : WANTED_HERE + WANTED_ELSEWHERE;
    const isFull = (): boolean => this.#picked.size >= wanted;
    for (const share of [here, elsewhere]) {
      while (this.#picked.size > wanted && share.picked.length > share.wanted) change.dropped.push(this.#drop(share));
    }
    for (const [share, other] of [[here, elsewhere] as const, [elsewhere, here] as const]) {
      while (share.picked.length < share.wanted && share.free.length > 0) {
        if (isFull()) change.dropped.push(this.#drop(other));
        change.picked.push(this.#pick(share));
      }
    }
    for (const share of [here, elsewhere]) {
      while (!isFull() && share.free.length > 0) change.picked.push(this.#pick(share));
    }
    return change;
  }

  /**
   * Another neighbour takes the place of one that was picked, where there is one: so parts of a mesh that were cut off from each other
   * and have found all their feeds meanwhile grow together, and nobody stays behind neighbours that pass nothing on.
   */
  turn(neighbours: readonly Neighbour[], site: string | undefined): FeedChange {
    const shares = this.#shares(neighbours, site);
    const spare = shares.filter(({ free }) => free.length > 0).flatMap(({ picked }) => picked);
    const victim = spare[this.#random.below(spare.length)];
    const share = shares.find(({ picked }) => victim !== undefined && picked.includes(victim));
    if (victim === undefined || share === undefined) return { picked: [], dropped: [] };
    this.#picked.delete(victim);
    return { picked: [this.#pick(share)], dropped: [victim] };
  }

  /** One of those that were picked, at random. */
  any(): NodeId | undefined {
    return [...this.#picked][this.#random.below(this.#picked.size)];
  }

  #shares(neighbours: readonly Neighbour[], site: string | undefined): [here: Share, elsewhere: Share] {
    const share = (wanted: number, all: readonly Neighbour[]): Share => {
      const ids = all.map(({ nodeId }) => nodeId);
      const [picked, free] = [ids.filter((id) => this.#picked.has(id)), ids.filter((id) => !this.#picked.has(id))];
      return { wanted, picked, free };
    };
    const isHere = (neighbour: Neighbour): boolean => site === undefined || neighbour.site === site;
    return [
      share(WANTED_HERE, neighbours.filter(isHere)),
      share(
        WANTED_ELSEWHERE,
        neighbours.filter((one) => !isHere(one)),
      ),
    ];
  }

  #pick(share: Share): NodeId {
    const peer = this.#take(share.free);
    share.picked.push(peer);
    this.#picked.add(peer);
    return peer;
  }

  #drop(share: Share): NodeId {
    const peer = this.#take(share.picked);
    this.#picked.delete(peer);
    share.free.push(peer);
    return peer;
  }

  #take(from: NodeId[]): NodeId {
    return from.splice(this.#random.below(from.length), 1)[0] as NodeId;
  }
}
