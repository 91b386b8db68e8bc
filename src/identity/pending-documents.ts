import type { DatabaseSync } from "node:sqlite";
import { encodeEnvelope, type EnvelopeSignature } from "#core";
import type { FleetView, Verdict } from "./charter.ts";
import {
  type Body,
  bodyDigest,
  documentId,
  type OpenEnvelope,
  openEnvelope,
  parseBody,
  payloadTypeOf,
} from "./document.ts";
import type { Kind, Spec } from "./kinds.ts";
import { type Missing, missingSignatures } from "./missing-signatures.ts";
import { ownerKeys, verifiedSigners } from "./trusted-keys.ts";

/** A document that waits for more signatures. */
export type PendingDocument = {
  id: string;
  kind: Kind;
  body: Body;
  digest: string;
  payload: Uint8Array;
  signatures: readonly EnvelopeSignature[];
  missing: Missing;
};

type PendingVerdict = Extract<Verdict, { outcome: "pending" }>;

/** Half-signed documents a node keeps; the oldest goes first. */
const MAX_PENDING = 1_000;

/** Documents that too few have signed yet, on this node's disk only. Every signature here was verified, none of it counts yet. */
export class PendingDocuments {
  readonly #db: DatabaseSync;
  readonly #view: () => FleetView;
  readonly #listeners = new Set<() => void>();

  /** `view`: what this node believes of its fleet just now. */
  constructor(db: DatabaseSync, view: () => FleetView) {
    this.#db = db;
    this.#view = view;
    db.exec(
      "CREATE TABLE IF NOT EXISTS pending (id TEXT NOT NULL, digest TEXT NOT NULL, kind TEXT NOT NULL, payload BLOB NOT NULL, signatures TEXT NOT NULL, PRIMARY KEY (id, digest)) STRICT",
    );
  }

  /** Keeps an unsigned body until enough keys have signed it. */
  addDraft(kind: Kind, payload: Uint8Array): PendingDocument {
    const body = parseBody(kind, payload);
    const id = documentId(kind, body.metadata.name, body.metadata.tenant);
    const digest = bodyDigest(payload);
    this.#put(id, digest, kind, payload, []);
    return this.list().find((entry) => entry.digest === digest) as PendingDocument;
  }

  /** Oldest first. */
  list(): PendingDocument[] {
    const rows = this.#db.prepare("SELECT id, digest, kind, payload, signatures FROM pending ORDER BY rowid").all();
    return rows.map((row) => {
      const kind = row.kind as Kind;
      const payload = row.payload as Uint8Array;
      const signatures = readSignatures(row.signatures as string);
      const body = parseBody(kind, payload);
      const missing = this.missing(body, keyIds(signatures));
      return { id: row.id as string, kind, body, digest: row.digest as string, payload, signatures, missing };
    });
  }

  /** Whose signatures a body needs, given those it has. */
  missing(body: Body, signers: readonly string[] = []): Missing {
    const drafted = this.#draftedCharter();
    const view =
      drafted === undefined ? this.#view() : { charter: { body: { spec: drafted } }, keys: ownerKeys(drafted) };
    return missingSignatures(body, signers, view);
  }

  /** Puts verified signatures beside those that are known already, and keeps them. Returns the envelope with all of them. */
  merge({ id, digest, open, signers }: PendingVerdict): { bytes: Uint8Array; missing: Missing } {
    const row = this.#db.prepare("SELECT signatures FROM pending WHERE id = ? AND digest = ?").get(id, digest);
    const known = row === undefined ? [] : readSignatures(row.signatures as string);
    const verified = open.envelope.signatures.filter(({ keyid }) => signers.includes(keyid));
    const signatures = [...new Map([...known, ...verified].map((one) => [one.keyid, one])).values()];
    this.#put(id, digest, open.kind, open.envelope.payload, signatures);
    return {
      bytes: encodeEnvelope({ ...open.envelope, signatures }),
      missing: this.missing(parseBody(open.kind, open.envelope.payload), keyIds(signatures)),
    };
  }

  /**
   * While the owners are still signing the charter, they can sign the drafts that came with it too: their keys stand in the
   * charter's draft, which the fleet id pins. Nothing is accepted by that, signatures are only collected.
   */
  judgeEarly(bytes: Uint8Array): PendingVerdict | undefined {
    const charter = this.#draftedCharter();
    if (charter === undefined) return undefined;
    let open: OpenEnvelope;
    try {
      open = openEnvelope(bytes);
    } catch {
      return undefined; // for the judge to refuse
    }
    const digest = bodyDigest(open.envelope.payload);
    const draft = this.list().find((entry) => entry.digest === digest && entry.kind !== "Charter");
    const signers = draft === undefined ? [] : verifiedSigners(open, ownerKeys(charter));
    if (draft === undefined || signers.length === 0) return undefined;
    return { outcome: "pending", id: draft.id, digest, open, signers, missing: this.missing(draft.body, signers) };
  }

  /** Envelopes of what waits with at least one signature: under a new charter it may suffice. */
  envelopes(): Uint8Array[] {
    return this.list()
      .filter(({ kind, signatures }) => kind !== "Charter" && signatures.length > 0)
      .map(({ kind, payload, signatures }) =>
        encodeEnvelope({ payloadType: payloadTypeOf(kind), payload, signatures }),
      );
  }

  /** Takes every draft of an id away without telling; for within a transaction. `false` when there was none. */
  remove(id: string): boolean {
    return this.#db.prepare("DELETE FROM pending WHERE id = ?").run(id).changes > 0;
  }

  /** Tells the listeners that the list has changed. */
  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Calls back when the list changes. Returns how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The charter that waits for its first signatures; `undefined` once one is in force. */
  #draftedCharter(): Spec<"Charter"> | undefined {
    const { charter, fleet } = this.#view();
    if (charter !== undefined || fleet === undefined) return undefined;
    const row = this.#db.prepare("SELECT payload FROM pending WHERE digest = ?").get(fleet);
    return row === undefined ? undefined : parseBody("Charter", row.payload as Uint8Array).spec;
  }

  #put(id: string, digest: string, kind: Kind, payload: Uint8Array, signatures: readonly EnvelopeSignature[]): void {
    const text = JSON.stringify(
      signatures.map(({ keyid, sig }) => ({ keyid, sig: Buffer.from(sig).toString("base64") })),
    );
    this.#db
      .prepare(
        "INSERT INTO pending (id, digest, kind, payload, signatures) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id, digest) DO UPDATE SET signatures = excluded.signatures",
      )
      .run(id, digest, kind, payload, text);
    this.#db
      .prepare("DELETE FROM pending WHERE rowid IN (SELECT rowid FROM pending ORDER BY rowid DESC LIMIT -1 OFFSET ?)")
      .run(MAX_PENDING);
    this.changed();
  }
}

function keyIds(signatures: readonly EnvelopeSignature[]): string[] {
  return signatures.map(({ keyid }) => keyid);
}

function readSignatures(text: string): EnvelopeSignature[] {
  return (JSON.parse(text) as { keyid: string; sig: string }[]).map(({ keyid, sig }) => ({
    keyid,
    sig: Buffer.from(sig, "base64"),
  }));
}
