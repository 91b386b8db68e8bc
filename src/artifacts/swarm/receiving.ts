import { banPeer, changeStatus, refundOutgoing } from "./membership.ts";
import type { DeclineReason, SwarmEvent } from "./swarm-event.ts";
import { ACCEPT_AHEAD_CHUNKS, ACCEPT_AHEAD_S, MAX_AHEAD_BYTES, TRIAL_CHUNKS } from "./swarm-limits.ts";
import type { Arrival, Peer, SwarmState } from "./swarm-state.ts";

/** Answers an offer. */
export function onOffer(state: SwarmState, peer: Peer, chunk: number, nowMs: number): void {
  const reason = judgeOffer(state, peer, chunk, nowMs);
  if (peer.challenge?.chunk === chunk) peer.challenge = undefined;
  if (reason !== undefined) {
    if (reason === "full" || reason === "no") peer.owedReady = true;
    state.say(peer, { type: "decline", chunk, reason });
    return;
  }
  const bytes = state.geometry.bytesOf(chunk);
  const cells = state.geometry.cellsOf(chunk);
  state.arrivals.set(chunk, { chunk, from: peer, cells, got: 0, bytesLeft: bytes, sinceMs: nowMs });
  state.arrivingBytes[state.lane(peer)] += bytes;
  state.acceptBytes.lan -= bytes; // the limit on all counts both
  state.acceptBytes.wan -= bytes;
  if (peer.arriving === 0) peer.lastCellMs = nowMs;
  peer.arriving += 1;
  state.newUnclaims.delete(chunk);
  if (peer.wan) claimAtOnce(state, chunk);
  else state.newClaims.add(chunk);
  state.say(peer, { type: "accept", chunk });
}

/** The other importers of my site may be offered the same by other sites at this moment. */
function claimAtOnce(state: SwarmState, chunk: number): void {
  state.newWanClaims.add(chunk);
  for (const peer of state.peers.values()) {
    if (!peer.wan && !peer.banned) state.say(peer, { type: "claim", runs: [chunk, 1], wan: true });
  }
}

/** Why not; `undefined` accepts. */
function judgeOffer(state: SwarmState, peer: Peer, chunk: number, nowMs: number): DeclineReason | undefined {
  if (!state.status.wants || state.have.has(chunk) || state.arrivals.has(chunk)) return "have";
  if (state.checking.has(chunk)) return "have"; // told otherwise should it turn out wrong
  if (peer.banned || peer.snubbedUntilMs > nowMs) return "no";
  if (peer.wan && state.siteHas(chunk)) return "site";
  const lane = state.lane(peer);
  if (!state.begun || state.acceptBytes[lane] <= 0 || isOnTrial(peer)) return "full";
  if (state.arrivingBytes[lane] + state.geometry.bytesOf(chunk) > acceptLimit(state, lane)) return "full";
  return undefined;
}

/** It has to show first that it sends what it says: what a liar can send before its first cell is judged is wasted. */
function isOnTrial(peer: Peer): boolean {
  return !peer.proven && peer.arriving >= TRIAL_CHUNKS;
}

/** Bytes that I let arrive at once. */
function acceptLimit(state: SwarmState, lane: "lan" | "wan"): number {
  const floor = ACCEPT_AHEAD_CHUNKS * state.geometry.chunkBytes;
  return Math.max(floor, Math.min(MAX_AHEAD_BYTES, ACCEPT_AHEAD_S * state.downlink[lane].bytesPerSecond()));
}

/** Takes note of verified cells, the next ones of a chunk that is arriving from this peer. */
export function onCells(state: SwarmState, peer: Peer, event: SwarmEvent & { type: "cells" }, nowMs: number): void {
  const arrival = state.arrivals.get(event.chunk);
  if (arrival === undefined || arrival.from !== peer || arrival.got !== event.first) return; // came after its cancel
  const lane = state.lane(peer);
  peer.lastCellMs = nowMs;
  state.lastCellMs = nowMs;
  if (peer.wan) state.lastWanCellMs = nowMs;
  state.downlink[lane].add(event.bytes, nowMs);
  state.arrivingBytes[lane] -= event.bytes;
  arrival.bytesLeft -= event.bytes;
  arrival.got += event.count;
  if (event.first === 0) state.listArriving(event.chunk, peer); // it can be passed on from its first good cell
  if (arrival.got === arrival.cells) finish(state, arrival, nowMs);
}

function finish(state: SwarmState, arrival: Arrival, nowMs: number): void {
  const { chunk, from } = arrival;
  state.arrivals.delete(chunk);
  from.arriving -= 1;
  from.stalls = 0;
  from.proven = true;
  from.chunkMs += (nowMs - arrival.sinceMs - from.chunkMs) / 8;
  state.effects.push({ type: "finished", chunk, from: from.id, wan: from.wan });
  gain(state, chunk, from);
  readyAll(state, nowMs);
}

/** I have this chunk now, verified; `from` whom, if it came just now. */
export function gain(state: SwarmState, chunk: number, from?: Peer): void {
  state.checking.delete(chunk);
  if (!state.have.add(chunk)) return;
  const told = from !== undefined && !forgetClaim(state, chunk);
  if (told) state.lateHaves.add(chunk);
  else (from?.wan === false ? state.newLanHaves : state.newHaves).add(chunk);
  state.list(chunk);
  if (!state.have.full) return;
  if (state.status.wants) changeStatus(state, { wants: false, yields: false, foreground: false });
  state.effects.push({ type: "complete" });
}

/** Returns whether nobody was told of it yet. */
function forgetClaim(state: SwarmState, chunk: number): boolean {
  state.newWanClaims.delete(chunk); // of which my site knows
  return state.newClaims.delete(chunk);
}

/** Tells everybody whom I declined for lack of room that there is room. */
export function readyAll(state: SwarmState, nowMs: number): void {
  for (const peer of state.peers.values()) {
    if (state.acceptBytes[state.lane(peer)] <= 0 || !peer.owedReady || peer.banned || isOnTrial(peer)) continue;
    if (peer.snubbedUntilMs > nowMs) continue;
    peer.owedReady = false;
    state.say(peer, { type: "ready" });
  }
}

/** Gives up a chunk that is arriving, and with it every transfer of it that I pass on. */
export function releaseArrival(state: SwarmState, arrival: Arrival, cancel: boolean): void {
  const { chunk, from } = arrival;
  state.arrivals.delete(chunk);
  state.unlist(chunk);
  state.arrivingBytes[state.lane(from)] -= arrival.bytesLeft;
  from.arriving -= 1;
  forgetClaim(state, chunk);
  state.newUnclaims.add(chunk); // to all: who offered it too, or passed it on to me, knows of it without having been told
  if (cancel) state.say(from, { type: "cancel", chunk });
  state.effects.push({ type: "drop", chunk });
  abortOutgoing(state, chunk);
}

/** Ends every transfer of a chunk that I can no longer give. */
export function abortOutgoing(state: SwarmState, chunk: number): void {
  for (const peer of state.peers.values()) {
    if (refundOutgoing(state, peer, chunk)) state.say(peer, { type: "abort", chunk });
  }
}

/** A site member also brings this chunk in over the WAN: the lower node id keeps it, the other stops before its second cell. */
export function settleLeaders(state: SwarmState, rival: Peer, chunk: number): void {
  const arrival = state.arrivals.get(chunk);
  if (rival.wan || arrival === undefined || !arrival.from.wan) return;
  if (rival.id < state.self && arrival.got <= 1) releaseArrival(state, arrival, true);
}

/** Wrong bytes or a broken rule. */
export function onFouled(state: SwarmState, peer: Peer, event: SwarmEvent & { type: "fouled" }, nowMs: number): void {
  banPeer(state, peer, event.blame);
  readyAll(state, nowMs);
}
