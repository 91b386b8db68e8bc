import { CELL_BYTES } from "../chunk-map.ts";

/*
 * The figures of the scheduler. Those with "sim" were found in the simulator of the swarm (bench/sim/swarm-world.ts): less
 * leaves links idle, more lets stale views cause duplicates and queues.
 */

/** Peers in one swarm, per node: the members of a site and the leaders of others. */
export const MAX_SWARM_PEERS = 128;

/** Offered or accepted but unsent, as seconds of my uplink, and at least this many chunks (sim). */
export const OFFER_AHEAD_S = 0.35;
export const OFFER_AHEAD_CHUNKS = 2;
/**
 * And in my site no more than so many times my part of what is left to offer there, so that towards the end nobody waits for what others have queued
 * (guided self-scheduling, Polychronopoulos and Kuck 1987). Sim: 1 → 8 took 1.034 × the bound without, 1.030 with 4 to 12, 1.039 with 1.
 */
export const OFFER_SHARES = 8;
/** The same over the WAN, to each importer, as seconds of the rate to it: a round trip passes between an offer and its acceptance (sim). */
export const OFFER_AHEAD_WAN_S = 0.4;
/** What I let arrive at once, as seconds of my downlink, and at least this many chunks; ≥ 2 × the offer limit (sim). */
export const ACCEPT_AHEAD_S = 0.8;
export const ACCEPT_AHEAD_CHUNKS = 8;
/**
 * Of one that has sent no whole chunk yet. Without it, 3 liars among 7 peers wasted up to 7 % of 64 MiB each on a busy machine (test/e2e/hostile.test.ts);
 * fewer cost peers with thin uplinks (sim).
 */
export const TRIAL_CHUNKS = 6;
/** Cap on both, whatever the rate: they are held in memory. */
export const MAX_AHEAD_BYTES = 32 * 1024 * 1024;

/**
 * Unacknowledged bytes beyond a round trip's worth, in seconds of the measured rate, so that a queue in a socket never delays more: of all site
 * members together, which share my uplink, and of each. With 150 ms, 9 hosts of 50 Mbit/s
 * had 1.0 to 1.5 MB each on the way, four times what a port queues, and lost twice as many packets at their uplinks.
 */
export const LANE_WINDOW_S = 0.12;
export const LAN_PEER_WINDOW_S = 0.12;
/**
 * Over the WAN: more makes CUBIC overrun the queue of an access link, and halt after (sim: 3 × 4 took 1.043 × the bound with 60 ms, 1.061 with 100,
 * 1.074 with 150); BBR needs bytes to probe with (lab: 1.22 with 60 ms, 1.17–1.21 with 100, 1.19 with 150).
 */
export const WAN_PEER_WINDOW_S = 0.1;
/** At least one cell is on the way to each receiver, and four in all. */
export const MIN_PEER_WINDOW_BYTES = CELL_BYTES;
export const MIN_LANE_WINDOW_BYTES = 4 * CELL_BYTES;
/** Over the WAN, until its rate is known: a link of 20 Mbit/s and 50 ms. */
export const MIN_WAN_WINDOW_BYTES = 128 * 1024;
export const MAX_WINDOW_BYTES = 8 * 1024 * 1024;

/** One frame takes at most this long on the link, so that others have their turn and cells are passed on early. */
export const FRAME_S = 0.01;
/** Bytes of one frame at most. */
export const MAX_FRAME_BYTES = 256 * 1024;

/** Haves and claims are collected this long before they are told. */
export const TELL_EVERY_MS = 100;
/** What another site need not know to decide, because our leader's word covers it, is told there so seldom: it costs the thin link. */
export const TELL_LATE_MS = 2_000;
/** A peer that sends nothing of what it was accepted for so long, or 4 × its usual time, is left for `SNUB_MS` (sim: shorter costs WAN copies). */
export const STALL_LAN_MS = 2_000;
export const STALL_WAN_MS = 10_000;
export const STALL_FACTOR = 4;
export const SNUB_MS = 5_000;
/** So many stalls in a row, without a finished chunk in between, and its haves no longer count. The first may be the network's. */
export const MAX_STALLS = 2;
/** A WAN offer declined because the site has it is not repeated for so long. */
export const SOFT_MS = 2_000;
/** A leader that gets nothing over the WAN for so long leaves the lead to another for `YIELD_MS`. */
export const LEADER_IDLE_MS = 10_000;
export const YIELD_MS = 60_000;
/** So long I export to a peer of another site that had to ask me by name. */
export const ASKED_MS = 60_000;
/** Open offers to one peer at which what it asks for by name is not offered: the others have their turn. */
export const MAX_WANTED = 8;
/** A peer that claims chunks and reports none for so long gets none of them: its claims no longer count. */
export const CLAIM_MS = 30_000;
/** Nothing arrives though somebody says it has what I miss: after so long I ask for it by name. */
export const CHALLENGE_AFTER_MS = 2_000;
