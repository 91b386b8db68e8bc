import type { Peer, Site, SwarmState } from "./swarm-state.ts";

/**
 * The sites that I am the one to export to, with the one of each to import. Everybody computes both by highest random
 * weight, so they agree without a word as far as they see the same; where they do not, the receivers' vetoes settle it. Who asks
 * me by name over the WAN gets nothing from the one that should export, so for a while I do.
 */
export function leadsOf(state: SwarmState, nowMs: number): { site: Site; importer: Peer }[] {
  state.leads ??= [...state.sites.values()].flatMap((site) => {
    const asked = [...site.members].find((peer) => peer.askedUntilMs > nowMs && peer.status.wants && !peer.banned);
    const importer = asked ?? importerOf(site);
    const lead = importer !== undefined && (asked !== undefined || amExporterTo(state, site));
    return lead ? [{ site, importer }] : [];
  });
  return state.leads;
}

function importerOf(site: Site): Peer | undefined {
  let best: Peer | undefined;
  for (const peer of site.members) {
    if (!peer.status.wants || peer.status.yields || peer.banned) continue;
    if (best === undefined || peer.weight > best.weight) best = peer;
  }
  return best;
}

function amExporterTo(state: SwarmState, site: Site): boolean {
  for (const peer of state.peers.values()) {
    if (peer.wan || peer.banned || !peer.status.reach.includes(site.name)) continue;
    if (peer.weight > state.weight) return false;
  }
  return true;
}

/** Whether I am the one of my site that takes chunks from other sites. */
export function amImporter(state: SwarmState): boolean {
  if (!state.status.wants || state.status.yields) return false;
  for (const peer of state.peers.values()) {
    if (peer.wan || peer.banned || !peer.status.wants || peer.status.yields) continue;
    if (peer.status.reach.length > 0 && peer.weight > state.weight) return false;
  }
  return true;
}
