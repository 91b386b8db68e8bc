import type { SignedDocument } from "./document.ts";
import type { NodeId } from "./node-id.ts";

/**
 * Whether this generation of a node is revoked: an entry covers the generation it names and all below. Without a revocation
 * document nobody is. A registrar's own revocation works through its key, see `trustedKeys`.
 */
export function isRevoked(
  node: NodeId,
  generation: number,
  revocation: SignedDocument<"Revocation"> | undefined,
): boolean {
  return revocation?.body.spec.nodes.some((entry) => entry.node === node && entry.generation >= generation) ?? false;
}
