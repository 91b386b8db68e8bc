import { errorMessage, faultCode } from "#core";
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
import type { Kind, Spec } from "./kinds.ts";
import { type Missing, missingSignatures } from "./missing-signatures.ts";
import { keyHash, nodeIdOf } from "./node-id.ts";
import { ruleFor } from "./signing-rule.ts";
import { entitled, ownerKeys, type TrustedKey, verifiedSigners } from "./trusted-keys.ts";

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

/** Whether a document's signers still suffice under the keys of today. */
export function isAuthorised(document: SignedDocument, view: Pick<FleetView, "charter" | "keys">): boolean {
  if (document.kind === "Charter") return document.digest === view.charter?.digest;
  if (view.charter === undefined) return false;
  const { role, count } = ruleFor(view.charter.body.spec, document.body);
  const { metadata, expires } = document.body;
  const what = { role, tenant: metadata.tenant, digest: document.digest, expiresMs: Date.parse(expires) };
  return entitled(document.signers, what, view.keys).length >= count;
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

function refuse(code: string, reason: string, id?: string): Extract<Verdict, { outcome: "refused" }> {
  return { outcome: "refused", code, reason, ...(id === undefined ? {} : { id }) };
}
