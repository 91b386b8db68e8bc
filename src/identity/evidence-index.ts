import { ruleFor } from "./signing-rule.ts";
import type { SignedDocument } from "./document.ts";
import type { DocumentStore } from "./document-store.ts";
import type { ClaimRow } from "./claims-csv.ts";
import { keyHash, type NodeId } from "./node-id.ts";

/** What every kind of evidence has. */
type Signed = {
  tenant: string;
  /** Unix milliseconds; `Infinity` without an end. */
  expiresMs: number;
  /** The registrar that keeps what was used up; `undefined`: none is named, and there are several, who could disagree while they are apart. */
  home: NodeId | undefined;
};

/** A row of a claim list with what its document adds. */
export type Claim = Signed & {
  /** Id of the ClaimList document. */
  list: string;
  evidence: "claim" | "approve";
  row: ClaimRow;
};

/** A one-time pass; `hash`: hex SHA-256 of its public key. */
export type PassClaim = Signed & {
  name: string;
  hash: string;
  site: string | undefined;
  labels: Readonly<Record<string, string>>;
};

export type OpenBatch = Signed & { document: SignedDocument<"Batch"> };

/** Evidence found by what a device shows. */
export type EvidenceIndex = {
  byKey(keyHash: string): readonly Claim[];
  bySerial(serial: string): readonly Claim[];
  byPass(hash: string): PassClaim | undefined;
  batches: readonly OpenBatch[];
};

/**
 * The evidence in force. A list with a single row that names a key is an approval: somebody looked at that one device.
 *
 * `registrars`: nodes that may admit now. A row may name another tenant than its list: it counts only if those who signed the list may admit devices there too.
 */
export function indexEvidence(store: DocumentStore, registrars: readonly NodeId[]): EvidenceIndex {
  const signed = ({ body }: SignedDocument<"ClaimList" | "Batch" | "Pass">): Signed => ({
    tenant: body.metadata.tenant,
    expiresMs: Date.parse(body.expires),
    home: body.spec.home ?? (registrars.length === 1 ? registrars[0] : undefined),
  });
  const byKey = new Map<string, Claim[]>();
  const bySerial = new Map<string, Claim[]>();
  for (const list of store.list("ClaimList")) {
    const common = signed(list);
    for (const claim of claimsOf(store, list, common)) {
      add(bySerial, claim.row.serial, claim);
      if (claim.row.key !== undefined) add(byKey, claim.row.key, claim);
    }
  }
  const byPass = new Map<string, PassClaim>();
  for (const pass of store.list("Pass")) {
    const { metadata, spec } = pass.body;
    const hash = keyHash(Buffer.from(spec.publicKey, "base64"));
    byPass.set(hash, { ...signed(pass), name: metadata.name, hash, site: spec.site, labels: spec.labels ?? {} });
  }
  return {
    byKey: (key) => byKey.get(key) ?? [],
    bySerial: (serial) => bySerial.get(serial) ?? [],
    byPass: (hash) => byPass.get(hash),
    batches: store.list("Batch").map((document) => ({ ...signed(document), document })),
  };
}

function* claimsOf(store: DocumentStore, list: SignedDocument<"ClaimList">, common: Signed): Iterable<Claim> {
  const { rows } = list.body.spec;
  const mayAdmitTo = new Map([[common.tenant, true]]);
  for (const row of rows) {
    const tenant = row.tenant ?? common.tenant;
    const may = mayAdmitTo.get(tenant) ?? mayAdmit(store, list, tenant);
    mayAdmitTo.set(tenant, may);
    if (!may) continue;
    const evidence = rows.length === 1 && row.key !== undefined ? "approve" : "claim";
    const rowEndMs = row.expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(row.expires);
    yield { ...common, list: list.id, evidence, row, tenant, expiresMs: Math.min(common.expiresMs, rowEndMs) };
  }
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
