import { createHash } from "node:crypto";
import type { NodeId } from "#identity";
import type { Peer, Site, SwarmState } from "./swarm-state.ts";

/** Highest-random-weight order of the nodes for one blob and one other site: everybody computes the same envoy. */
export function leaderWeight(root: string, node: NodeId, site = ""): number {
  return createHash("sha256").update(root).update(node).update(site).digest().readUIntBE(0, 6);
}

/** A site that I am the envoy to, and the envoy of it to my site. */
export type Lead = { site: Site; importer: Peer };

/**
 * Two sites exchange chunks through one node of each, its envoy to the other: so what goes over the WAN is spread over the members of a site and their
 * uplinks, and the death of one holds up what it exchanges with few sites. Everybody computes both envoys by highest random weight, so they
 * agree without a word as far as they see the same; where they do not, the receivers' vetoes settle it. Who asks me by name over
 * the WAN gets nothing from the one that should export, so for a while I do.
 */
export function leadsOf(state: SwarmState, nowMs: number): readonly Lead[] {
  if (state.leads !== undefined && nowMs < state.leadsUntilMs) return state.leads;
  state.leadsUntilMs = Number.POSITIVE_INFINITY;
  const near = [...state.peers.values()].filter((peer) => !peer.wan && !peer.banned);
  state.farSites = [...new Set([...state.sites.keys(), ...near.flatMap((peer) => peer.status.reach)])].toSorted();
  state.leads = [...state.sites.values()].flatMap((site) => {
    const asked = [...site.members].find((peer) => peer.askedUntilMs > nowMs && peer.status.wants && !peer.banned);
    if (asked !== undefined) state.leadsUntilMs = Math.min(state.leadsUntilMs, asked.askedUntilMs);
    const importer = asked ?? importerOf(state, site);
    const lead = importer !== undefined && (asked !== undefined || isEnvoy(state, site.name));
    return lead ? [{ site, importer }] : [];
  });
  return state.leads;
}

function importerOf(state: SwarmState, site: Site): Peer | undefined {
  let best: Peer | undefined;
  for (const peer of site.members) {
    if (!peer.status.wants || peer.status.yields || peer.banned) continue;
    if (best === undefined || weightOf(state, peer, state.site) > weightOf(state, best, state.site)) best = peer;
  }
  return best;
}

/** Whether I am the one of my site that deals with that site. */
function isEnvoy(state: SwarmState, site: string): boolean {
  const own = leaderWeight(state.root, state.self, site);
  for (const peer of state.peers.values()) {
    if (peer.wan || peer.banned || !peer.status.reach.includes(site)) continue;
    if (weightOf(state, peer, site) > own) return false;
  }
  return true;
}

/** Whether I am the one of my site that takes chunks from that site. */
export function amImporter(state: SwarmState, site: string): boolean {
  if (!state.status.wants || state.status.yields) return false;
  const own = leaderWeight(state.root, state.self, site);
  for (const peer of state.peers.values()) {
    if (peer.wan || peer.banned || !peer.status.wants || peer.status.yields) continue;
    if (peer.status.reach.includes(site) && weightOf(state, peer, site) > own) return false;
  }
  return true;
}

function weightOf(state: SwarmState, peer: Peer, site: string): number {
  let weight = peer.weights.get(site);
  if (weight === undefined) {
    weight = leaderWeight(state.root, peer.id, site);
    peer.weights.set(site, weight);
  }
  return weight;
}
