import type { Ed25519Key } from "#core";
import { documentId, draftPayload, signPayload } from "./document.ts";
import type { DocumentStore } from "./document-store.ts";

/**
 * A beacon: a registrar's word on the time and on the newest versions. With `nonce` (16 bytes) it answers one asker, who thereby
 * knows that it is fresh; such a one is not put into a document store.
 *
 * `name`: the registrar's name. Throws Fault `identity.document` (invalid) when the store belongs to no fleet.
 */
export function signBeacon(
  store: DocumentStore,
  key: Ed25519Key,
  name: string,
  nowMs: number,
  nonce?: Uint8Array,
): Uint8Array {
  const payload = draftPayload({
    kind: "Beacon",
    name,
    fleet: store.fleet ?? "",
    version: store.nextVersion(documentId("Beacon", name)),
    nowMs,
    spec: {
      time: new Date(nowMs).toISOString(),
      epoch: 0, // no document kind of this version has epochs
      charter: store.charter?.body.version ?? 0,
      revocation: store.get("Revocation", "fleet")?.body.version ?? 0,
      ...(nonce === undefined ? {} : { nonce: Buffer.from(nonce).toString("base64") }),
    },
  });
  return signPayload("Beacon", payload, key);
}
