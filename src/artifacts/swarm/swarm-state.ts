import { type Random, SeededRandom } from "#core";
import type { NodeId } from "#identity";
import { Bitset } from "../bitset.ts";
import { type BlobRef, Geometry } from "../chunk-map.ts";
import { Flow, type Mark } from "./flow.ts";
import { Lane } from "./lane.ts";
import type { Lead } from "./leaders.ts";
import { Rarity } from "./rarity.ts";
import { RateMeter } from "./rate-meter.ts";
import type { PeerStatus, SwarmEffect, SwarmMessage } from "./swarm-event.ts";
import { LANE_WINDOW_S, MAX_SWARM_PEERS, WAN_PEER_WINDOW_S } from "./swarm-limits.ts";

/** A chunk that a peer accepted from me, on its way. */
export type Outgoing = { chunk: number; cells: number; next: number };

/** A chunk on its way to me; cells come in order from one sender. */
export type Arrival = { chunk: number; from: Peer; cells: number; got: number; bytesLeft: number; sinceMs: number };

/** Another node in this swarm, as I see it. */
export type Peer = {
  readonly id: NodeId;
  readonly site: string;
  readonly wan: boolean;
  /** By the name of the other site, as far as needed so far. */
  readonly weights: Map<string, number>;
  status: PeerStatus;
  readonly has: Bitset;
  readonly claims: Bitset;
  /** My offers that it has not answered, and when I made them. */
  readonly offered: Map<number, number>;
  /** It declined for lack of room; until it says ready. */
  full: boolean;
  /** I declined for lack of room; I owe it a ready. */
  owedReady: boolean;
  banned: boolean;
  snubbedUntilMs: number;
  /** How often in a row it stalled: no chunk of its was finished in between. */
  stalls: number;
  /** A chunk from it was whole and right. */
  proven: boolean;
  /** All that I have and was not told since goes to it late; false when I left that to another of my site for a while. */
  informed: boolean;
  /** It asked me over the WAN by name; until then I export to it. */
  askedUntilMs: number;
  /** When it last had a new chunk. */
  newsMs: number;
  /** I asked for this chunk by name; it must offer it by then. */
  challenge: { chunk: number; dueMs: number } | undefined;
  readonly outgoing: Map<number, Outgoing>;
  /** Bytes that I offered it, or that it accepted, and are not sent. */
  unsent: number;
  readonly flow: Flow;
  /** What was sent and is not acknowledged, in order. */
  readonly sent: { bytes: number; mark: Mark; laneMark: Mark }[];
  arriving: number;
  lastCellMs: number;
  /** Smoothed time from acceptance to the last cell. */
  chunkMs: number;
};

/** The members of another site, as a group that needs one copy over the WAN. */
export type Site = {
  readonly name: string;
  readonly members: Set<Peer>;
  /** Per chunk, how many members (and offers, and soft refusals) cover it. */
  readonly cover: Uint8Array;
};

export type SwarmOptions = { ref: BlobRef; self: NodeId; site: string; random: Random; wants: boolean; nowMs: number };

/** Everything one node knows about one swarm. Changed only by `step`. */
export class SwarmState {
  readonly self: NodeId;
  readonly site: string;
  readonly root: string;
  readonly random: Random;
  readonly geometry: Geometry;
  readonly have: Bitset;
  /** What the store may have, until it has looked. */
  readonly checking: Bitset;
  readonly arrivals = new Map<number, Arrival>();
  readonly peers = new Map<NodeId, Peer>();
  readonly sites = new Map<string, Site>();
  /** Peers with something to send to, and whose turn it is. */
  readonly senders: Peer[] = [];
  nextSender = 0;
  /** How many site members cover a chunk that I can offer. */
  readonly lanRarity: Rarity;
  /** How many other sites do. */
  readonly wanRarity: Rarity;
  lanPeers = 0;
  readonly soft: { site: Site; chunk: number; untilMs: number }[] = [];
  readonly newHaves: Bitset;
  /** The same, for members of my own site. Other sites know from who brought them over the WAN that the site has them, and hear of mine late. */
  readonly newLanHaves: Bitset;
  /** What is told late to all: my claims cover it until then. */
  readonly lateHaves: Bitset;
  readonly newClaims: Bitset;
  readonly newWanClaims: Bitset;
  readonly newUnclaims: Bitset;
  /** Bytes offered or accepted, not yet sent: to site members, and over the WAN. */
  readonly unsent = { lan: 0, wan: 0 };
  readonly arrivingBytes = { lan: 0, wan: 0 };
  readonly uplink = { lan: new Lane(LANE_WINDOW_S), wan: new Flow(WAN_PEER_WINDOW_S) };
  readonly downlink = { lan: new RateMeter(), wan: new RateMeter() };
  status: PeerStatus;
  begun = false;
  toldMs = 0;
  toldLateMs = 0;
  /** The sites that I export to; `undefined` when they have to be found anew, as they have to at `leadsUntilMs`. */
  leads: readonly Lead[] | undefined;
  leadsUntilMs = 0;
  /** All other sites that mine is connected to, in the order that everybody in it knows. */
  farSites: readonly string[] = [];
  lastCellMs: number;
  lastWanCellMs: number;
  /** Names of the sites that I am the importer from, a line each. */
  imports = "";
  yieldUntilMs = 0;
  /** What may still be accepted under the node's own limit. The last one may overdraw it, so that a chunk passes under any limit. */
  acceptBytes = { lan: Number.POSITIVE_INFINITY, wan: Number.POSITIVE_INFINITY };
  /** When the earliest of what is paced may leave. */
  wakeMs = Number.POSITIVE_INFINITY;
  effects: SwarmEffect[] = [];

  constructor(options: SwarmOptions) {
    const { ref, self, site, random, wants, nowMs } = options;
    this.self = self;
    this.site = site;
    this.root = ref.root;
    this.random = new SeededRandom(random.below(2 ** 32)); // asked often: the system's own would cost more than the decisions
    this.geometry = new Geometry(ref);
    const { chunkCount } = this.geometry;
    this.have = new Bitset(chunkCount);
    this.checking = new Bitset(chunkCount);
    this.lanRarity = new Rarity(chunkCount, MAX_SWARM_PEERS);
    this.wanRarity = new Rarity(chunkCount, MAX_SWARM_PEERS);
    this.newHaves = new Bitset(chunkCount);
    this.newLanHaves = new Bitset(chunkCount);
    this.lateHaves = new Bitset(chunkCount);
    this.newClaims = new Bitset(chunkCount);
    this.newWanClaims = new Bitset(chunkCount);
    this.newUnclaims = new Bitset(chunkCount);
    this.status = { wants, yields: false, foreground: false, reach: [] };
    this.lastCellMs = nowMs;
    this.lastWanCellMs = nowMs;
  }

  say(to: Peer, message: SwarmMessage): void {
    this.effects.push({ type: "say", to: to.id, message });
  }

  lane(peer: Peer): "lan" | "wan" {
    return peer.wan ? "wan" : "lan";
  }

  /** So many bytes more, or fewer, are offered to a peer or accepted by it and not sent. */
  owe(peer: Peer, bytes: number): void {
    peer.unsent += bytes;
    this.unsent[this.lane(peer)] += bytes;
  }

  /** Whether the peer has, claims or was offered the chunk, so that offering it again is useless. */
  isCovered(peer: Peer, chunk: number): boolean {
    return peer.has.has(chunk) || peer.claims.has(chunk) || peer.offered.has(chunk);
  }

  /** Runs a change to what covers `chunk` at `peer`, and keeps the rarity right. */
  change(peer: Peer, chunk: number, apply: () => void): void {
    const before = this.isCovered(peer, chunk);
    apply();
    const after = this.isCovered(peer, chunk);
    if (before !== after) this.cover(peer, chunk, after ? 1 : -1);
  }

  cover(peer: Peer, chunk: number, by: 1 | -1): void {
    const site = this.sites.get(peer.site);
    if (site !== undefined) this.coverSite(site, chunk, by);
    else if (by === 1) this.lanRarity.raise(chunk);
    else this.lanRarity.lower(chunk);
  }

  /** So many more, or fewer, members cover the chunk. */
  coverSite(site: Site, chunk: number, by: number): void {
    const before = site.cover[chunk] ?? 0;
    const count = before + by;
    site.cover[chunk] = count;
    if (before === 0 && count > 0) this.wanRarity.raise(chunk);
    if (before > 0 && count === 0) this.wanRarity.lower(chunk);
  }

  /** The chunk can be offered from now on. */
  list(chunk: number): void {
    this.lanRarity.list(chunk);
    this.wanRarity.list(chunk);
  }

  /**
   * The first of it is here. A member who wants chunks itself offers it to the others, too, and who took it is known a little later; so I offer it to
   * them when the rest is here, unless my site has the blob and one's uplink would make the others wait.
   */
  listArriving(chunk: number, from: Peer): void {
    if (from.wan || this.siteIsWhole()) this.lanRarity.list(chunk);
    this.wanRarity.list(chunk);
  }

  unlist(chunk: number): void {
    this.lanRarity.unlist(chunk);
    this.wanRarity.unlist(chunk);
  }

  /** Somebody of my site, or I, has all. */
  siteIsWhole(): boolean {
    if (!this.status.wants) return true;
    for (const { wan, banned, status } of this.peers.values()) if (!wan && !banned && !status.wants) return true;
    return false;
  }

  /** The site has a peer other than me that has or claims the chunk. */
  siteHas(chunk: number): boolean {
    for (const peer of this.peers.values()) {
      if (!peer.wan && !peer.banned && (peer.has.has(chunk) || peer.claims.has(chunk))) return true;
    }
    return false;
  }
}
