import type { NodeId } from "#identity";
import type { DialFailure } from "./address-book.ts";

/** Where a peer may be, and in which site. */
export type Hint = { addresses: readonly string[]; site: string };

/** What happened. `look`: time passed. */
export type NeighbourEvent =
  | { type: "look" }
  | ({ type: "up"; peer: NodeId; dialled?: string } & Hint)
  | { type: "down"; peer: NodeId }
  | { type: "dialled"; peer: NodeId; failure?: DialFailure }
  | { type: "told"; from: NodeId; peers: readonly Hint[] }
  | { type: "degree"; from: NodeId; degree: number }
  | { type: "parted"; from: NodeId };

/** What to do about it. `part`: say so, then close in good order. */
export type NeighbourEffect =
  | { type: "dial"; peer: NodeId; addresses: readonly string[] }
  | { type: "part"; peer: NodeId }
  | { type: "tell"; to: NodeId; peers: Hint[] }
  | { type: "degree"; to: NodeId; degree: number };
