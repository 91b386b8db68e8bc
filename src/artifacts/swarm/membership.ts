import type { NodeId } from "#identity";
import { Bitset } from "../bitset.ts";
import { Flow } from "./flow.ts";
import { releaseArrival } from "./receiving.ts";
import { runsOf } from "./runs.ts";
import type { Blame, PeerStatus } from "./swarm-event.ts";
import { LAN_PEER_WINDOW_S, MAX_SWARM_PEERS, WAN_PEER_WINDOW_S } from "./swarm-limits.ts";
import type { Peer, Site, SwarmState } from "./swarm-state.ts";

/** Takes in a peer and tells it what I have and claim. A peer that is known starts anew. */
export function addPeer(state: SwarmState, id: NodeId, site: string, status: PeerStatus, nowMs: number): void {
  if (id === state.self) return;
  removePeer(state, id);
  if (state.peers.size >= MAX_SWARM_PEERS) return;
  const { chunkCount } = state.geometry;
  const peer: Peer = {
    id,
    site,
    wan: site !== state.site,
    weights: new Map(),
    status,
    has: new Bitset(chunkCount),
    claims: new Bitset(chunkCount),
    offered: new Map(),
    full: false,
    owedReady: false,
    banned: false,
    snubbedUntilMs: 0,
    stalls: 0,
    proven: false,
    informed: true,
    askedUntilMs: 0,
    newsMs: nowMs,
    challenge: undefined,
    outgoing: new Map(),
    unsent: 0,
    flow: new Flow(site === state.site ? LAN_PEER_WINDOW_S : WAN_PEER_WINDOW_S),
    sent: [],
    arriving: 0,
    lastCellMs: nowMs,
    chunkMs: 500,
  };
  state.peers.set(id, peer);
  if (peer.wan) siteOf(state, site).members.add(peer);
  else state.lanPeers += 1;
  state.leads = undefined;
  introduce(state, peer);
  updateReach(state);
}

function siteOf(state: SwarmState, name: string): Site {
  let site = state.sites.get(name);
  if (site === undefined) {
    site = { name, members: new Set(), cover: new Uint8Array(state.geometry.chunkCount) };
    state.sites.set(name, site);
  }
  return site;
}

function introduce(state: SwarmState, peer: Peer): void {
  state.say(peer, { type: "status", ...state.status });
  for (const runs of runsOf(state.have)) state.say(peer, { type: "have", runs });
  const claims = { lan: new Bitset(state.geometry.chunkCount), wan: new Bitset(state.geometry.chunkCount) };
  for (const arrival of state.arrivals.values()) claims[state.lane(arrival.from)].add(arrival.chunk);
  for (const runs of runsOf(claims.lan)) state.say(peer, { type: "claim", runs, wan: false });
  for (const runs of runsOf(claims.wan)) state.say(peer, { type: "claim", runs, wan: true });
}

/** Forgets a peer that is gone: its haves and claims, my offers and unsent bytes to it, what it was sending me. */
export function removePeer(state: SwarmState, id: NodeId): void {
  const peer = state.peers.get(id);
  if (peer === undefined) return;
  silence(state, peer);
  state.uplink[state.lane(peer)].forget(peer.flow.inFlightBytes);
  state.peers.delete(id);
  state.leads = undefined;
  if (peer.wan) {
    const site = siteOf(state, peer.site);
    site.members.delete(peer);
    if (site.members.size === 0) dropSite(state, site);
  } else {
    state.lanPeers -= 1;
  }
  updateReach(state);
}

function dropSite(state: SwarmState, site: Site): void {
  for (const [chunk, count] of site.cover.entries()) if (count > 0) state.coverSite(site, chunk, -count);
  state.sites.delete(site.name);
  for (let at = state.soft.length - 1; at >= 0; at--) if (state.soft[at]?.site === site) state.soft.splice(at, 1);
}

/** Ends everything with a peer, so that nothing of it counts any more. */
function silence(state: SwarmState, peer: Peer): void {
  for (const arrival of state.arrivals.values()) {
    if (arrival.from === peer) releaseArrival(state, arrival, peer.banned);
  }
  for (const chunk of peer.offered.keys()) refundOffer(state, peer, chunk);
  for (const chunk of peer.outgoing.keys()) refundOutgoing(state, peer, chunk);
  forgetHaves(state, peer);
  peer.challenge = undefined;
}

/** Forgets what a peer says it has. */
export function forgetHaves(state: SwarmState, peer: Peer): void {
  for (const chunk of peer.has.values()) state.change(peer, chunk, () => peer.has.delete(chunk));
  forgetClaims(state, peer);
}

export function forgetClaims(state: SwarmState, peer: Peer): void {
  for (const chunk of peer.claims.values()) state.change(peer, chunk, () => peer.claims.delete(chunk));
}

/** Takes back an offer that was not answered with an acceptance. */
export function refundOffer(state: SwarmState, peer: Peer, chunk: number): boolean {
  if (!peer.offered.has(chunk)) return false;
  state.change(peer, chunk, () => peer.offered.delete(chunk));
  state.owe(peer, -state.geometry.bytesOf(chunk));
  return true;
}

/** Stops sending a chunk to a peer; what is unsent no longer counts. */
export function refundOutgoing(state: SwarmState, peer: Peer, chunk: number): boolean {
  const outgoing = peer.outgoing.get(chunk);
  if (outgoing === undefined) return false;
  peer.outgoing.delete(chunk);
  const { next, cells } = outgoing;
  state.owe(peer, -state.geometry.bytesOfCells(chunk, next, cells - next));
  return true;
}

/** Listens to a peer no more: it sent wrong bytes or broke a rule. */
export function banPeer(state: SwarmState, peer: Peer, blame: Blame): void {
  if (peer.banned) return;
  peer.banned = true;
  silence(state, peer);
  state.leads = undefined;
  state.effects.push({ type: "blame", peer: peer.id, blame });
}

/** Says to all what changed about me. */
export function changeStatus(state: SwarmState, change: Partial<PeerStatus>): void {
  state.status = { ...state.status, ...change };
  state.leads = undefined;
  for (const peer of state.peers.values()) state.say(peer, { type: "status", ...state.status });
}

function updateReach(state: SwarmState): void {
  const reach = [...state.sites.keys()].toSorted();
  if (reach.join("\n") !== state.status.reach.join("\n")) changeStatus(state, { reach });
}
