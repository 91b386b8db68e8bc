import type { NodeId } from "#identity";
import { addPeer, banPeer, changeStatus, refundOffer, refundOutgoing, removePeer } from "./membership.ts";
import { offer, offerLan, offerWan } from "./offering.ts";
import {
  abortOutgoing,
  gain,
  onCells,
  onFouled,
  onOffer,
  readyAll,
  releaseArrival,
  settleLeaders,
} from "./receiving.ts";
import { areRuns, chunksIn } from "./runs.ts";
import { onAcked, sendCells } from "./sending.ts";
import type { PeerStatus, SwarmEffect, SwarmEvent, SwarmMessage } from "./swarm-event.ts";
import { ASKED_MS, MAX_WANTED, SOFT_MS } from "./swarm-limits.ts";
import { type Peer, type Site, type SwarmOptions, SwarmState } from "./swarm-state.ts";
import { failChallenge, onTick } from "./tick.ts";

/**
 * The part of one node in the swarm of one blob, as a state machine without I/O, clock or chance of its own: the same
 * events with the same seed give the same effects. What it does and why: docs/spec/swarm.md.
 */
export class Swarm {
  readonly #state: SwarmState;

  constructor(options: SwarmOptions) {
    this.#state = new SwarmState(options);
  }

  /** What I have. */
  get have(): { has(chunk: number): boolean; readonly count: number; readonly full: boolean } {
    return this.#state.have;
  }

  /** The cell of `chunk` that this peer has to send me next; `undefined` when I wait for none of it. */
  expects(peer: NodeId, chunk: number): number | undefined {
    const arrival = this.#state.arrivals.get(chunk);
    return arrival?.from.id === peer ? arrival.got : undefined;
  }

  /** What I say of myself. */
  get status(): PeerStatus {
    return this.#state.status;
  }

  /** Whether a peer that wants the blob says that somebody waits for it. */
  isAwaited(): boolean {
    for (const { status, banned } of this.#state.peers.values()) {
      if (status.wants && status.foreground && !banned) return true;
    }
    return false;
  }

  /** Whether peers in the site and over the WAN wait for a word that there is room. */
  declined(): { lan: boolean; wan: boolean } {
    const lanes = { lan: false, wan: false };
    for (const peer of this.#state.peers.values()) if (peer.owedReady) lanes[this.#state.lane(peer)] = true;
    return lanes;
  }

  /** How many others have a chunk or more, and how many want some. */
  counts(): { holders: number; wanting: number } {
    const peers = [...this.#state.peers.values()].filter((peer) => !peer.banned);
    return {
      holders: peers.filter((peer) => peer.has.count > 0).length,
      wanting: peers.filter((peer) => peer.status.wants).length,
    };
  }

  /** Members of the own site that say that they have a link into another one. */
  reaching(site: string): NodeId[] {
    const near = [...this.#state.peers.values()].filter((peer) => !peer.wan && !peer.banned);
    return near.filter(({ status }) => status.reach.includes(site)).map(({ id }) => id);
  }

  /** Whether nothing is offered to this peer, on the way to it, or awaited from it. */
  isIdle(id: NodeId): boolean {
    const peer = this.#state.peers.get(id);
    if (peer === undefined) return true;
    return peer.offered.size + peer.outgoing.size + peer.arriving + peer.flow.inFlightBytes === 0;
  }

  /** Takes in one event; returns what is to be done, in order. `nowMs` never goes back. */
  step(event: SwarmEvent, nowMs: number): SwarmEffect[] {
    const state = this.#state;
    apply(state, event, nowMs);
    if (state.effects.length === 0) return [];
    const effects = state.effects;
    state.effects = [];
    return effects;
  }
}

function apply(state: SwarmState, event: SwarmEvent, nowMs: number): void {
  switch (event.type) {
    case "peer-up":
      return addPeer(state, event.peer, event.site, event.status, nowMs);
    case "peer-down":
      removePeer(state, event.peer);
      return readyAll(state, nowMs);
    case "checking":
      state.checking.add(event.chunk);
      return;
    case "stored":
      return gain(state, event.chunk);
    case "lost":
      return lose(state, event.chunk);
    case "begin":
      state.begun = true;
      state.lastCellMs = nowMs;
      state.lastWanCellMs = nowMs;
      if (state.have.full && state.status.wants) {
        changeStatus(state, { wants: false, foreground: false });
        state.effects.push({ type: "complete" });
      }
      return readyAll(state, nowMs);
    case "awaited":
      return changeStatus(state, { foreground: event.foreground });
    case "tick":
      return onTick(state, nowMs);
    case "pump":
      state.acceptBytes = { lan: event.lanInBytes, wan: event.wanInBytes };
      // Who accepts waits for the cells, and takes a sender for dead that has no room to send them.
      if (event.lanBytes > 0) offerLan(state, nowMs);
      if (event.wanBytes > 0) offerWan(state, nowMs);
      return sendCells(state, { lan: event.lanBytes, wan: event.wanBytes }, nowMs);
    default:
      return applyFromPeer(state, event, nowMs);
  }
}

function applyFromPeer(
  state: SwarmState,
  event: SwarmEvent & { type: "said" | "cells" | "fouled" | "acked" },
  nowMs: number,
): void {
  const peer = state.peers.get(event.peer);
  if (peer === undefined) return;
  if (event.type === "acked") return onAcked(state, peer, event.bytes, nowMs);
  if (peer.banned) return;
  if (event.type === "cells") return onCells(state, peer, event, nowMs);
  if (event.type === "fouled") return onFouled(state, peer, event, nowMs);
  const { message } = event;
  if (!isInRange(state, message)) return banPeer(state, peer, "protocol");
  onMessage(state, peer, message, nowMs);
}

function isInRange(state: SwarmState, message: SwarmMessage): boolean {
  const { chunkCount } = state.geometry;
  if ("runs" in message) return areRuns(message.runs, chunkCount);
  return !("chunk" in message) || message.chunk < chunkCount;
}

function onMessage(state: SwarmState, peer: Peer, message: SwarmMessage, nowMs: number): void {
  switch (message.type) {
    case "status":
      peer.status = statusIn(message);
      state.leads = undefined;
      return;
    case "have":
      peer.newsMs = nowMs;
      for (const chunk of chunksIn(message.runs)) noteHave(state, peer, chunk);
      return;
    case "claim":
      for (const chunk of chunksIn(message.runs)) {
        if (!peer.has.has(chunk)) state.change(peer, chunk, () => peer.claims.add(chunk));
        if (message.wan) settleLeaders(state, peer, chunk);
      }
      return;
    case "unclaim":
      for (const chunk of chunksIn(message.runs)) forgetChunk(state, peer, chunk);
      return;
    case "offer":
      return onOffer(state, peer, message.chunk, nowMs);
    case "want":
      return onWant(state, peer, message.chunk, nowMs);
    case "ready":
      peer.full = false;
      return;
    default:
      return onTransferMessage(state, peer, message, nowMs);
  }
}

function statusIn({ wants, yields, foreground, reach }: PeerStatus): PeerStatus {
  return { wants, yields, foreground, reach };
}

function noteHave(state: SwarmState, peer: Peer, chunk: number): void {
  state.change(peer, chunk, () => {
    peer.has.add(chunk);
    peer.claims.delete(chunk);
  });
}

function forgetChunk(state: SwarmState, peer: Peer, chunk: number): void {
  state.change(peer, chunk, () => {
    peer.has.delete(chunk);
    peer.claims.delete(chunk);
  });
}

/** What is said about one chunk on its way from one to the other. */
function onTransferMessage(
  state: SwarmState,
  peer: Peer,
  message: SwarmMessage & { type: "accept" | "decline" | "cancel" | "abort" },
  nowMs: number,
): void {
  const { chunk } = message;
  const arrival = state.arrivals.get(chunk);
  switch (message.type) {
    case "accept":
      return onAccept(state, peer, chunk, nowMs);
    case "decline":
      if (!takeAnswer(state, peer, chunk, nowMs)) return;
      if (message.reason === "have") state.change(peer, chunk, () => peer.claims.add(chunk));
      else if (message.reason === "site") softCover(state, peer, chunk, nowMs);
      else peer.full = true;
      return;
    case "cancel":
      refundOutgoing(state, peer, chunk);
      return;
    case "abort":
      if (arrival?.from === peer) releaseArrival(state, arrival, false);
      if (peer.challenge?.chunk === chunk) failChallenge(state, peer);
      return;
  }
}

/** An answer to an offer of mine; false when I made none. Both are small, so they show how long the way itself takes. */
function takeAnswer(state: SwarmState, peer: Peer, chunk: number, nowMs: number): boolean {
  const offeredMs = peer.offered.get(chunk);
  if (offeredMs === undefined) return false;
  peer.flow.noteRtt(nowMs - offeredMs, nowMs);
  return refundOffer(state, peer, chunk);
}

function onAccept(state: SwarmState, peer: Peer, chunk: number, nowMs: number): void {
  if (!takeAnswer(state, peer, chunk, nowMs)) return state.say(peer, { type: "abort", chunk });
  if (!state.have.has(chunk) && !state.arrivals.has(chunk)) return state.say(peer, { type: "abort", chunk });
  state.change(peer, chunk, () => peer.claims.add(chunk));
  if (peer.outgoing.size === 0 && !state.senders.includes(peer)) state.senders.push(peer);
  peer.outgoing.set(chunk, { chunk, cells: state.geometry.cellsOf(chunk), next: 0 });
  state.owe(peer, state.geometry.bytesOf(chunk));
}

/** Its site has the chunk, so for a while nobody there needs it from me. */
function softCover(state: SwarmState, peer: Peer, chunk: number, nowMs: number): void {
  const site: Site | undefined = state.sites.get(peer.site);
  if (site === undefined) return;
  state.coverSite(site, chunk, 1);
  state.soft.push({ site, chunk, untilMs: nowMs + SOFT_MS });
}

/** A peer asks by name for what I say that I have. */
function onWant(state: SwarmState, peer: Peer, chunk: number, nowMs: number): void {
  if (peer.wan) {
    peer.askedUntilMs = nowMs + ASKED_MS;
    state.leads = undefined;
  }
  if (peer.offered.has(chunk) || peer.outgoing.has(chunk) || peer.offered.size >= MAX_WANTED) return;
  if (!state.have.has(chunk) && !state.arrivals.has(chunk)) return state.say(peer, { type: "abort", chunk });
  offer(state, peer, chunk, nowMs);
}

/** The store lost a chunk: nobody gets it from me any more, and I want it again if I want the blob. */
function lose(state: SwarmState, chunk: number): void {
  if (state.checking.delete(chunk)) state.newUnclaims.add(chunk);
  if (!state.have.delete(chunk)) return;
  for (const untold of [state.newHaves, state.newLanHaves, state.lateHaves]) untold.delete(chunk);
  state.newUnclaims.add(chunk);
  state.unlist(chunk);
  abortOutgoing(state, chunk);
}
