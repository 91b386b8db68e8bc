import { type Lead, leadsOf } from "./leaders.ts";
import { MAX_AHEAD_BYTES, OFFER_AHEAD_CHUNKS, OFFER_AHEAD_S, OFFER_AHEAD_WAN_S, OFFER_SHARES } from "./swarm-limits.ts";
import type { Peer, Site, SwarmState } from "./swarm-state.ts";

/** Offers what the site needs most to those who wait least on me, as far ahead as my uplink can follow. */
export function offerLan(state: SwarmState, nowMs: number): void {
  const aheadOfUplink = OFFER_AHEAD_S * state.uplink.lan.bytesPerSecond();
  const limit = aheadBytes(state, Math.min(aheadOfUplink, OFFER_SHARES * shareBytes(state)));
  if (state.unsent.lan >= limit) return;
  const takers = [...state.peers.values()].filter((peer) => !peer.wan && takesOffers(peer));
  if (takers.length === 0) return;
  while (state.unsent.lan < limit) {
    const chunk = state.lanRarity.pick(state.lanPeers, state.random, (c) => takers.some((p) => !state.isCovered(p, c)));
    if (chunk === undefined) return;
    const peer = leastOffered(state, takers, (p) => !state.isCovered(p, chunk));
    if (peer === undefined) return;
    offer(state, peer, chunk, nowMs);
  }
}

/**
 * Offers the chunk that the fewest sites have to the importer of a site without it, of those sites that I am the envoy to. Each is at the end of a
 * path of its own, so each has its own limit.
 */
export function offerWan(state: SwarmState, nowMs: number): void {
  if (state.sites.size === 0) return;
  let leads = leadsOf(state, nowMs).filter(({ importer }) => takesOffers(importer));
  for (;;) {
    leads = leads.filter(({ importer }) => importer.unsent < wanLimit(state, importer));
    if (leads.length === 0) return;
    if (!offerFirstCopy(state, leads, nowMs) && (holdsBack(state) || !offerRarest(state, leads, nowMs))) return;
  }
}

/**
 * Where the blob comes from, all sites wait for the uplink of mine. While the first chunks spread in it, its envoys have the same few, and each would send them
 * to its own site; what each is to send first comes soon.
 */
function holdsBack(state: SwarmState): boolean {
  return state.status.wants && state.farSites.length > 1 && state.siteIsWhole();
}

/**
 * A chunk that no other site has goes first to the site whose turn it is, so that the envoys of my site, who hear late what the others offer, do not
 * send the same chunks.
 */
function offerFirstCopy(state: SwarmState, leads: readonly Lead[], nowMs: number): boolean {
  const { farSites } = state;
  const leadFor = (chunk: number): Lead | undefined =>
    leads.find(({ site }) => site.name === farSites[chunk % farSites.length]);
  const chunk = state.wanRarity.pick(1, state.random, (c) => leadFor(c) !== undefined);
  const lead = chunk === undefined ? undefined : leadFor(chunk);
  if (chunk === undefined || lead === undefined) return false;
  offer(state, lead.importer, chunk, nowMs);
  return true;
}

function offerRarest(state: SwarmState, leads: readonly Lead[], nowMs: number): boolean {
  const fits = (chunk: number): boolean => leads.some(({ site }) => lacks(site, chunk));
  const chunk = state.wanRarity.pick(state.sites.size, state.random, fits);
  if (chunk === undefined) return false;
  const importers = leads.filter(({ site }) => lacks(site, chunk)).map(({ importer }) => importer);
  const peer = leastOffered(state, importers, () => true);
  if (peer !== undefined) offer(state, peer, chunk, nowMs);
  return peer !== undefined;
}

/** Of what is left to offer in my site, if all there take an equal part. */
function shareBytes({ lanRarity, lanPeers, geometry }: SwarmState): number {
  return (lanRarity.left(lanPeers) * geometry.chunkBytes) / (lanPeers + 1);
}

function wanLimit(state: SwarmState, importer: Peer): number {
  return aheadBytes(state, OFFER_AHEAD_WAN_S * importer.flow.bytesPerSecond());
}

function aheadBytes(state: SwarmState, bytes: number): number {
  return Math.max(OFFER_AHEAD_CHUNKS * state.geometry.chunkBytes, Math.min(MAX_AHEAD_BYTES, bytes));
}

function takesOffers(peer: Peer): boolean {
  return peer.status.wants && !peer.full && !peer.banned;
}

/** Of those that fit, one with the fewest open offers from me; a random one among equals. */
function leastOffered(state: SwarmState, peers: readonly Peer[], fits: (peer: Peer) => boolean): Peer | undefined {
  let best: Peer | undefined;
  let ties = 0;
  for (const peer of peers) {
    if (!fits(peer)) continue;
    const open = peer.offered.size - (best?.offered.size ?? Number.POSITIVE_INFINITY);
    if (open > 0) continue;
    ties = open < 0 ? 1 : ties + 1;
    if (state.random.below(ties) === 0) best = peer;
  }
  return best;
}

/** Offers one chunk, which counts as unsent from now on. */
export function offer(state: SwarmState, peer: Peer, chunk: number, nowMs: number): void {
  state.change(peer, chunk, () => peer.offered.set(chunk, nowMs));
  state.owe(peer, state.geometry.bytesOf(chunk));
  state.say(peer, { type: "offer", chunk });
}

function lacks(site: Site, chunk: number): boolean {
  return site.cover[chunk] === 0;
}
