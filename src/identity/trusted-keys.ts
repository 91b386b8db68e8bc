import { verifyEd25519 } from "#core";
import type { OpenEnvelope, SignedDocument } from "./document.ts";
import type { Role, Spec } from "./kinds.ts";
import { keyHash } from "./node-id.ts";

/** A key that the fleet trusts with something. */
export type TrustedKey = {
  keyid: string;
  publicKey: Uint8Array;
  /** Name of the owner, operator or registrar. */
  name: string;
  /** What it may do, and in which tenant (`*`: in all). With `untilMs` only under what ends no later: of a registrar whose own document has ended. */
  grants: { role: Role; tenant: string; untilMs?: number }[];
  /** Set for a registrar that was revoked or removed: the digests of members that stay good although it signed them. */
  keepMembers?: ReadonlySet<string>;
};

/** Key ids of the signatures that verify against a trusted key. */
export function verifiedSigners(open: OpenEnvelope, keys: ReadonlyMap<string, TrustedKey>): string[] {
  return open.envelope.signatures
    .filter(({ keyid, sig }) => {
      const key = keys.get(keyid);
      return key !== undefined && verifyEd25519(key.publicKey, open.message, sig);
    })
    .map(({ keyid }) => keyid);
}

/** The keys that a charter names as owners. */
export function ownerKeys(spec: Spec<"Charter">): Map<string, TrustedKey> {
  return new Map(
    spec.owners.map((owner) => {
      const publicKey = Buffer.from(owner.publicKey, "base64");
      const keyid = keyHash(publicKey);
      return [keyid, { keyid, publicKey, name: owner.name, grants: [{ role: "owner" as const, tenant: "*" }] }];
    }),
  );
}

/** What somebody wants to sign. */
export type ToSign = { role: Role; tenant: string; digest: string; expiresMs: number };

/** Those of the signers that may sign this. */
export function entitled(signers: readonly string[], what: ToSign, keys: ReadonlyMap<string, TrustedKey>): string[] {
  return signers.filter((keyid) => {
    const key = keys.get(keyid);
    if (key === undefined || (key.keepMembers !== undefined && !key.keepMembers.has(what.digest))) return false;
    return key.grants.some(
      ({ role, tenant, untilMs = Number.POSITIVE_INFINITY }) =>
        role === what.role && (tenant === "*" || tenant === what.tenant) && what.expiresMs <= untilMs,
    );
  });
}

/** What takes trust away from registrars, as far as `trustedKeys` leaves them some. */
export type TrustLimits = {
  revocation: SignedDocument<"Revocation"> | undefined;
  /** Registrars that a tombstone took away, and what stays good of what they signed. */
  removed: readonly { document: SignedDocument<"Registrar">; keepMembers: readonly string[] }[];
  /** Trusted Unix milliseconds. */
  nowMs: number;
};

/** The keys that a set of accepted documents trusts. Documents must already be authorised; tombstoned ones and expired operators left out. */
export function trustedKeys(
  charter: SignedDocument<"Charter"> | undefined,
  operators: readonly SignedDocument<"Operator">[],
  registrars: readonly SignedDocument<"Registrar">[],
  { revocation, removed, nowMs }: TrustLimits,
): Map<string, TrustedKey> {
  const keys = charter === undefined ? new Map<string, TrustedKey>() : ownerKeys(charter.body.spec);
  const add = (publicKey: string, name: string, grants: TrustedKey["grants"]): void => {
    const bytes = Buffer.from(publicKey, "base64");
    const keyid = keyHash(bytes);
    const known = keys.get(keyid);
    if (known === undefined) keys.set(keyid, { keyid, publicKey: bytes, name, grants });
    else known.grants.push(...grants);
  };
  for (const { body } of operators) {
    add(
      body.spec.publicKey,
      body.metadata.name,
      body.spec.roles.map((role) => ({ role, tenant: body.spec.tenant })),
    );
  }
  for (const { body } of registrars) {
    const untilMs = Date.parse(body.expires);
    const ended = untilMs <= nowMs ? { untilMs } : {};
    add(body.spec.publicKey, body.metadata.name, [{ role: "registrar", tenant: "*", ...ended }]);
  }
  const active = new Set(keys.keys());
  for (const { document, keepMembers } of removed) {
    add(document.body.spec.publicKey, document.body.metadata.name, [{ role: "registrar", tenant: "*" }]);
    const key = keys.get(keyHash(Buffer.from(document.body.spec.publicKey, "base64")));
    if (key !== undefined && !active.has(key.keyid)) key.keepMembers = new Set(keepMembers);
  }
  for (const { key, keepMembers } of revocation?.body.spec.registrars ?? []) {
    const revoked = keys.get(key);
    if (revoked !== undefined) revoked.keepMembers = new Set(keepMembers);
  }
  return keys;
}
