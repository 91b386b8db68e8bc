import { type Clock, errorMessage, type Log } from "#core";
import type { NodeId } from "#identity";
import type { Link } from "./link.ts";
import type { Participation } from "./participation.ts";
import type { Participations } from "./participations.ts";
import type { Holders, Locality } from "./ports.ts";
import { Contacts } from "./swarm/contacts.ts";
import { MAX_SWARM_PEERS } from "./swarm/swarm-limits.ts";
import type { SwarmLinks } from "./swarm-links.ts";
import { MAX_PEERS_TOLD } from "./wire.ts";

/** How often it is looked at who should be connected with whom, at least. */
const PLAN_MS = 1_000;
/** Those who are known have a head start before others are searched for: mostly they are enough, and an index of the fleet costs everybody. */
const HEAD_START_MS = 2_000;
/** And so long, if somebody is said to be a holder: it may be busy. In the DHT each search wakes many nodes, which makes a busy fleet busier. */
const TOLD_HEAD_START_MS = 15_000;
/** First pause between two searches for holders; it doubles up to the last. */
const SEEK_MS = 1_000;
const MAX_SEEK_MS = 30_000;
/** How long a swarm is known before it is decided whether this node is one of those whom the index names. */
const ANNOUNCE_AFTER_MS = 30_000;
/** Of those in a swarm, so many are named by the index: they know the others. More would be a burden on the nodes that keep the names. */
const MAX_ANNOUNCERS = 16;

type Deps = { clock: Clock; log: Log; self: NodeId; holders: Holders; locality: Locality };

/** Those of one swarm whom this node knows of, connected or not. */
type Circle = {
  readonly contacts: Contacts;
  readonly sinceMs: number;
  /** When it was last looked at who should be connected with whom. */
  plannedMs: number;
  /** Whether it was decided if the index of the fleet is to name this node. */
  announced: boolean;
  /** Whom to join with as soon as there is a stream. */
  readonly invited: Set<NodeId>;
};

/** Brings together those who take part in the same swarms: finds holders, joins with whom a node should be connected, leaves the others. */
export class SwarmMeeting {
  readonly #deps: Deps;
  readonly #links: SwarmLinks;
  readonly #parts: Participations;
  readonly #circles = new WeakMap<Participation, Circle>();

  constructor(deps: Deps, links: SwarmLinks, parts: Participations) {
    this.#deps = deps;
    this.#links = links;
    this.#parts = parts;
  }

  /** Looks for holders until the blob is here, and connects to them. `told`: who is said to be one. */
  async seek(part: Participation, told: () => Iterable<NodeId>, signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    let pauseMs = SEEK_MS;
    let quietSinceMs = clock.nowMs();
    while (!signal.aborted) {
      const { bytes } = part.progress;
      const known = [...told()];
      this.told(part, known);
      if (known.length === 0) this.#askNeighbours(part);
      await clock.sleep(HEAD_START_MS, signal).catch(() => undefined);
      if (part.progress.bytes > bytes || signal.aborted) {
        pauseMs = SEEK_MS;
        quietSinceMs = clock.nowMs();
      } else if (known.length === 0 || clock.nowMs() - quietSinceMs >= TOLD_HEAD_START_MS) {
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
    const { clock, locality } = this.#deps;
    const circle = this.#circleOf(part);
    circle.plannedMs = clock.nowMs();
    const view = {
      ownSite: locality.ownSite,
      siteOf: (peer: NodeId) => locality.siteOf(peer),
      isLinked: (peer: NodeId) => part.links.has(peer),
      isIdle: (peer: NodeId) => part.isIdle(peer),
      reaching: (site: string) => part.reaching(site),
    };
    const { join, leave } = circle.contacts.plan(view, circle.plannedMs);
    for (const peer of join) this.#invite(part, peer);
    for (const peer of leave) {
      part.links.get(peer)?.leave(part.ref.root);
      this.parted(part, peer);
    }
  }

  #circleOf(part: Participation): Circle {
    let circle = this.#circles.get(part);
    if (circle === undefined) {
      const { clock, self } = this.#deps;
      const contacts = new Contacts(part.ref.root, self);
      circle = { contacts, sinceMs: clock.nowMs(), plannedMs: 0, announced: false, invited: new Set() };
      this.#circles.set(part, circle);
    }
    return circle;
  }

  /** About every 100 ms. */
  tick(): void {
    const nowMs = this.#deps.clock.nowMs();
    for (const part of this.#parts.all()) {
      const circle = this.#circleOf(part);
      if (nowMs - circle.plannedMs < PLAN_MS) continue;
      circle.plannedMs = nowMs;
      if (part.busy) this.#connect(part);
      if (circle.announced || nowMs - circle.sinceMs < ANNOUNCE_AFTER_MS) continue;
      circle.announced = true;
      if (circle.contacts.isAmongFirst(MAX_ANNOUNCERS)) this.#deps.holders.announce(part.ref.root);
    }
  }

  #invite(part: Participation, peer: NodeId): void {
    if (peer === this.#deps.self || part.links.has(peer) || part.links.size >= MAX_SWARM_PEERS) return;
    const link = this.#links.get(peer);
    if (link !== undefined) {
      link.join(part.ref, part.status);
      return;
    }
    const { invited } = this.#circleOf(part);
    if (invited.size >= MAX_SWARM_PEERS) return;
    invited.add(peer);
    this.#links.dial(peer);
  }

  /** A stream is there. */
  onUp(link: Link): void {
    for (const part of this.#parts.all()) {
      if (this.#circleOf(part).invited.delete(link.peer)) link.join(part.ref, part.status);
    }
  }

  /** No stream could be opened. */
  onFailed(peer: NodeId): void {
    for (const part of this.#parts.all()) {
      const { contacts, invited } = this.#circleOf(part);
      if (invited.delete(peer)) contacts.failed(peer, this.#deps.clock.nowMs());
    }
  }

  /** Somebody says that these take part. */
  told(part: Participation, peers: readonly NodeId[]): void {
    const { contacts } = this.#circleOf(part);
    for (const peer of peers) contacts.add(peer);
    this.#connect(part);
  }

  /** This one takes part. Returns whom to tell it of: those of its own site, the newest first, and those elsewhere with whom it should connect. */
  met(part: Participation, peer: NodeId): NodeId[] {
    const { contacts } = this.#circleOf(part);
    contacts.add(peer);
    const siteOf = (node: NodeId): string => this.#deps.locality.siteOf(node) ?? "";
    const site = siteOf(peer);
    const [near, far]: [NodeId[], NodeId[]] = [[], []];
    for (const other of part.links.keys()) if (other !== peer) (siteOf(other) === site ? near : far).push(other);
    const roomForNear = MAX_PEERS_TOLD - Math.min(far.length, MAX_PEERS_TOLD / 2);
    return [...near.slice(-roomForNear), ...contacts.best(far, site)].slice(0, MAX_PEERS_TOLD);
  }

  /** This one takes part no more, is gone, or need not be linked with me. */
  parted(part: Participation, peer: NodeId): void {
    this.#circleOf(part).contacts.failed(peer, this.#deps.clock.nowMs());
    part.part(peer);
  }
}
