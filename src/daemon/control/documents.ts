import type { Draft, Handlers, PendingView, ResourceHandler, SignerView, Verdict as VerdictView } from "#api";
import { Fault, type FaultExit } from "#core";
import {
  type Body,
  bodyDigest,
  DEFAULT_TENANT,
  documentId,
  draftPayload,
  type Kind,
  KIND_NAMES,
  kindFromText,
  type Missing,
  openEnvelope,
  parseBody,
  payloadTypeOf,
  type PendingDocument,
  type SignedDocument,
  type Spec,
} from "#identity";
import { type NodeState, requireFleet } from "../node-state.ts";

/** Listing, drafting and handing in signed documents. Private keys never come here. */
export function documentHandlers(state: NodeState): Pick<Handlers, "draft" | "submit" | "reject"> & {
  documents: ResourceHandler<"documents">;
  pending: ResourceHandler<"pending">;
} {
  const { store } = state;
  return {
    documents: {
      list: async () => [...store.all()].map((document) => documentView(state, document)),
      get: async (name) => {
        const document = findDocument(state, name);
        if (document === undefined) return undefined;
        const envelope = Buffer.from(document.bytes).toString("utf8");
        return { ...documentView(state, document), body: document.body, envelope };
      },
      onChange: (listener) => store.onAccepted(listener),
    },
    pending: {
      list: async () => store.pending().map(pendingView),
      get: async (name) => {
        const pending = findPending(state, name);
        return pending === undefined ? undefined : pendingView(pending);
      },
      onChange: (listener) => store.onPending(listener),
    },
    draft: async (input) => {
      const kind = kindFromText(input.kind);
      if (kind === undefined) {
        throw new Fault("daemon.kind", `there is no kind of document "${input.kind}"`, {
          exit: "invalid",
          fix: `Kinds: ${KIND_NAMES.join(", ")}.`,
        });
      }
      const { name, tenant, labels, expires } = input;
      return makeDraft(state, kind, {
        name,
        labels,
        spec: input.spec,
        ...(tenant === undefined ? {} : { tenant }),
        ...(expires === undefined ? {} : { expiresMs: parseTime(expires) }),
      });
    },
    submit: async ({ envelope }) => submitEnvelope(state, Buffer.from(envelope, "utf8")),
    reject: async ({ name }) => {
      const pending = findPending(state, name);
      if (pending === undefined || !store.dropPending(pending.id)) {
        throw new Fault("daemon.no-pending", `no document "${name}" waits for signatures`, {
          exit: "missing",
          fix: "`portolan get pending` lists them.",
        });
      }
      return { done: true };
    },
  };
}

type NewDocument = {
  name: string;
  tenant?: string;
  labels?: Record<string, string>;
  spec: Spec<Kind>;
  expiresMs?: number;
};

/** Fills in what the caller cannot know (fleet, version, times) and says whose signatures it takes. */
export function makeDraft(state: NodeState, kind: Kind, document: NewDocument): Draft {
  const fleet = requireFleet(state);
  const { name, tenant = DEFAULT_TENANT, labels = {}, spec, expiresMs } = document;
  const id = documentId(kind, name, tenant);
  const payload = draftPayload({
    kind,
    name,
    tenant,
    labels,
    fleet,
    version: state.store.nextVersion(id),
    nowMs: state.trustedMs(),
    spec,
    ...(expiresMs === undefined ? {} : { expiresMs }),
  });
  const needs = state.store.missing(parseBody(kind, payload));
  return {
    id,
    payloadType: payloadTypeOf(kind),
    payload: Buffer.from(payload).toString("base64"),
    needs: needsView(needs),
  };
}

/** Judges an envelope that came through the API. Throws Fault with the verdict's code when it is refused. */
export function submitEnvelope(state: NodeState, bytes: Uint8Array): VerdictView {
  requireFleet(state);
  const verdict = state.store.submit(bytes, state.trustedMs(), "api");
  if (verdict.outcome === "refused") throw refusalFault(verdict.code, verdict.reason, verdict.id);
  const { kind, envelope } = openEnvelope(bytes);
  const body: Body = parseBody(kind, envelope.payload);
  const missing = verdict.outcome === "pending" ? verdict.missing : state.store.missing(body);
  return {
    id: documentId(kind, body.metadata.name, body.metadata.tenant),
    version: body.version,
    digest: bodyDigest(envelope.payload),
    status: verdict.outcome,
    needs: needsView(missing),
    missing: verdict.outcome === "pending" ? missing.candidates : [],
  };
}

/** How each refusal ends for a script; the others are invalid input. */
const REFUSAL_EXITS: Readonly<Record<string, { exit: FaultExit; fix: string }>> = {
  "identity.unknown-signer": {
    exit: "denied",
    fix: "Sign with the key of an owner or operator of this fleet: --as KEYFILE.",
  },
  "identity.not-authorised": {
    exit: "denied",
    fix: "Ask somebody who has that role to sign; `portolan get documents` shows the operators.",
  },
  "identity.rolled-back": { exit: "conflict", fix: "Somebody was faster: make the change again." },
  "identity.equivocation": { exit: "conflict", fix: "Somebody was faster: make the change again." },
  "identity.deleted": { exit: "conflict", fix: "It was deleted: make the change again, under a new version." },
  "identity.lock-out": {
    exit: "conflict",
    fix: "Keep one owner more than must sign: add one first, or lower --threshold.",
  },
  "identity.charter-gap": { exit: "conflict", fix: "Hand in the charters between first." },
};

function refusalFault(code: string, reason: string, id: string | undefined): Fault {
  const { exit, fix } = REFUSAL_EXITS[code] ?? { exit: "invalid" as const, fix: undefined };
  return new Fault(code, id === undefined ? reason : `${id}: ${reason}`, {
    exit,
    ...(fix === undefined ? {} : { fix }),
  });
}

/** By id, by Kind/name, or by a name that only one document has. */
function findDocument(state: NodeState, text: string): SignedDocument | undefined {
  const all = [...state.store.all()];
  const exact = all.find(({ id }) => id === text);
  if (exact !== undefined) return exact;
  const slash = text.indexOf("/");
  const kind = slash > 0 ? kindFromText(text.slice(0, slash)) : undefined;
  const name = kind === undefined ? text : text.slice(slash + 1);
  const matching = all.filter((d) => d.body.metadata.name === name && (kind === undefined || d.kind === kind));
  return matching.length === 1 ? matching[0] : undefined;
}

function findPending(state: NodeState, text: string): PendingDocument | undefined {
  const all = state.store.pending();
  const exact = all.find(({ id, digest }) => id === text || digest === text);
  if (exact !== undefined) return exact;
  const matching = all.filter(
    ({ kind, body }) => body.metadata.name === text || `${kind}/${body.metadata.name}` === text,
  );
  return matching.length === 1 ? matching[0] : undefined;
}

function documentView(state: NodeState, document: SignedDocument) {
  const { metadata, version, notBefore, expires } = document.body;
  const nowMs = state.trustedMs();
  const valid = Date.parse(expires) > nowMs;
  return {
    name: document.id,
    labels: metadata.labels,
    kind: document.kind as string,
    tenant: metadata.tenant,
    documentName: metadata.name,
    version,
    digest: document.digest,
    signers: document.signers.map((keyid) => signerView(state, keyid)),
    notBefore,
    expires,
    state: !valid ? ("expired" as const) : Date.parse(notBefore) > nowMs ? ("future" as const) : ("valid" as const),
  };
}

/** A key and whose it is, as far as this node knows. */
export function signerView(state: NodeState, keyid: string): SignerView {
  return { keyid, name: state.store.keys.get(keyid)?.name ?? "" };
}

/** A half-signed document as the API shows it: an envelope that can be signed as it stands. */
export function pendingView(pending: PendingDocument): PendingView {
  const { id, kind, body, digest, payload, signatures, missing } = pending;
  return {
    name: id,
    labels: body.metadata.labels,
    kind,
    version: body.version,
    digest,
    needs: needsView(missing),
    signed: missing.have,
    missing: missing.candidates,
    payloadType: payloadTypeOf(kind),
    payload: Buffer.from(payload).toString("base64"),
    signatures: signatures.map(({ keyid, sig }) => ({ keyid, sig: Buffer.from(sig).toString("base64") })),
  };
}

function needsView({ role, count, have, candidates }: Missing) {
  return { role, count, signers: [...have, ...candidates] };
}

function parseTime(text: string): number {
  const ms = Date.parse(text);
  if (Number.isFinite(ms)) return ms;
  throw new Fault("daemon.time", `"${text.slice(0, 60)}" is not a time`, {
    exit: "invalid",
    fix: "Write it like 2026-12-31T23:00:00Z.",
  });
}
