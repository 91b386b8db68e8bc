import type { Body } from "./document.ts";
import { type Kind, KINDS, type Role, type Spec } from "./kinds.ts";

/** Which role, and how many keys that have it, a charter asks for under a document. A tombstone needs what its target needs. */
export function ruleFor(charter: Spec<"Charter">, body: Body): { role: Role; count: number } {
  const kind: Kind = body.kind === "Tombstone" ? (body as Body<"Tombstone">).spec.target.kind : body.kind;
  const written = charter.rules[kind];
  if (written !== undefined) return written;
  const { role, count } = KINDS[kind].rule;
  return { role, count: count === "threshold" ? charter.threshold : count };
}
