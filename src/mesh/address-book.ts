import type { Clock, Random } from "#core";
import type { NodeId } from "#identity";
import { parseAddress } from "./address.ts";
import { MAX_HELLO_ADDRESSES } from "./hello-exchange.ts";

/** Peers remembered; beyond it, who was never reached goes first, then who was reached longest ago. */
export const MAX_KNOWN_PEERS = 1_024;
/** Of those, the ones never reached that a single peer told of: lies must not push out what others said. */
export const MAX_TOLD_BY_ONE = 128;
/** A peer that was not heard of for so long is forgotten, as long as enough others are left. */
export const FORGET_MS = 30 * 24 * 3_600_000;
const KEEP_AT_LEAST = 8;
/** Pause after a failed dial, doubled each time, ± 25 %. */
const FIRST_PAUSE_MS = 1_000;
/** The pause after a refusal: something has to change first. */
const FIRST_REFUSED_PAUSE_MS = 5_000;
/** Of another fleet: only an operator can change that. */
const OTHER_FLEET_PAUSE_MS = 3_600_000;
/** A peer that has too many neighbours is left alone for so long, unless there is nobody else. */
const PARTED_PAUSE_MS = 600_000;
const LAST_PAUSE_MS = 300_000;
/** A node without any neighbour has nothing better to do than to try again. */
const LAST_LONELY_PAUSE_MS = 15_000;
const FIRST_PAUSES_MS = {
  unreachable: FIRST_PAUSE_MS,
  refused: FIRST_REFUSED_PAUSE_MS,
  "other-fleet": OTHER_FLEET_PAUSE_MS,
};

/** What is kept of a peer across restarts. Times are Unix milliseconds by this machine's clock. */
export type RememberedPeer = { nodeId: NodeId; addresses: string[]; site?: string; heardMs: number };

type Entry = RememberedPeer & {
  failures: number;
  /** When it may be dialled again by a node that has no neighbour at all, in monotonic milliseconds. */
  notBeforeMs: number;
  /** When it may be dialled by a node that has others. */
  restsUntilMs: number;
  reached: boolean;
  /** Who told of it; `undefined`: the token, the charter, multicast, the DHT, a registrar. */
  toldBy: NodeId | undefined;
  /** It was a neighbour, and is not any more, for no reason that either side gave. */
  lost: boolean;
};

const UNTRIED = { failures: 0, notBeforeMs: 0, restsUntilMs: 0 };

export type KnownPeer = Readonly<Entry>;

/** Why a dial came to nothing. */
export type DialFailure = "unreachable" | "refused" | "other-fleet" | "full";

/** The node id at the end of an address; `undefined` if there is none, or it is no address. */
export function nodeIdIn(text: string): NodeId | undefined {
  try {
    return parseAddress(text).nodeId;
  } catch {
    return undefined;
  }
}

/** Peers and where they may be. Addresses are hints of others: only a dial proves one. */
export class AddressBook {
  readonly #self: NodeId;
  readonly #clock: Clock;
  readonly #read: typeof nodeIdIn;
  readonly #peers = new Map<NodeId, Entry>();

  /** `read`: how to read addresses; a simulation of many nodes remembers what each one says. */
  constructor(self: NodeId, clock: Clock, read = nodeIdIn) {
    this.#self = self;
    this.#clock = clock;
    this.#read = read;
  }

  get size(): number {
    return this.#peers.size;
  }

  get(peer: NodeId): KnownPeer | undefined {
    return this.#peers.get(peer);
  }

  peers(): Iterable<KnownPeer> {
    return this.#peers.values();
  }

  /** Whether the peer may be dialled now; `alone`: by a node without any neighbour. */
  isDue({ notBeforeMs, restsUntilMs }: KnownPeer, alone: boolean): boolean {
    const nowMs = this.#clock.nowMs();
    return (alone ? notBeforeMs : restsUntilMs) <= nowMs;
  }

  /**
   * Adds a hint; the newest addresses come first, after the one that worked: hints must not push it out. Addresses that
   * cannot be read, have no node id, or are our own are left out. `toldBy`: the peer that says so. Of who was reached others know nothing better.
   */
  hint(addresses: readonly string[], site?: string, toldBy?: NodeId): void {
    for (const text of addresses) {
      const stated = this.#peers.get(text.slice(text.lastIndexOf("/") + 1));
      const nodeId = stated?.addresses.includes(text) ? stated.nodeId : this.#read(text); // reading is the dear part
      if (nodeId === undefined || nodeId === this.#self) continue;
      const known = this.#peers.get(nodeId) ?? this.#insert(nodeId, toldBy);
      const [first] = known.addresses;
      const kept = known.reached && first !== undefined ? [first] : [];
      known.addresses = [...new Set([...kept, text, ...known.addresses])].slice(0, MAX_HELLO_ADDRESSES);
      if (site !== undefined && !known.reached) known.site = site;
    }
    this.#evict();
  }

  /** A session with the peer is up. What it says of itself replaces hints, but the address that worked stays. */
  reached(peer: NodeId, site: string, addresses: readonly string[], dialled: string | undefined): void {
    if (peer === this.#self) return;
    const known = this.#peers.get(peer) ?? this.#insert(peer, undefined);
    const said = [...(dialled === undefined ? [] : [dialled]), ...addresses];
    const own = said.filter((text) => known.addresses.includes(text) || this.#read(text) === peer);
    if (own.length > 0) known.addresses = [...new Set(own)].slice(0, MAX_HELLO_ADDRESSES);
    const heardMs = this.#clock.wallMs();
    if (known.lost && known.failures > 0) this.#retryLost();
    Object.assign(known, { site, heardMs, ...UNTRIED, reached: true, lost: false });
    this.#evict();
  }

  /** The session with the peer is over, and nobody wanted that. */
  lost(peer: NodeId): void {
    const known = this.#peers.get(peer);
    if (known !== undefined) known.lost = true;
  }

  /** One of the two had too many neighbours: the peer is well, and left alone for a while. */
  parted(peer: NodeId, random: Random): void {
    const known = this.#peers.get(peer);
    if (known === undefined) return;
    known.lost = false;
    known.notBeforeMs = this.#clock.nowMs() + jittered(FIRST_REFUSED_PAUSE_MS, random);
    known.restsUntilMs = this.#clock.nowMs() + jittered(PARTED_PAUSE_MS, random);
  }

  /** A dial failed; the next one waits. */
  failed(peer: NodeId, why: DialFailure, random: Random): void {
    const known = this.#peers.get(peer);
    if (known === undefined) return;
    if (why === "full") return this.parted(peer, random);
    const firstMs = FIRST_PAUSES_MS[why];
    const pauseMs = Math.min(firstMs * 2 ** Math.min(known.failures, 10), Math.max(firstMs, LAST_PAUSE_MS));
    known.failures += 1;
    const rest = jittered(pauseMs, random);
    known.restsUntilMs = this.#clock.nowMs() + rest;
    known.notBeforeMs = this.#clock.nowMs() + (why === "unreachable" ? Math.min(rest, LAST_LONELY_PAUSE_MS) : rest);
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
  recall(peers: readonly RememberedPeer[]): void {
    const newestFirst = peers.toSorted((a, b) => b.heardMs - a.heardMs);
    const oldestMs = this.#clock.wallMs() - FORGET_MS;
    const kept = newestFirst.filter(({ heardMs }, rank) => rank < KEEP_AT_LEAST || heardMs > oldestMs);
    for (const peer of kept.slice(0, MAX_KNOWN_PEERS)) {
      if (peer.nodeId === this.#self) continue;
      this.#peers.set(peer.nodeId, { ...peer, ...UNTRIED, reached: true, toldBy: undefined, lost: true });
    }
  }

  /** One that could not be reached is back: whatever kept it away may have kept others away. */
  #retryLost(): void {
    const nowMs = this.#clock.nowMs();
    for (const known of this.#peers.values()) if (known.lost) known.restsUntilMs = Math.min(known.restsUntilMs, nowMs);
  }

  #insert(nodeId: NodeId, toldBy: NodeId | undefined): Entry {
    if (toldBy !== undefined) this.#makeRoomFor(toldBy);
    const heardMs = this.#clock.wallMs();
    const known = { nodeId, addresses: [], heardMs, ...UNTRIED, reached: false, toldBy, lost: false };
    this.#peers.set(nodeId, known);
    return known;
  }

  /** Who tells of too many loses its oldest hint. */
  #makeRoomFor(teller: NodeId): void {
    const told = [...this.#peers.values()].filter(({ reached, toldBy }) => !reached && toldBy === teller);
    if (told.length >= MAX_TOLD_BY_ONE) this.#peers.delete(told[0]?.nodeId ?? "");
  }

  #evict(): void {
    if (this.#peers.size <= MAX_KNOWN_PEERS) return;
    const worstFirst = [...this.#peers.values()].toSorted(
      (a, b) => Number(a.reached) - Number(b.reached) || a.heardMs - b.heardMs,
    );
    for (const { nodeId } of worstFirst.slice(0, this.#peers.size - MAX_KNOWN_PEERS)) this.#peers.delete(nodeId);
  }
}

function jittered(ms: number, random: Random): number {
  return ms * (0.75 + random.unit() / 2);
}
