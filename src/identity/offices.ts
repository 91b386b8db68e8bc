import type { SignedDocument } from "./document.ts";
import type { DocumentStore } from "./document-store.ts";
import { keyHash, type NodeId } from "./node-id.ts";

type Office = SignedDocument<"Registrar">;

/** Who may admit nodes, and what shows a device that it is so. Worked out when a document changes it, not for every device. */
export type Offices = {
  /** The Registrar document of this node, if it may admit. */
  own: Office | undefined;
  /** Those of all that may. */
  live: readonly Office[];
  /** Envelopes that let a device verify this fleet after its charters: registrars, revocation, and those who signed that. */
  offered: readonly Uint8Array[];
};

export function readOffices(store: DocumentStore, self: NodeId): Offices {
  const all = store.list("Registrar");
  const live = all.filter(({ body }) => {
    const key = store.keys.get(keyHash(Buffer.from(body.spec.publicKey, "base64")));
    return key !== undefined && key.keepMembers === undefined; // else it was revoked
  });
  const revocation = store.get("Revocation", "fleet");
  const signedIt = ({ body }: SignedDocument<"Operator">): boolean =>
    revocation?.signers.includes(keyHash(Buffer.from(body.spec.publicKey, "base64"))) ?? false;
  const offered = [
    ...store.list("Operator").filter(signedIt),
    ...all,
    ...(revocation === undefined ? [] : [revocation]),
  ];
  return { own: live.find(({ body }) => body.spec.node === self), live, offered: offered.map(({ bytes }) => bytes) };
}
