import type { Random } from "#core";
import type { NodeId } from "#identity";
import { parseAddress } from "./address.ts";
import { MAX_HELLO_ADDRESSES } from "./hello-exchange.ts";

/** Neighbours a node dials for; whoever dials it comes on top. A random graph of this degree survives half its nodes. */
export const WANTED_NEIGHBOURS = 32;
/** Of those, from other sites, if there are as many. */
export const WANTED_ELSEWHERE = 8;
/** Peers remembered; beyond it, who was never reached goes first, then who was reached longest ago. */
export const MAX_KNOWN_PEERS = 1_024;
/** A peer that was not heard of for so long is forgotten, as long as enough others are left. */
export const FORGET_MS = 30 * 24 * 3_600_000;
const KEEP_AT_LEAST = 8;
/** Pause after a failed dial, doubled each time, ± 25 %. A refusal waits longer: something has to change first. */
const FIRST_PAUSE_MS = 1_000;
const FIRST_REFUSED_PAUSE_MS = 5_000;
const LAST_PAUSE_MS = 300_000;

/** What is kept of a peer across restarts. Times are Unix milliseconds by this machine's clock. */
export type RememberedPeer = { nodeId: NodeId; addresses: string[]; site?: string; heardMs: number };

type KnownPeer = RememberedPeer & { failures: number; notBeforeMs: number; reached: boolean };

/** Peers and where they may be. Addresses are hints of others: only a dial proves one. */
export class AddressBook {
  readonly #self: NodeId;
  readonly #peers = new Map<NodeId, KnownPeer>();

  constructor(self: NodeId) {
    this.#self = self;
  }

  get size(): number {
    return this.#peers.size;
  }

  get(peer: NodeId): Readonly<KnownPeer> | undefined {
    return this.#peers.get(peer);
  }

  /**
   * Adds a hint; the newest addresses come first, after the one that worked: hints must not push it out. Addresses that
   * cannot be read, have no node id, or are our own are left out.
   */
  hint(addresses: readonly string[], site: string | undefined, nowMs: number): void {
    for (const text of addresses) {
      const nodeId = nodeIdIn(text);
      if (nodeId === undefined || nodeId === this.#self) continue;
      const known = this.#peers.get(nodeId) ?? this.#insert(nodeId, nowMs);
      const [first] = known.addresses;
      const kept = known.reached && first !== undefined ? [first] : [];
      known.addresses = [...new Set([...kept, text, ...known.addresses])].slice(0, MAX_HELLO_ADDRESSES);
      if (site !== undefined) known.site = site;
    }
    this.#evict();
  }

  /** A session with the peer is up. What it says of itself replaces hints, but the address that worked stays. */
  reached(peer: NodeId, site: string, addresses: readonly string[], dialled: string | undefined, nowMs: number): void {
    if (peer === this.#self) return;
    const known = this.#peers.get(peer) ?? this.#insert(peer, nowMs);
    const own = [...(dialled === undefined ? [] : [dialled]), ...addresses].filter((text) => nodeIdIn(text) === peer);
    if (own.length > 0) known.addresses = [...new Set(own)].slice(0, MAX_HELLO_ADDRESSES);
    Object.assign(known, { site, heardMs: nowMs, failures: 0, notBeforeMs: 0, reached: true });
    this.#evict();
  }

  /** A dial failed; the next one waits. */
  failed(peer: NodeId, refused: boolean, nowMs: number, random: Random): void {
    const known = this.#peers.get(peer);
    if (known === undefined) return;
    const first = refused ? FIRST_REFUSED_PAUSE_MS : FIRST_PAUSE_MS;
    const pauseMs = Math.min(first * 2 ** Math.min(known.failures, 10), LAST_PAUSE_MS);
    known.failures += 1;
    known.notBeforeMs = nowMs + pauseMs * (0.75 + random.unit() / 2);
  }

  /** What to keep across a restart: who was reached, newest first. */
  remembered(): RememberedPeer[] {
    return [...this.#peers.values()]
      .filter(({ reached }) => reached)
      .toSorted((a, b) => b.heardMs - a.heardMs)
      .map(({ nodeId, addresses, site, heardMs }) => ({
        nodeId,
        addresses,
        heardMs,
        ...(site === undefined ? {} : { site }),
      }));
  }

  /** Takes up what an earlier run kept, and forgets what is too old. */
  recall(peers: readonly RememberedPeer[], nowMs: number): void {
    const newestFirst = peers.toSorted((a, b) => b.heardMs - a.heardMs);
    const kept = newestFirst.filter(({ heardMs }, rank) => rank < KEEP_AT_LEAST || nowMs - heardMs < FORGET_MS);
    for (const peer of kept.slice(0, MAX_KNOWN_PEERS)) {
      if (peer.nodeId === this.#self) continue;
      this.#peers.set(peer.nodeId, { ...peer, failures: 0, notBeforeMs: 0, reached: true });
    }
  }

  peers(): Iterable<Readonly<KnownPeer>> {
    return this.#peers.values();
  }

  #insert(nodeId: NodeId, nowMs: number): KnownPeer {
    const known: KnownPeer = { nodeId, addresses: [], heardMs: nowMs, failures: 0, notBeforeMs: 0, reached: false };
    this.#peers.set(nodeId, known);
    return known;
  }

  #evict(): void {
    if (this.#peers.size <= MAX_KNOWN_PEERS) return;
    const worstFirst = [...this.#peers.values()].toSorted(
      (a, b) => Number(a.reached) - Number(b.reached) || a.heardMs - b.heardMs,
    );
    for (const { nodeId } of worstFirst.slice(0, this.#peers.size - MAX_KNOWN_PEERS)) this.#peers.delete(nodeId);
  }
}

export type Surroundings = {
  /** Neighbours there are, with their sites. */
  connected: ReadonlyMap<NodeId, string>;
  /** Peers being dialled just now. */
  dialling: ReadonlySet<NodeId>;
  ownSite: string | undefined;
  nowMs: number;
  /** How many may be dialled at once. */
  slots: number;
};

/**
 * Whom to dial now: peers of the own site and of others, whichever falls further short of its share; peers that failed least
 * first, in random order among equals, so that nodes with the same book spread over the fleet.
 */
export function planDials(book: AddressBook, around: Surroundings, random: Random): NodeId[] {
  const { connected, dialling, ownSite, nowMs } = around;
  const isHere = (site: string | undefined): boolean => site !== undefined && site === ownSite;
  let here = [...connected.values()].filter(isHere).length;
  let elsewhere = connected.size - here;
  const due = [...book.peers()]
    .filter(({ nodeId, notBeforeMs }) => !connected.has(nodeId) && !dialling.has(nodeId) && notBeforeMs <= nowMs)
    .map((peer) => ({ peer, chance: random.unit() }))
    .toSorted((a, b) => a.peer.failures - b.peer.failures || a.chance - b.chance)
    .map(({ peer }) => peer);
  const queues = { here: due.filter((peer) => isHere(peer.site)), elsewhere: due.filter((peer) => !isHere(peer.site)) };
  const plan: NodeId[] = [];
  while (plan.length < around.slots - dialling.size && here + elsewhere + dialling.size < WANTED_NEIGHBOURS) {
    const shortHere = here / (WANTED_NEIGHBOURS - WANTED_ELSEWHERE) <= elsewhere / WANTED_ELSEWHERE;
    const [first, second] = shortHere ? [queues.here, queues.elsewhere] : [queues.elsewhere, queues.here];
    const peer = first.shift() ?? second.shift();
    if (peer === undefined) break;
    plan.push(peer.nodeId);
    if (isHere(peer.site)) here += 1;
    else elsewhere += 1;
  }
  return plan;
}

/** The node id at the end of an address; `undefined` if there is none, or it is no address. */
export function nodeIdIn(text: string): NodeId | undefined {
  try {
    return parseAddress(text).nodeId;
  } catch {
    return undefined;
  }
}
