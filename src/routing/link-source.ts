import type { NodeId } from "#identity";
import type { LinkTerms } from "./link-cost.ts";
import type { Changes } from "./heard-links.ts";
import type { KnownLinks } from "./link-map.ts";
import type { LinkPolicy } from "./link-policy.ts";
import type { Advertisement } from "./link-state.ts";

/** What a node knows of everybody's links: all of them, or with areas those of its own site and those between sites. */
export interface LinkSource extends Disposable {
  /** Works in what was heard since the last time. Returns of whom `known` may give something else. `own`: what this node knows of itself. */
  workIn(own: Advertisement, changes: Changes, policy: LinkPolicy): Set<NodeId>;
  known(node: NodeId): KnownLinks | undefined;
  /** Of whom anything is known. */
  origins(): Set<NodeId>;
  termsOf(from: NodeId, to: NodeId): LinkTerms | undefined;
  /** Who leads to a node whose own links are not known. */
  bordersOf(node: NodeId): NodeId[];
  /** Members whose links are not known, but who leads to them. */
  behindBorders(): NodeId[];
  /** The nodes between this one and another on a way inside the site; `undefined`: there is none. */
  insideTo(to: NodeId): readonly NodeId[] | undefined;
  /** Tells others of this node's links. */
  tell(advertisement: Advertisement): void;
  /** Says that this node has no links any more to whom they are told now. */
  withdraw(): void;
}
