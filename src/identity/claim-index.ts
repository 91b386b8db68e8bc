import { ruleFor } from "./charter.ts";
import type { SignedDocument } from "./document.ts";
import type { DocumentStore } from "./document-store.ts";
import type { Claim, ClaimIndex } from "./evidence.ts";

/**
 * The claims in force, found by key and by serial. A list with a single row that names a key is an approval: somebody
 * looked at that one device.
 *
 * A row may name another tenant than its list: it counts only if those who signed the list may admit devices there too.
 */
export function indexClaims(store: DocumentStore): ClaimIndex {
  const byKey = new Map<string, Claim[]>();
  const bySerial = new Map<string, Claim[]>();
  for (const list of store.list("ClaimList")) {
    const { metadata, spec, expires } = list.body;
    for (const row of spec.rows) {
      const tenant = row.tenant ?? metadata.tenant;
      if (tenant !== metadata.tenant && !mayAdmit(store, list, tenant)) continue;
      const rowEndMs = row.expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(row.expires);
      const claim: Claim = {
        list: list.id,
        evidence: spec.rows.length === 1 && row.key !== undefined ? "approve" : "claim",
        row,
        tenant,
        expiresMs: Math.min(Date.parse(expires), rowEndMs),
      };
      add(bySerial, row.serial, claim);
      if (row.key !== undefined) add(byKey, row.key, claim);
    }
  }
  return { byKey: (key) => byKey.get(key) ?? [], bySerial: (serial) => bySerial.get(serial) ?? [] };
}

function mayAdmit(store: DocumentStore, list: SignedDocument<"ClaimList">, tenant: string): boolean {
  const { charter, keys } = store;
  if (charter === undefined) return false;
  const { role, count } = ruleFor(charter.body.spec, list.body);
  const able = list.signers.filter((keyid) =>
    keys.get(keyid)?.grants.some((grant) => grant.role === role && (grant.tenant === "*" || grant.tenant === tenant)),
  );
  return able.length >= count;
}

function add(index: Map<string, Claim[]>, key: string, claim: Claim): void {
  const known = index.get(key);
  if (known === undefined) index.set(key, [claim]);
  else known.push(claim);
}
