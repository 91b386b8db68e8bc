import type { NodeId } from "#identity";

/** Why a receiver declines an offer. `site`: somebody of its site has or claims the chunk, so it need not cross the WAN again. */
export type DeclineReason = "have" | "full" | "no" | "site";

/** What a peer says about itself in one swarm. */
export type PeerStatus = {
  /** It wants what it has not; false for one that only serves. */
  wants: boolean;
  /** It brought in nothing over the WAN for a while and leaves that to another of its site. */
  yields: boolean;
  /** Somebody there waits for it, so it goes before what nobody waits for. */
  foreground: boolean;
  /** Other sites that it has a swarm connection to. */
  reach: readonly string[];
};

/** Runs of chunks: `[first, length, first, length, …]`, rising. */
export type Runs = readonly number[];

/** What one peer tells another about one blob (docs/spec/swarm.md). */
export type SwarmMessage =
  | ({ type: "status" } & PeerStatus)
  | { type: "have"; runs: Runs }
  | { type: "claim"; runs: Runs; wan: boolean }
  | { type: "unclaim"; runs: Runs }
  | { type: "offer"; chunk: number }
  | { type: "accept"; chunk: number }
  | { type: "decline"; chunk: number; reason: DeclineReason }
  | { type: "ready" }
  | { type: "want"; chunk: number }
  /** Receiver to sender: send no more of it. */
  | { type: "cancel"; chunk: number }
  /** Sender to receiver: no more of it will come. */
  | { type: "abort"; chunk: number };

/** Why a peer is no longer listened to. `bad-cell`: bytes that do not match the map; `ignored`: it says it has what it does not serve. */
export type Blame = "bad-cell" | "ignored" | "protocol";

export type SwarmEvent =
  | { type: "peer-up"; peer: NodeId; site: string; status: PeerStatus }
  | { type: "peer-down"; peer: NodeId }
  | { type: "said"; peer: NodeId; message: SwarmMessage }
  /** Cells that arrived and match the map. */
  | { type: "cells"; peer: NodeId; chunk: number; first: number; count: number; bytes: number }
  /** Cells that do not match the map, or a broken rule. */
  | { type: "fouled"; peer: NodeId; blame: Blame }
  /** The peer has taken these bytes off the connection. */
  | { type: "acked"; peer: NodeId; bytes: number }
  /** The store may have this chunk from an earlier run and is about to look: nobody needs to send it meanwhile. */
  | { type: "checking"; chunk: number }
  /** The store has this chunk, verified. */
  | { type: "stored"; chunk: number }
  /** The store has not, or no longer, got this chunk. */
  | { type: "lost"; chunk: number }
  /** The map is known and the disk is ready: offers can be accepted. */
  | { type: "begin" }
  /** Somebody here waits for it, or nobody does any more. */
  | { type: "awaited"; foreground: boolean }
  /** At least every 100 ms while anybody wants anything. */
  | { type: "tick" }
  /** After any of the above: decide what to offer and send, at most this many bytes over the LAN and the WAN, and accept no more than the other two until the next. */
  | { type: "pump"; lanBytes: number; wanBytes: number; lanInBytes: number; wanInBytes: number };

export type SwarmEffect =
  | { type: "say"; to: NodeId; message: SwarmMessage }
  | { type: "send"; to: NodeId; chunk: number; first: number; count: number; bytes: number }
  /** Forget the cells of a chunk that will not be finished. */
  | { type: "drop"; chunk: number }
  /** The last cell of a chunk is here: write it. */
  | { type: "finished"; chunk: number; from: NodeId; wan: boolean }
  | { type: "blame"; peer: NodeId; blame: Blame }
  /** Pump again at this time. */
  | { type: "wake"; atMs: number }
  | { type: "complete" };
