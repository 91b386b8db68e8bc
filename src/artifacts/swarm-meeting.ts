import { type Clock, errorMessage, type Log } from "#core";
import type { NodeId } from "#identity";
import type { Link } from "./link.ts";
import type { Participation } from "./participation.ts";
import type { Participations } from "./participations.ts";
import type { Holders } from "./ports.ts";
import { MAX_SWARM_PEERS } from "./swarm/swarm-limits.ts";
import type { SwarmLinks } from "./swarm-links.ts";

/** How often it is looked at who should be connected with whom, at least. */
const PLAN_MS = 1_000;
/** Those who are known have a head start before others are searched for: mostly they are enough, and an index of the fleet costs everybody. */
const HEAD_START_MS = 2_000;
/** First pause between two searches for holders; it doubles up to the last. */
const SEEK_MS = 1_000;
const MAX_SEEK_MS = 30_000;
/** How long a swarm is known before it is decided whether this node is one of those whom the index names. */
const ANNOUNCE_AFTER_MS = 30_000;
/** Of those in a swarm, so many are named by the index: they know the others. More would be a burden on the nodes that keep the names. */
const MAX_ANNOUNCERS = 16;

type Deps = { clock: Clock; log: Log; self: NodeId; holders: Holders };

/** Brings together those who take part in the same swarms: finds holders, joins with whom a node should be connected, leaves the others. */
export class SwarmMeeting {
  readonly #deps: Deps;
  readonly #links: SwarmLinks;
  readonly #parts: Participations;

  constructor(deps: Deps, links: SwarmLinks, parts: Participations) {
    this.#deps = deps;
    this.#links = links;
    this.#parts = parts;
  }

  /** Looks for holders until the blob is here, and connects to them. `told`: who is said to be one. */
  async seek(part: Participation, told: () => Iterable<NodeId>, signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    let pauseMs = SEEK_MS;
    while (!signal.aborted) {
      const { bytes } = part.progress;
      const known = [...told()];
      this.told(part, known);
      if (known.length === 0) this.#askNeighbours(part);
      await clock.sleep(HEAD_START_MS, signal).catch(() => undefined);
      if (part.progress.bytes > bytes || signal.aborted) pauseMs = SEEK_MS;
      else {
        // While it waits for those who have some of it, its own links may be what is slow.
        if (pauseMs > SEEK_MS || part.describe().holders === 0) await this.#search(part, signal);
        await clock.sleep(pauseMs, signal).catch(() => undefined);
        pauseMs = Math.min(2 * pauseMs, MAX_SEEK_MS);
      }
    }
  }

  #askNeighbours(part: Participation): void {
    for (const peer of this.#deps.holders.neighbours(part.ref.root)) this.#invite(part, peer);
  }

  async #search(part: Participation, signal: AbortSignal): Promise<void> {
    const { holders, log } = this.#deps;
    const { root } = part.ref;
    this.#askNeighbours(part);
    try {
      for await (const peer of holders.lookUp(root, signal)) this.told(part, [peer]);
    } catch (error) {
      if (!signal.aborted) log.debug("a search for holders failed", { root, reason: errorMessage(error) });
    }
  }

  /** Joins with those with whom this node should be connected, and leaves those with whom it need not be. */
  #connect(part: Participation): void {
    const { join, leave } = part.plan();
    for (const peer of join) this.#invite(part, peer);
    for (const peer of leave) {
      part.links.get(peer)?.leave(part.ref.root);
      part.part(peer);
    }
  }

  /** About every 100 ms. */
  tick(): void {
    const nowMs = this.#deps.clock.nowMs();
    for (const part of this.#parts.all()) if (nowMs - part.plannedMs >= PLAN_MS) this.#lookAfter(part, nowMs);
  }

  #lookAfter(part: Participation, nowMs: number): void {
    if (part.busy) this.#connect(part);
    if (part.announced || nowMs - part.openedMs < ANNOUNCE_AFTER_MS) return;
    part.announced = true;
    if (part.contacts.isAmongFirst(MAX_ANNOUNCERS)) this.#deps.holders.announce(part.ref.root);
  }

  #invite(part: Participation, peer: NodeId): void {
    if (peer === this.#deps.self || part.links.has(peer) || part.links.size >= MAX_SWARM_PEERS) return;
    const link = this.#links.get(peer);
    if (link !== undefined) link.join(part.ref, part.status);
    else if (part.invited.size < MAX_SWARM_PEERS) {
      part.invited.add(peer);
      this.#links.dial(peer);
    }
  }

  /** A stream is there. */
  onUp(link: Link): void {
    for (const part of this.#parts.all()) if (part.invited.delete(link.peer)) link.join(part.ref, part.status);
  }

  /** No stream could be opened. */
  onFailed(peer: NodeId): void {
    for (const part of this.#parts.all()) {
      if (part.invited.delete(peer)) part.contacts.failed(peer, this.#deps.clock.nowMs());
    }
  }

  /** Somebody says that these take part. */
  told(part: Participation, peers: readonly NodeId[]): void {
    for (const peer of peers) part.contacts.add(peer);
    this.#connect(part);
  }
}
