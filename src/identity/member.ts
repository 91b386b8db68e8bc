import type { Ed25519Key } from "#core";
import { documentId, draftPayload, signPayload } from "./document.ts";
import type { EvidenceUse, EvidenceVerdict } from "./evidence.ts";
import { dnsName, type Spec } from "./kinds.ts";
import { keyHash, nodeIdOf, shortId } from "./node-id.ts";

/** Site of a node that nobody placed. */
export const DEFAULT_SITE = "default";
/** Leaves room for a suffix within the 63 characters of a DNS label. */
const MAX_STEM_CHARS = 48;
/** Characters of the key's hash that tell two equal names apart: 30 bits. */
const SUFFIX_CHARS = 6;

/**
 * The name of a node: its serial made fit for DNS, else its short id. A name that another node has gets a suffix of this
 * node's key. `isTaken`: whether another node has the name.
 */
export function memberName(
  serial: string | undefined,
  publicKey: Uint8Array,
  isTaken: (name: string) => boolean,
): string {
  const short = shortId(publicKey);
  const stem = (serial ?? "")
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/gu, "-")
    .slice(0, MAX_STEM_CHARS)
    .replaceAll(/^-+|-+$/gu, "");
  const name = dnsName.safeParse(stem).success ? stem : short;
  if (!isTaken(name)) return name;
  const suffixed = `${stem}-${short.slice(2, 2 + SUFFIX_CHARS)}`;
  return stem === "" || isTaken(suffixed) ? `${name}-${keyHash(publicKey).slice(0, 12)}` : suffixed;
}

export type MemberDraft = {
  fleet: string;
  name: string;
  version: number;
  generation: number;
  /** Raw 32-byte keys of the device. */
  publicKey: Uint8Array;
  sealing: Uint8Array;
  grant: Extract<EvidenceVerdict, { outcome: "granted" }>;
  /** What this or an earlier membership of the key used up. */
  used: EvidenceUse | undefined;
  /** Trusted Unix milliseconds. */
  nowMs: number;
  expiresMs: number;
};

/** Drafts and signs a member document with a registrar's key. Throws Fault `identity.document` (invalid) when a value does not fit one. */
export function signMember(registrar: Ed25519Key, draft: MemberDraft): Uint8Array {
  const { grant, publicKey } = draft;
  const spec: Spec<"Member"> = {
    node: nodeIdOf(publicKey),
    publicKey: Buffer.from(publicKey).toString("base64"),
    site: grant.site ?? DEFAULT_SITE,
    roles: [],
    sealingKey: Buffer.from(draft.sealing).toString("base64"),
    generation: draft.generation,
    registrar: keyHash(registrar.publicKey),
    evidence: grant.evidence,
    ...(grant.serial === undefined ? {} : { serial: grant.serial }),
    ...(draft.used === undefined ? {} : { used: draft.used }),
  };
  const payload = draftPayload({
    kind: "Member",
    name: draft.name,
    tenant: grant.tenant,
    labels: { ...grant.labels },
    fleet: draft.fleet,
    version: draft.version,
    nowMs: draft.nowMs,
    expiresMs: draft.expiresMs,
    spec,
  });
  return signPayload("Member", payload, registrar);
}

/** The id under which versions of a member document replace each other. */
export function memberId(name: string, tenant: string): string {
  return documentId("Member", name, tenant);
}

/**
 * When to renew a membership: at two thirds of its life, give or take 10 % of it, so that nodes started together do not come
 * back together. `unit`: chance in [0, 1). All Unix milliseconds.
 */
export function renewalDueMs(notBeforeMs: number, expiresMs: number, unit: number): number {
  const lifeMs = expiresMs - notBeforeMs;
  return notBeforeMs + lifeMs * (2 / 3 + (unit - 0.5) * 0.2);
}
