import type { Bitset } from "../bitset.ts";
import { amImporter } from "./leaders.ts";
import { changeStatus, forgetClaims, forgetHaves } from "./membership.ts";
import { readyAll, releaseArrival } from "./receiving.ts";
import { runsOf } from "./runs.ts";
import type { Runs, SwarmMessage } from "./swarm-event.ts";
import {
  CHALLENGE_AFTER_MS,
  CLAIM_MS,
  LEADER_IDLE_MS,
  MAX_STALLS,
  SNUB_MS,
  STALL_FACTOR,
  STALL_LAN_MS,
  STALL_WAN_MS,
  TELL_EVERY_MS,
  TELL_LATE_MS,
  YIELD_MS,
} from "./swarm-limits.ts";
import type { Peer, SwarmState } from "./swarm-state.ts";

/** What only the passing of time brings. */
export function onTick(state: SwarmState, nowMs: number): void {
  const seeks = state.begun && state.status.wants;
  if (seeks) turnLead(state, nowMs); // first: who does not answer when it is asked by name loses its haves after the same time
  for (const peer of state.peers.values()) {
    leaveStalled(state, peer, nowMs);
    if (peer.claims.count === 0) peer.newsMs = nowMs;
    else if (nowMs - peer.newsMs >= CLAIM_MS) forgetClaims(state, peer);
    if (peer.challenge !== undefined && nowMs >= peer.challenge.dueMs) failChallenge(state, peer);
  }
  readyAll(state, nowMs);
  while (state.soft[0] !== undefined && state.soft[0].untilMs <= nowMs) {
    state.coverSite(state.soft[0].site, state.soft[0].chunk, -1);
    state.soft.shift();
  }
  if (seeks) challenge(state, nowMs);
  tell(state, nowMs);
}

function stallMs(peer: Peer): number {
  return Math.max(peer.wan ? STALL_WAN_MS : STALL_LAN_MS, STALL_FACTOR * peer.chunkMs);
}

/**
 * A peer from which nothing comes any more: cancel all of its transfers and take nothing from it for a while. Who offers, is accepted and
 * stalls again and again does not serve what it says it has.
 */
function leaveStalled(state: SwarmState, peer: Peer, nowMs: number): void {
  if (peer.arriving === 0 || nowMs - peer.lastCellMs < stallMs(peer)) return;
  peer.snubbedUntilMs = nowMs + SNUB_MS;
  peer.owedReady = true;
  for (const arrival of state.arrivals.values()) {
    if (arrival.from === peer) releaseArrival(state, arrival, true);
  }
  peer.stalls += 1;
  if (peer.stalls === MAX_STALLS) failChallenge(state, peer);
}

/** A leader without a cell over the WAN for long, though other sites have what is missing in the whole site, leaves the lead for a while. */
function turnLead(state: SwarmState, nowMs: number): void {
  if (state.status.yields) {
    if (nowMs >= state.yieldUntilMs) changeStatus(state, { yields: false });
    return;
  }
  // A successor waits from when it takes over: what did not come before was another's to bring.
  const imports = [...state.sites.keys()].filter((site) => amImporter(state, site)).join("\n");
  if (imports !== state.imports) state.lastWanCellMs = nowMs;
  state.imports = imports;
  if (imports === "" || nowMs - state.lastWanCellMs < LEADER_IDLE_MS) return;
  const peers = [...state.peers.values()];
  if (!peers.some((peer) => !peer.wan && peer.status.wants && !peer.status.yields)) return; // to nobody
  const missing = state.have.firstMissing();
  if (missing === undefined || state.siteHas(missing)) return;
  if (!peers.some((peer) => peer.wan && peer.has.has(missing) && amImporter(state, peer.site))) return;
  state.yieldUntilMs = nowMs + YIELD_MS;
  state.lastWanCellMs = nowMs;
  changeStatus(state, { yields: true });
}

/** Nothing comes though somebody says it has what I miss: ask for it by name. A have that is not served is no have. */
function challenge(state: SwarmState, nowMs: number): void {
  if (state.arrivals.size > 0 || nowMs - state.lastCellMs < CHALLENGE_AFTER_MS) return;
  const peers = [...state.peers.values()];
  if (peers.some((peer) => peer.challenge !== undefined)) return;
  const { chunkCount } = state.geometry;
  const chunk = state.have.firstMissing(state.random.below(chunkCount)) ?? state.have.firstMissing();
  if (chunk === undefined) return;
  const mayAsk = (peer: Peer): boolean => amImporter(state, peer.site) && !state.siteHas(chunk);
  const holders = peers.filter(
    (p) => p.has.has(chunk) && !p.banned && p.snubbedUntilMs <= nowMs && (!p.wan || mayAsk(p)),
  );
  const holder = holders[state.random.below(Math.max(1, holders.length))];
  if (holder === undefined) return;
  holder.challenge = { chunk, dueMs: nowMs + stallMs(holder) };
  state.say(holder, { type: "want", chunk });
}

/** It says that it has what it does not serve. */
export function failChallenge(state: SwarmState, peer: Peer): void {
  peer.challenge = undefined;
  forgetHaves(state, peer);
  state.effects.push({ type: "blame", peer: peer.id, blame: "ignored" });
}

/** Tells what I have, claim and no longer claim since the last time, to whom it helps. */
function tell(state: SwarmState, nowMs: number): void {
  if (nowMs - state.toldMs < TELL_EVERY_MS) return;
  state.toldMs = nowMs;
  const all = [...state.peers.values()].filter((peer) => !peer.banned);
  const near = all.filter((peer) => !peer.wan);
  const far = all.filter((peer) => peer.wan);
  for (const chunk of state.newLanHaves.values()) state.lateHaves.add(chunk);
  tellSet(state, all, state.newUnclaims, (runs) => ({ type: "unclaim", runs }));
  tellSet(state, near, state.newClaims, (runs) => ({ type: "claim", runs, wan: false }));
  tellSet(state, far, state.newWanClaims, (runs) => ({ type: "claim", runs, wan: true }));
  tellSet(state, all, state.newHaves, (runs) => ({ type: "have", runs }));
  tellSet(state, near, state.newLanHaves, (runs) => ({ type: "have", runs }));
  if (nowMs - state.toldLateMs < TELL_LATE_MS) return;
  state.toldLateMs = nowMs;
  tellSet(state, [...near, ...far.filter((peer) => keepsInformed(state, peer))], state.lateHaves, (runs) => ({
    type: "have",
    runs,
  }));
}

/** What a site has is told to another by the one that imports from there; who takes that over tells all of it. */
function keepsInformed(state: SwarmState, peer: Peer): boolean {
  const informs = !state.status.wants || amImporter(state, peer.site);
  if (informs && !peer.informed) for (const runs of runsOf(state.have)) state.say(peer, { type: "have", runs });
  peer.informed = informs;
  return informs;
}

function tellSet(state: SwarmState, peers: readonly Peer[], set: Bitset, message: (runs: Runs) => SwarmMessage): void {
  if (set.count === 0) return;
  for (const runs of runsOf(set)) {
    for (const peer of peers) state.say(peer, message(runs));
  }
  set.clear();
}
