import { faultCode, errorMessage, verifyEd25519 } from "#core";
import {
  type Body,
  bodyDigest,
  CLOCK_TOLERANCE_MS,
  documentId,
  isDocumentOf,
  type OpenEnvelope,
  openEnvelope,
  parseBody,
  type SignedDocument,
} from "./document.ts";
import { type Kind, KINDS, type Role, type Spec } from "./kinds.ts";
import { keyHash, nodeIdOf } from "./node-id.ts";

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

/** Everything that a judgement depends on; a node's own view of the fleet. */
export type FleetView = {
  /** The fleet id that this node belongs to; `undefined` before it belongs to any. */
  fleet: string | undefined;
  charter: SignedDocument<"Charter"> | undefined;
  keys: ReadonlyMap<string, TrustedKey>;
  /** The last accepted document of this id, in force or not. */
  document(id: string): SignedDocument | undefined;
  /** High-water mark of a document id, kept also when the document has expired or lost its authority. */
  mark(id: string): { version: number; digest: string } | undefined;
  /** Highest version of this document that a tombstone took away. */
  goneUpTo(id: string): number;
  /** Unix milliseconds of charter version 1. */
  foundedMs: number;
};

export type SignerName = { keyid: string; name: string };
/** What a document still needs: `count` keys of `role`; who has signed, and who else could. */
export type Missing = { role: Role; count: number; have: SignerName[]; candidates: SignerName[] };

/** What became of a document that somebody handed in. */
export type Verdict =
  | { outcome: "accepted"; document: SignedDocument }
  | { outcome: "known"; id: string }
  | { outcome: "pending"; id: string; digest: string; open: OpenEnvelope; signers: string[]; missing: Missing }
  | { outcome: "refused"; code: string; reason: string; id?: string; equivocation?: true };

/**
 * Versions of one document per day of the fleet's life, so that nobody can exhaust the numbers (TUF: fast-forward attack). It goes
 * by the document and the fleet alone: a node that was away for years judges like one that saw every version.
 */
export const MAX_VERSIONS_PER_DAY = 1_000_000;
const DAY_MS = 86_400_000;

/**
 * Judges one envelope: the charter's rules, nothing else. Signatures are verified before the body is parsed, thresholds count distinct keys, a version
 * only grows. Pure; never throws for bad input.
 */
export function judgeDocument(bytes: Uint8Array, view: FleetView, nowMs: number): Verdict {
  try {
    const open = openEnvelope(bytes);
    return judgeOpen(open, bytes, view, nowMs);
  } catch (error) {
    return { outcome: "refused", code: faultCode(error) ?? "identity.document", reason: errorMessage(error) };
  }
}

/** As `judgeDocument`, for an envelope that was already opened. */
export function judgeOpen(open: OpenEnvelope, bytes: Uint8Array, view: FleetView, nowMs: number): Verdict {
  if (view.fleet === undefined) return refuse("identity.no-fleet", "this node belongs to no fleet yet");
  const digest = bodyDigest(open.envelope.payload);
  return open.kind === "Charter"
    ? judgeCharter(open, bytes, digest, view, nowMs)
    : judgeOrdinary(open, bytes, digest, view, nowMs);
}

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

/** Which role, and how many keys that have it, a charter asks for under a document. A tombstone needs what its target needs. */
export function ruleFor(charter: Spec<"Charter">, body: Body): { role: Role; count: number } {
  const kind: Kind = body.kind === "Tombstone" ? (body as Body<"Tombstone">).spec.target.kind : body.kind;
  const written = charter.rules[kind];
  if (written !== undefined) return written;
  const { role, count } = KINDS[kind].rule;
  return { role, count: count === "threshold" ? charter.threshold : count };
}

/** Whether a document's signers still suffice under the keys of today. */
export function isAuthorised(document: SignedDocument, view: Pick<FleetView, "charter" | "keys">): boolean {
  if (document.kind === "Charter") return document.digest === view.charter?.digest;
  if (view.charter === undefined) return false;
  const { role, count } = ruleFor(view.charter.body.spec, document.body);
  const { metadata, expires } = document.body;
  const what = { role, tenant: metadata.tenant, digest: document.digest, expiresMs: Date.parse(expires) };
  return entitled(document.signers, what, view.keys).length >= count;
}

type ToSign = { role: Role; tenant: string; digest: string; expiresMs: number };

/** Those of the signers that may sign this. */
function entitled(signers: readonly string[], what: ToSign, keys: ReadonlyMap<string, TrustedKey>): string[] {
  return signers.filter((keyid) => {
    const key = keys.get(keyid);
    if (key === undefined || (key.keepMembers !== undefined && !key.keepMembers.has(what.digest))) return false;
    return key.grants.some(
      ({ role, tenant, untilMs = Number.POSITIVE_INFINITY }) =>
        role === what.role && (tenant === "*" || tenant === what.tenant) && what.expiresMs <= untilMs,
    );
  });
}

function judgeCharter(open: OpenEnvelope, bytes: Uint8Array, digest: string, view: FleetView, nowMs: number): Verdict {
  const current = view.charter;
  if (current?.digest === digest) return { outcome: "known", id: current.id };
  let oldSigners: string[] = [];
  let oldThreshold = 0;
  if (current === undefined) {
    // Nothing is trusted yet: the fleet id that the token pinned is the hash of these very bytes.
    if (digest !== view.fleet) return refuse("identity.wrong-fleet", "this is not the charter that the fleet id names");
  } else {
    oldSigners = verifiedSigners(open, ownerKeys(current.body.spec));
    oldThreshold = current.body.spec.threshold;
    if (oldSigners.length === 0) return refuse("identity.unknown-signer", "no current owner signed this charter");
  }
  const body = parseBody("Charter", open.envelope.payload);
  const id = documentId("Charter", body.metadata.name, body.metadata.tenant);
  if (current !== undefined) {
    if (id !== current.id) return refuse("identity.wrong-fleet", "a charter cannot rename its fleet", id);
    if (body.fleet !== view.fleet) return refuse("identity.wrong-fleet", "this charter is of another fleet", id);
    const stale = judgeVersion(id, body, digest, view);
    if (stale !== undefined) return stale;
    if (body.version !== current.body.version + 1) {
      return refuse("identity.charter-gap", `charter ${body.version} does not follow ${current.body.version}`, id);
    }
  }
  const untimely = judgeTime(id, body, nowMs);
  if (untimely !== undefined) return untimely;
  const newSigners = verifiedSigners(open, ownerKeys(body.spec));
  const signers = [...new Set([...oldSigners, ...newSigners])];
  if (current === undefined && newSigners.length === 0) {
    return refuse("identity.unknown-signer", "none of its owners signed this charter", id);
  }
  const locksOut = current === undefined ? undefined : judgeSpare(body.spec, current.body.spec);
  if (locksOut !== undefined) return refuse("identity.lock-out", locksOut, id);
  if (oldSigners.length < oldThreshold || newSigners.length < body.spec.threshold) {
    return { outcome: "pending", id, digest, open, signers, missing: missingSignatures(body, signers, view) };
  }
  return { outcome: "accepted", document: { kind: "Charter", id, body, digest, signers, bytes } };
}

/** Nobody can help a fleet whose owners have lost one key too many. */
function judgeSpare(next: Spec<"Charter">, old: Spec<"Charter">): string | undefined {
  const spare = next.owners.length - next.threshold;
  if (spare >= 1 || spare >= old.owners.length - old.threshold) return undefined;
  return `${next.threshold} of ${next.owners.length} owners would have to sign: once a single key is lost, nothing can be changed any more`;
}

function judgeOrdinary(open: OpenEnvelope, bytes: Uint8Array, digest: string, view: FleetView, nowMs: number): Verdict {
  const { charter } = view;
  if (charter === undefined) return refuse("identity.no-charter", "this node has no charter yet");
  const signers = verifiedSigners(open, view.keys);
  if (signers.length === 0) {
    return refuse("identity.unknown-signer", `no key that this fleet trusts signed this ${open.kind}`);
  }
  const body = parseBody(open.kind, open.envelope.payload);
  const { name, tenant } = body.metadata;
  const id = documentId(body.kind, name, tenant);
  if (body.fleet !== view.fleet) return refuse("identity.wrong-fleet", "this document is of another fleet", id);
  const { role, count } = ruleFor(charter.body.spec, body);
  const able = entitled(signers, { role, tenant, digest, expiresMs: Date.parse(body.expires) }, view.keys);
  if (able.length === 0) {
    const names = signers.map((keyid) => view.keys.get(keyid)?.name).join(", ");
    return refuse(
      "identity.not-authorised",
      `${names} may not sign ${body.kind} in tenant ${tenant}: it needs role ${role}`,
      id,
    );
  }
  const document: SignedDocument = { kind: body.kind, id, body, digest, signers, bytes };
  const wrong = judgeTime(id, body, nowMs) ?? judgeVersion(id, body, digest, view) ?? judgeContent(document, view);
  if (wrong !== undefined) return wrong;
  if (able.length < count) {
    return { outcome: "pending", id, digest, open, signers: able, missing: missingSignatures(body, able, view) };
  }
  return { outcome: "accepted", document };
}

/** A membership that has ended is taken in, not into force: whoever is cut off from all registrars goes by it. */
export function outlivesItsEnd(kind: Kind): boolean {
  return kind === "Member" || kind === "Registrar";
}

function judgeTime(id: string, body: Body, nowMs: number): Verdict | undefined {
  if (body.kind === "TimeReset") return undefined; // it is there to heal a time that is wrong
  if (Date.parse(body.expires) <= nowMs && !outlivesItsEnd(body.kind))
    return refuse("identity.expired", `expired at ${body.expires}`, id);
  if (Date.parse(body.notBefore) > nowMs + CLOCK_TOLERANCE_MS) {
    return refuse("identity.not-yet-valid", `not valid before ${body.notBefore}; is this node's clock right?`, id);
  }
  return undefined;
}

function judgeVersion(id: string, { version, notBefore }: Body, digest: string, view: FleetView): Verdict | undefined {
  if (version <= view.goneUpTo(id)) return refuse("identity.deleted", `version ${version} was deleted`, id);
  const mark = view.mark(id);
  const known = mark?.version ?? 0;
  if (mark !== undefined && version === known) {
    if (mark.digest === digest) return { outcome: "known", id };
    return {
      ...refuse("identity.equivocation", `two different documents claim version ${version} of ${id}`, id),
      equivocation: true,
    };
  }
  if (version < known) return refuse("identity.rolled-back", `version ${version} is older than ${known}`, id);
  const days = 1 + Math.max(0, Math.floor((Date.parse(notBefore) - view.foundedMs) / DAY_MS));
  if (version > days * MAX_VERSIONS_PER_DAY) {
    return refuse("identity.fast-forwarded", `version ${version} is too high for a fleet of ${days} days`, id);
  }
  return undefined;
}

/** What a schema cannot say about one document by itself. */
function judgeContent(document: SignedDocument, view: FleetView): Verdict | undefined {
  if (isDocumentOf(document, "Member") || isDocumentOf(document, "Registrar")) {
    const publicKey = Buffer.from(document.body.spec.publicKey, "base64");
    if (nodeIdOf(publicKey) !== document.body.spec.node) {
      return refuse("identity.document", "spec.node is not the id of spec.publicKey", document.id);
    }
    if (document.kind === "Member" && document.signers.includes(keyHash(publicKey))) {
      return refuse("identity.not-authorised", "a registrar may not admit its own node", document.id);
    }
  }
  if (isDocumentOf(document, "Member") && !document.signers.includes(document.body.spec.registrar)) {
    return refuse("identity.document", "spec.registrar is not the signer", document.id);
  }
  if (isDocumentOf(document, "Tombstone") && document.body.metadata.name !== tombstoneName(document.body.spec.target)) {
    return refuse("identity.document", "a tombstone is named after its target", document.id);
  }
  const before = view.document(document.id);
  if (isDocumentOf(document, "Revocation") && before !== undefined && isDocumentOf(before, "Revocation")) {
    if (!includesRevocation(document.body.spec, before.body.spec)) {
      return refuse("identity.document", "a revocation may only grow: an earlier entry is missing", document.id);
    }
  }
  return undefined;
}

/** Whether everything that `old` revokes is revoked by `next` too; kept members may become fewer, never more. */
function includesRevocation(next: Spec<"Revocation">, old: Spec<"Revocation">): boolean {
  const generations = new Map(next.nodes.map(({ node, generation }) => [node, generation]));
  const kept = new Map(next.registrars.map(({ key, keepMembers }) => [key, keepMembers]));
  return (
    old.nodes.every(({ node, generation }) => (generations.get(node) ?? -1) >= generation) &&
    old.registrars.every(
      ({ key, keepMembers }) => kept.get(key)?.every((digest) => keepMembers.includes(digest)) ?? false,
    )
  );
}

/** The name of the one tombstone that a document can have. */
export function tombstoneName(target: { kind: string; name: string }): string {
  return `${target.kind.toLowerCase()}.${target.name}`;
}

/** Who has signed a body, by name, and who else could. */
export function missingSignatures(
  body: Body,
  signers: readonly string[],
  view: { charter: { body: { spec: Spec<"Charter"> } } | undefined; keys: FleetView["keys"] },
): Missing {
  const { tenant } = body.metadata;
  if (body.kind === "Charter") {
    return missingOwners((body as Body<"Charter">).spec, view.charter?.body.spec, signers);
  }
  const rule = view.charter === undefined ? undefined : ruleFor(view.charter.body.spec, body);
  const { role, count } = rule ?? { role: "owner" as const, count: 1 };
  const what = { role, tenant, digest: "", expiresMs: Date.parse(body.expires) };
  const able = [...view.keys].filter(([keyid]) => entitled([keyid], what, view.keys).length > 0);
  return missing(role, count, new Map(able), signers);
}

/** A new charter needs a threshold of the old owners and of its own; who is both counts twice. */
function missingOwners(next: Spec<"Charter">, old: Spec<"Charter"> | undefined, signers: readonly string[]): Missing {
  const wanting = [next, ...(old === undefined ? [] : [old])].map((spec) => {
    const keys = ownerKeys(spec);
    const open = [...keys.values()].filter(({ keyid }) => !signers.includes(keyid));
    return { keys, open, needs: Math.max(0, spec.threshold - (keys.size - open.length)) };
  });
  const [ours, theirs] = wanting;
  const needs = wanting.map((side) => side.needs);
  const both = ours?.open.filter(({ keyid }) => theirs?.keys.has(keyid)).length ?? 0;
  const shared = needs.length < 2 ? 0 : Math.min(both, ...needs);
  const count = signers.length + needs.reduce((sum, need) => sum + need, 0) - shared;
  const names = new Map(wanting.flatMap(({ keys }) => [...keys]));
  const helpful = wanting.flatMap((side) => (side.needs > 0 ? side.open : []));
  return {
    role: "owner",
    count,
    have: signers.map((keyid) => ({ keyid, name: names.get(keyid)?.name ?? "" })),
    candidates: [...new Map(helpful.map(({ keyid, name }) => [keyid, { keyid, name }])).values()],
  };
}

function missing(
  role: Role,
  count: number,
  able: ReadonlyMap<string, TrustedKey>,
  signers: readonly string[],
): Missing {
  return {
    role,
    count,
    have: signers.map((keyid) => ({ keyid, name: able.get(keyid)?.name ?? "" })),
    candidates: [...able.values()]
      .filter(({ keyid }) => !signers.includes(keyid))
      .map(({ keyid, name }) => ({ keyid, name })),
  };
}

function refuse(code: string, reason: string, id?: string): Extract<Verdict, { outcome: "refused" }> {
  return { outcome: "refused", code, reason, ...(id === undefined ? {} : { id }) };
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
