import { createHash } from "node:crypto";
import { z } from "zod";
import {
  decodeEnvelope,
  type Ed25519Key,
  type Envelope,
  encodeEnvelope,
  Fault,
  parseJson,
  preAuthEncoding,
} from "#core";
import { dnsName, isKind, isoTime, type Kind, KINDS, labels, type Spec } from "./kinds.ts";
import { keyHash } from "./node-id.ts";

export const API_VERSION = "portolan.dev/v1";
/** The tenant of a fleet that has no tenants. */
export const DEFAULT_TENANT = "default";

/** What a document says, before anybody signed it. Times are ISO 8601 UTC; `fleet` is hex, empty in charter version 1 (it is that body's own hash). */
export type Body<K extends Kind = Kind> = {
  apiVersion: typeof API_VERSION;
  kind: K;
  metadata: { name: string; tenant: string; labels: Record<string, string> };
  fleet: string;
  version: number;
  notBefore: string;
  expires: string;
  spec: Spec<K>;
};

/** A body whose signatures were verified and found to suffice. */
export type SignedDocument<K extends Kind = Kind> = {
  kind: K;
  /** `Kind/tenant/name`: versions of one id replace each other. */
  id: string;
  body: Body<K>;
  /** Hex SHA-256 of the body bytes; never of a signature. */
  digest: string;
  /** Key ids whose signatures were verified. */
  signers: readonly string[];
  /** The envelope as stored and sent. */
  bytes: Uint8Array;
};

/** Media type of a kind's body inside its envelope. */
export function payloadTypeOf(kind: Kind): string {
  return `application/vnd.portolan.${kind.toLowerCase()}.v1+json`;
}

const KIND_OF_TYPE = new Map((Object.keys(KINDS) as Kind[]).map((kind) => [payloadTypeOf(kind), kind]));

export function documentId(kind: Kind, name: string, tenant: string = DEFAULT_TENANT): string {
  return `${kind}/${tenant}/${name}`;
}

/** Hex SHA-256 of a body's bytes. Of charter version 1 it is the fleet id. */
export function bodyDigest(payload: Uint8Array): string {
  return createHash("sha256").update(payload).digest("hex");
}

export type Draft<K extends Kind> = {
  kind: K;
  name: string;
  tenant?: string;
  labels?: Record<string, string>;
  fleet: string;
  version: number;
  /** Unix milliseconds. */
  nowMs: number;
  /** Unix milliseconds; default: the kind's lifetime. */
  expiresMs?: number;
  spec: Spec<K>;
};

/** Clocks of honest nodes may differ by this much: a document counts so much before its `notBefore`. */
export const CLOCK_TOLERANCE_MS = 5 * 60_000;

/** The bytes to sign for a draft. Throws Fault `identity.document` (exit `invalid`) with the path of what is wrong. */
export function draftPayload<K extends Kind>(draft: Draft<K>): Uint8Array {
  const expiresMs = draft.expiresMs ?? draft.nowMs + KINDS[draft.kind].hours * 3_600_000;
  const body = {
    apiVersion: API_VERSION,
    kind: draft.kind,
    metadata: { name: draft.name, tenant: draft.tenant ?? DEFAULT_TENANT, labels: draft.labels ?? {} },
    fleet: draft.fleet,
    version: draft.version,
    notBefore: new Date(draft.nowMs).toISOString(),
    expires: new Date(expiresMs).toISOString(),
    spec: draft.spec,
  };
  const payload = Buffer.from(JSON.stringify(body));
  parseBody(draft.kind, payload);
  return payload;
}

/** Signs a body with one or more keys: the envelope as bytes. */
export function signPayload(kind: Kind, payload: Uint8Array, ...keys: readonly Ed25519Key[]): Uint8Array {
  const payloadType = payloadTypeOf(kind);
  const message = preAuthEncoding(payloadType, payload);
  const signatures = keys.map((key) => ({ keyid: keyHash(key.publicKey), sig: key.sign(message) }));
  return encodeEnvelope({ payloadType, payload, signatures });
}

/** An envelope whose kind is known; its signatures are not verified and its body is not parsed. */
export type OpenEnvelope = { kind: Kind; envelope: Envelope; message: Uint8Array };

/** Reads an envelope up to the size that its kind allows. Throws Fault `core.dsse`, `core.json` or `identity.kind` (exit `invalid`). */
export function openEnvelope(bytes: Uint8Array): OpenEnvelope {
  const envelope = decodeEnvelope(bytes, MAX_ENVELOPE_BYTES);
  const kind = KIND_OF_TYPE.get(envelope.payloadType);
  if (kind === undefined) {
    throw new Fault("identity.kind", `unknown kind of document "${envelope.payloadType.slice(0, 80)}"`, {
      exit: "invalid",
      fix: "Written by a newer version? Upgrade this node.",
    });
  }
  if (envelope.payload.length > KINDS[kind].maxBytes) throw refuse(kind, `body is over ${KINDS[kind].maxBytes} bytes`);
  return { kind, envelope, message: preAuthEncoding(envelope.payloadType, envelope.payload) };
}

/** Largest envelope of any kind: the largest body in base64, and its signatures. */
export const MAX_ENVELOPE_BYTES = 6 * 1024 * 1024;

const bodySchemas = new Map(
  (Object.keys(KINDS) as Kind[]).map((kind) => [
    kind,
    z.strictObject({
      apiVersion: z.literal(API_VERSION),
      kind: z.literal(kind),
      metadata: z.strictObject({ name: KINDS[kind].name, tenant: dnsName, labels }),
      fleet: z.string().regex(/^([0-9a-f]{64})?$/u, "a fleet id, 64 hex digits"),
      version: z.int().min(1),
      notBefore: isoTime,
      expires: isoTime,
      spec: KINDS[kind].spec,
    }),
  ]),
);

/**
 * Parses a body whose bytes are already known to be authentic. Every field is critical: unknown ones are refused.
 * Throws Fault `identity.document` or `core.json` (exit `invalid`), its message with the path of what is wrong.
 */
export function parseBody<K extends Kind>(kind: K, payload: Uint8Array): Body<K> {
  const value = parseJson(payload, KINDS[kind].maxBytes);
  const result = bodySchemas.get(kind)?.safeParse(value);
  if (result === undefined || !result.success) {
    const issue = result?.error.issues[0];
    throw refuse(kind, issue === undefined ? "unreadable" : `${issue.path.join(".") || "document"}: ${issue.message}`);
  }
  const body = result.data as Body<K>;
  if (Date.parse(body.notBefore) >= Date.parse(body.expires)) throw refuse(kind, "expires is not after notBefore");
  if ((body.fleet === "") !== (kind === "Charter" && body.version === 1)) {
    throw refuse(kind, "fleet must be the fleet id, and is empty only in charter version 1");
  }
  return body;
}

/** The kind that a person means: any case, singular or plural. */
export function kindFromText(text: string): Kind | undefined {
  const wanted = text.toLowerCase();
  return (Object.keys(KINDS) as Kind[]).find((kind) => {
    const name = kind.toLowerCase();
    return wanted === name || wanted === `${name}s`;
  });
}

/** Narrows a document to its kind. */
export function isDocumentOf<K extends Kind>(document: SignedDocument, kind: K): document is SignedDocument<K> {
  return isKind(kind) && document.kind === kind;
}

function refuse(kind: Kind, message: string): Fault {
  return new Fault("identity.document", `invalid ${kind}: ${message}`, { exit: "invalid" });
}
