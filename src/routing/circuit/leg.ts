import { Fault } from "#core";
import type { NodeId } from "#identity";
import type { Host } from "#mesh";
import type { Open, Opening, Via } from "./circuit-open.ts";

/** Where a node is on the way of an opening. */
export type Leg = {
  /** Right before this node. */
  from: NodeId;
  /** Right behind this node; `undefined` at the target. */
  next: NodeId | undefined;
  /** This node is in a detour: it passes the opening on as it is, and may not make another. */
  isInside: boolean;
};

/** The link that an opening takes next, and the detour that begins with it. */
export type Step = { to: NodeId; via: Via | undefined };

export type StepDeps = {
  host: Pick<Host, "session">;
  /** Whether operators let bytes go over a link to a node. */
  mayUse: (node: NodeId) => boolean;
  /** Up to `MAX_DETOUR` nodes between this node and another of its site, none of them in `avoid`. */
  detour: (to: NodeId, avoid: ReadonlySet<NodeId>) => readonly NodeId[] | undefined;
};

/**
 * Where `self` is on the way. `isNear`: a member of its own site. Throws Fault `routing.circuit-open` when it is not on the way, or the detour
 * is not one that this node may have a part in.
 */
export function legOf({ open, via }: Opening, self: NodeId, isNear: (node: NodeId) => boolean): Leg {
  const path = [open.source, ...open.path];
  const way = via === undefined ? path : detoured(path, via, isNear);
  const at = way.indexOf(self);
  const from = way[at - 1];
  if (from === undefined) throw refuse("this node is not next on the path");
  const isInside = via?.nodes.includes(self) === true;
  return { from, next: isInside ? way[at + 1] : path[path.indexOf(self) + 1], isInside };
}

/** To `next` of the path itself, or by a detour to it where its link is gone, suspect or forbidden and a detour is known. */
export function stepTo(
  next: NodeId,
  { source, path }: Pick<Open, "source" | "path">,
  { host, mayUse, detour }: StepDeps,
): Step {
  if (mayUse(next) && host.session(next)?.suspect() === false) return { to: next, via: undefined };
  const nodes = detour(next, new Set([source, ...path]));
  const [first] = nodes ?? [];
  if (nodes === undefined || first === undefined) return { to: next, via: undefined };
  return { to: first, via: { to: path.indexOf(next), nodes: [...nodes] } };
}

/** A detour and its two ends. `path` begins with the source, which `to` does not count. */
function detoured(path: readonly NodeId[], { to, nodes }: Via, isNear: (node: NodeId) => boolean): NodeId[] {
  const [before, behind] = [path[to], path[to + 1]];
  if (before === undefined || behind === undefined) throw refuse("a detour to where the path does not lead");
  if (new Set([...path, ...nodes]).size < path.length + nodes.length) throw refuse("a detour over a node twice");
  const way = [before, ...nodes, behind];
  if (!way.every((node) => isNear(node))) throw refuse("a detour that leaves this node's site");
  return way;
}

function refuse(what: string): Fault {
  return new Fault("routing.circuit-open", what, { exit: "denied" });
}
