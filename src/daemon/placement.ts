import { matchesSelector, parseSelector } from "#api";
import type { NodeId, SignedDocument } from "#identity";
import type { OpenNode } from "./node.ts";

type Placed = { name: string; node: NodeId; site: string; tenant: string; labels: Readonly<Record<string, string>> };

/** Whether somebody said, signed, that this version is gone. */
export function isDeleted({ state }: OpenNode, name: string, version: number): boolean {
  return state.store
    .list("Tombstone")
    .some(
      ({ body: { spec } }) => spec.target.kind === "Artifact" && spec.target.name === name && spec.version >= version,
    );
}

/** Placements in force of one artifact. */
export function placementsOf({ state }: OpenNode, artifact: string): SignedDocument<"Placement">[] {
  return state.store.list("Placement").filter(({ body }) => body.spec.artifact === artifact);
}

/** Whether a placement's selector picks a node: its labels, and `name`, `site`, `node`. A selector that cannot be read picks none. */
export function asksFor(placement: SignedDocument<"Placement">, { name, node, site, tenant, labels }: Placed): boolean {
  if (placement.body.metadata.tenant !== tenant) return false;
  try {
    return matchesSelector(parseSelector(placement.body.spec.selector), { ...labels, name, node, site });
  } catch {
    return false;
  }
}
