import { createHash } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { Fault, type Log, encodeEnvelope, type EnvelopeSignature } from "#core";
import {
  type FleetView,
  isAuthorised,
  judgeDocument,
  judgeOpen,
  type Missing,
  missingSignatures,
  ownerKeys,
  trustedKeys,
  type TrustedKey,
  type Verdict,
  verifiedSigners,
} from "./charter.ts";
import {
  type Body,
  bodyDigest,
  DEFAULT_TENANT,
  documentId,
  isDocumentOf,
  openEnvelope,
  parseBody,
  payloadTypeOf,
  type SignedDocument,
} from "./document.ts";
import type { Kind, Spec } from "./kinds.ts";

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

/** Half-signed documents a node keeps; the oldest goes first. */
const MAX_PENDING = 1_000;
/** Proofs of equivocation a node keeps. */
const MAX_EQUIVOCATIONS = 1_000;
/** Groups that two nodes compare before they list documents. */
export const SUMMARY_BUCKETS = 256;

export type DocumentListener = (document: SignedDocument, source: string | undefined) => void;

/**
 * The node's copy of the fleet's documents, and its judgement on each. What `submit` accepted is on disk before it returns.
 * High-water marks outlive the documents, so a version never goes back, whatever expires or is deleted.
 */
export class DocumentStore {
  readonly #db: DatabaseSync;
  readonly #log: Log;
  readonly #marks = new Map<string, { version: number; digest: string }>();
  readonly #all = new Map<string, SignedDocument>();
  readonly #effective = new Map<string, SignedDocument>();
  readonly #gone = new Map<string, number>();
  readonly #listeners = new Set<DocumentListener>();
  readonly #refusals = new Set<
    (verdict: Extract<Verdict, { outcome: "refused" }>, source: string | undefined) => void
  >();
  readonly #pendingListeners = new Set<() => void>();
  #buckets = emptyBuckets();
  #revision = 0;
  #fleet: string | undefined;
  #charter: SignedDocument<"Charter"> | undefined;
  #keys = new Map<string, TrustedKey>();

  /** Opens or makes the store in an SQLite database that is already open. `nowMs` is trusted Unix time. */
  constructor(db: DatabaseSync, log: Log, nowMs: number) {
    this.#db = db;
    this.#log = log;
    db.exec(`
      CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, version INTEGER NOT NULL, digest TEXT NOT NULL, bytes BLOB NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS charters (version INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS pending (id TEXT NOT NULL, digest TEXT NOT NULL, kind TEXT NOT NULL, payload BLOB NOT NULL, signatures TEXT NOT NULL, PRIMARY KEY (id, digest)) STRICT;
      CREATE TABLE IF NOT EXISTS equivocations (id TEXT NOT NULL, version INTEGER NOT NULL, kept BLOB NOT NULL, refused BLOB NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS fleet (only INTEGER PRIMARY KEY CHECK (only = 1), id TEXT NOT NULL) STRICT;
    `);
    this.#load(nowMs);
  }

  /** The fleet that this node belongs to, in hex. */
  get fleet(): string | undefined {
    return this.#fleet;
  }

  get charter(): SignedDocument<"Charter"> | undefined {
    return this.#charter;
  }

  /** Keys that the fleet trusts now, by key id. */
  get keys(): ReadonlyMap<string, TrustedKey> {
    return this.#keys;
  }

  /** Binds this node to a fleet, for good. Throws Fault `identity.other-fleet` (exit `conflict`) when it belongs to another one. */
  pinFleet(fleet: string): void {
    if (this.#fleet === fleet) return;
    if (this.#fleet !== undefined) {
      throw new Fault("identity.other-fleet", `this node belongs to fleet ${this.#fleet.slice(0, 12)} already`, {
        exit: "conflict",
        fix: "Use another --data directory, or `portolan leave` first.",
      });
    }
    this.#db.prepare("INSERT INTO fleet (only, id) VALUES (1, ?)").run(fleet);
    this.#fleet = fleet;
  }

  /** Forgets the fleet and all its documents, high-water marks included. Only for a node that leaves on purpose. */
  forgetFleet(): void {
    this.#db.exec("BEGIN IMMEDIATE");
    for (const table of ["documents", "charters", "pending", "equivocations", "fleet"])
      this.#db.exec(`DELETE FROM ${table}`);
    this.#db.exec("COMMIT");
    this.#fleet = undefined;
    this.#charter = undefined;
    this.#keys.clear();
    for (const map of [this.#all, this.#effective, this.#marks, this.#gone]) map.clear();
    this.#buckets = emptyBuckets();
    this.#revision += 1;
  }

  /** Judges an envelope and, if it is accepted, keeps it and tells the listeners. `source` says where it came from, for the record. */
  submit(bytes: Uint8Array, nowMs: number, source?: string): Verdict {
    const verdict = this.#judgeEarly(bytes) ?? judgeDocument(bytes, this.#view, nowMs);
    switch (verdict.outcome) {
      case "accepted":
        this.#accept(verdict.document, nowMs);
        for (const listener of this.#listeners) listener(verdict.document, source);
        if (verdict.document.kind === "Charter") this.#judgePending(nowMs, source);
        break;
      case "pending":
        return this.#addPending(verdict, nowMs, source);
      case "refused":
        if (verdict.equivocation === true) this.#keepEquivocation(verdict.id as string, bytes);
        for (const listener of this.#refusals) listener(verdict, source);
        break;
      case "known":
        break;
    }
    return verdict;
  }

  /**
   * While the owners are still signing the charter, they can sign the drafts that came with it too: their keys stand in the
   * charter's draft, which the fleet id pins. Nothing is accepted by that, signatures are only collected.
   */
  #judgeEarly(bytes: Uint8Array): Verdict | undefined {
    const charter = this.#draftedCharter();
    if (charter === undefined) return undefined;
    const drafts = this.pending();
    try {
      const open = openEnvelope(bytes);
      const digest = bodyDigest(open.envelope.payload);
      const draft = drafts.find((entry) => entry.digest === digest && entry.kind !== "Charter");
      const signers = draft === undefined ? [] : verifiedSigners(open, ownerKeys(charter));
      if (draft === undefined || signers.length === 0) return undefined;
      return { outcome: "pending", id: draft.id, digest, open, signers, missing: this.missing(draft.body, signers) };
    } catch {
      return undefined; // for the judge to refuse
    }
  }

  /** What waited for a charter, or for the keys of a new one, may suffice now. */
  #judgePending(nowMs: number, source: string | undefined): void {
    for (const { kind, payload, signatures } of this.pending()) {
      if (kind === "Charter" || signatures.length === 0) continue;
      this.submit(encodeEnvelope({ payloadType: payloadTypeOf(kind), payload, signatures }), nowMs, source);
    }
  }

  /** By whose keys and rules signatures are counted: those in force, before that those of the charter's draft. */
  #signingView(): Parameters<typeof missingSignatures>[2] {
    const drafted = this.#draftedCharter();
    return drafted === undefined ? this.#view : { charter: { body: { spec: drafted } }, keys: ownerKeys(drafted) };
  }

  /** The charter that waits for its first signatures; `undefined` once one is in force. */
  #draftedCharter(): Spec<"Charter"> | undefined {
    if (this.#charter !== undefined || this.#fleet === undefined) return undefined;
    const row = this.#db.prepare("SELECT payload FROM pending WHERE digest = ?").get(this.#fleet);
    return row === undefined ? undefined : parseBody("Charter", row.payload as Uint8Array).spec;
  }

  /** Keeps an unsigned body until enough keys have signed it. */
  addDraft(kind: Kind, payload: Uint8Array): PendingDocument {
    const body = parseBody(kind, payload);
    const id = documentId(kind, body.metadata.name, body.metadata.tenant);
    this.#putPending(id, bodyDigest(payload), kind, payload, []);
    return this.pending().find((entry) => entry.id === id) as PendingDocument;
  }

  /** Documents that wait for signatures, oldest first. */
  pending(): PendingDocument[] {
    const rows = this.#db.prepare("SELECT id, digest, kind, payload, signatures FROM pending ORDER BY rowid").all();
    return rows.map((row) => {
      const kind = row.kind as Kind;
      const payload = row.payload as Uint8Array;
      const signatures = readSignatures(row.signatures as string);
      const body = parseBody(kind, payload);
      return {
        id: row.id as string,
        kind,
        body,
        digest: row.digest as string,
        payload,
        signatures,
        missing: missingSignatures(
          body,
          signatures.map(({ keyid }) => keyid),
          this.#signingView(),
        ),
      };
    });
  }

  /** Whose signatures a body needs, given those it has. */
  missing(body: Body, signers: readonly string[] = []): Missing {
    return missingSignatures(body, signers, this.#signingView());
  }

  /** Drops a half-signed document; `false` when there was none. */
  dropPending(id: string): boolean {
    const dropped = this.#db.prepare("DELETE FROM pending WHERE id = ?").run(id).changes > 0;
    if (dropped) this.#pendingChanged();
    return dropped;
  }

  /** A document that is in force: authorised by the keys of today, neither expired nor deleted. */
  get<K extends Kind>(kind: K, name: string, tenant: string = DEFAULT_TENANT): SignedDocument<K> | undefined {
    return this.#effective.get(documentId(kind, name, tenant)) as SignedDocument<K> | undefined;
  }

  /** All documents of a kind that are in force. */
  list<K extends Kind>(kind: K): SignedDocument<K>[] {
    const found: SignedDocument<K>[] = [];
    for (const document of this.#effective.values()) if (isDocumentOf(document, kind)) found.push(document);
    return found;
  }

  /** Grows whenever the set of documents in force changes, for those who keep something worked out from it. */
  get revision(): number {
    return this.#revision;
  }

  /** Every document in force. */
  all(): Iterable<SignedDocument> {
    return this.#effective.values();
  }

  byId(id: string): SignedDocument | undefined {
    return this.#effective.get(id);
  }

  /** The version that a new document of this id must have. */
  nextVersion(id: string): number {
    return Math.max(this.#marks.get(id)?.version ?? 0, this.#gone.get(id) ?? 0) + 1;
  }

  /** Envelopes of every charter from version 1, so that a newcomer can follow the chain. */
  charterChain(): Uint8Array[] {
    return this.#db
      .prepare("SELECT bytes FROM charters ORDER BY version")
      .all()
      .map((row) => row.bytes as Uint8Array);
  }

  /** Calls back for each newly accepted document. Returns how to stop. */
  onAccepted(listener: DocumentListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls back for each refused document. Returns how to stop. */
  onRefused(
    listener: (verdict: Extract<Verdict, { outcome: "refused" }>, source: string | undefined) => void,
  ): () => void {
    this.#refusals.add(listener);
    return () => this.#refusals.delete(listener);
  }

  /** Calls back when the list of half-signed documents changes. Returns how to stop. */
  onPending(listener: () => void): () => void {
    this.#pendingListeners.add(listener);
    return () => this.#pendingListeners.delete(listener);
  }

  /** Takes what has expired out of force. Called now and then. */
  expire(nowMs: number): void {
    for (const document of this.#effective.values()) {
      if (Date.parse(document.body.expires) <= nowMs && document.kind !== "Charter") {
        this.#rebuild(nowMs);
        return;
      }
    }
  }

  /** SHA-256 over all documents in force: equal on two nodes that know the same. */
  digest(): Uint8Array {
    return createHash("sha256").update(Buffer.concat(this.#buckets)).digest();
  }

  /** One 8-byte value per bucket of ids, to find out which part differs. */
  bucketDigests(): Uint8Array[] {
    return this.#buckets.map((bucket) => bucket.subarray(0, 8));
  }

  /** Ids, versions and digests of the documents in one bucket. */
  bucket(index: number): { id: string; version: number; digest: string }[] {
    return [...this.#effective.values()]
      .filter(({ id }) => bucketOf(id) === index)
      .map(({ id, body, digest }) => ({ id, version: body.version, digest }));
  }

  /** Whether this node has, or had, this version or a later one. */
  hasSeen(id: string, version: number): boolean {
    return Math.max(this.#marks.get(id)?.version ?? 0, this.#gone.get(id) ?? 0) >= version;
  }

  get #view(): FleetView {
    return {
      fleet: this.#fleet,
      charter: this.#charter,
      keys: this.#keys,
      document: (id) => this.#all.get(id),
      mark: (id) => this.#marks.get(id),
      goneUpTo: (id) => this.#gone.get(id) ?? 0,
    };
  }

  #accept(document: SignedDocument, nowMs: number): void {
    const { id, body, digest, bytes } = document;
    let pending = false;
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      this.#db
        .prepare(
          "INSERT INTO documents (id, version, digest, bytes) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET version = excluded.version, digest = excluded.digest, bytes = excluded.bytes",
        )
        .run(id, body.version, digest, bytes);
      if (document.kind === "Charter") {
        this.#db.prepare("INSERT OR REPLACE INTO charters (version, bytes) VALUES (?, ?)").run(body.version, bytes);
      }
      pending = this.#db.prepare("DELETE FROM pending WHERE id = ?").run(id).changes > 0;
      this.#db.exec("COMMIT");
    } catch (error) {
      this.#db.exec("ROLLBACK");
      throw error;
    }
    this.#all.set(id, document);
    this.#marks.set(id, { version: body.version, digest });
    if (isDocumentOf(document, "Charter")) this.#charter = document;
    if (CHANGES_TRUST.has(document.kind)) this.#rebuild(nowMs);
    else this.#putEffective(document);
    if (pending) this.#pendingChanged();
  }

  /** Reads what was accepted before. Signatures are verified again: the disk is not trusted to have stayed as it was. */
  #load(nowMs: number): void {
    const fleet = this.#db.prepare("SELECT id FROM fleet").get();
    this.#fleet = fleet?.id as string | undefined;
    if (this.#fleet === undefined) return;
    for (const bytes of this.charterChain()) {
      // Judged at the time it was written: neither a charter's end nor a machine without a clock may dissolve the fleet.
      const writtenMs = Date.parse(parseBody("Charter", openEnvelope(bytes).envelope.payload).notBefore);
      const verdict = judgeDocument(bytes, this.#view, writtenMs);
      if (verdict.outcome !== "accepted") continue;
      this.#charter = verdict.document as SignedDocument<"Charter">;
      this.#marks.set(verdict.document.id, { version: verdict.document.body.version, digest: verdict.document.digest });
      this.#all.set(verdict.document.id, verdict.document);
    }
    this.#rebuild(nowMs);
    const rows = this.#db.prepare("SELECT id, version, digest, bytes FROM documents").all() as unknown as StoredRow[];
    for (const kinds of LOAD_ORDER) {
      for (const row of rows) {
        if (kinds(row.id)) this.#restore(row, nowMs);
      }
      this.#rebuild(nowMs);
    }
  }

  #restore(row: StoredRow, nowMs: number): void {
    this.#marks.set(row.id, { version: row.version, digest: row.digest });
    try {
      const open = openEnvelope(row.bytes);
      if (open.kind === "Charter") return;
      const signers = verifiedSigners(open, this.#keys);
      if (bodyDigest(open.envelope.payload) !== row.digest)
        throw new Fault("identity.document", "its bytes have changed");
      const body = parseBody(open.kind, open.envelope.payload);
      this.#all.set(row.id, { kind: open.kind, id: row.id, body, digest: row.digest, signers, bytes: row.bytes });
    } catch (error) {
      this.#log.error("stored document is damaged", { id: row.id, error: String(error), nowMs });
    }
  }

  /** Works out anew who is trusted and what is in force: the answer depends on the set of documents, never on their order. */
  #rebuild(nowMs: number): void {
    const live = [...this.#all.values()].filter((document) => Date.parse(document.body.expires) > nowMs);
    const inForce = <K extends Kind>(kind: K): SignedDocument<K>[] =>
      (live.filter((document) => document.kind === kind) as SignedDocument<K>[]).filter(
        (document) => document.body.version > (this.#gone.get(document.id) ?? 0) && isAuthorised(document, this.#view),
      );
    // Owners authorise operators and registrars, these authorise the rest; tombstones take away before anything counts.
    this.#keys = trustedKeys(this.#charter, [], [], undefined);
    this.#gone.clear();
    for (let round = 0; round < 2; round++) {
      for (const { body } of inForce("Tombstone")) {
        const target = documentId(body.spec.target.kind, body.spec.target.name, body.metadata.tenant);
        this.#gone.set(target, Math.max(this.#gone.get(target) ?? 0, body.spec.version));
      }
      const owned = trustedKeys(this.#charter, inForce("Operator"), [], undefined);
      const registrars = inForce("Registrar");
      this.#keys = owned;
      const [revocation] = inForce("Revocation");
      this.#keys = trustedKeys(this.#charter, inForce("Operator"), registrars, revocation);
    }
    this.#effective.clear();
    this.#revision += 1;
    this.#buckets = emptyBuckets();
    for (const document of live) {
      if (document.body.version > (this.#gone.get(document.id) ?? 0) && isAuthorised(document, this.#view)) {
        this.#putEffective(document);
      }
    }
    // A charter stays in force past its end: a fleet that is cut off must not fall apart.
    if (this.#charter !== undefined) this.#putEffective(this.#charter);
  }

  #putEffective(document: SignedDocument): void {
    const old = this.#effective.get(document.id);
    const bucket = this.#buckets[bucketOf(document.id)] as Buffer;
    if (old !== undefined) xorInto(bucket, summaryHash(old));
    xorInto(bucket, summaryHash(document));
    this.#effective.set(document.id, document);
    this.#revision += 1;
  }

  #addPending(verdict: Extract<Verdict, { outcome: "pending" }>, nowMs: number, source: string | undefined): Verdict {
    const { id, digest, open } = verdict;
    const row = this.#db.prepare("SELECT signatures FROM pending WHERE id = ? AND digest = ?").get(id, digest);
    const merged = new Map<string, EnvelopeSignature>();
    for (const signature of row === undefined ? [] : readSignatures(row.signatures as string)) {
      merged.set(signature.keyid, signature);
    }
    const before = merged.size;
    for (const signature of open.envelope.signatures) {
      if (verdict.signers.includes(signature.keyid)) merged.set(signature.keyid, signature);
    }
    const signatures = [...merged.values()];
    const bytes = encodeEnvelope({ ...open.envelope, signatures });
    if (signatures.length > before && before > 0) {
      const again = judgeOpen({ ...open, envelope: { ...open.envelope, signatures } }, bytes, this.#view, nowMs);
      if (again.outcome === "accepted") return this.submit(bytes, nowMs, source);
    }
    this.#putPending(id, digest, open.kind, open.envelope.payload, signatures);
    const body = parseBody(open.kind, open.envelope.payload);
    return {
      ...verdict,
      missing: missingSignatures(
        body,
        signatures.map(({ keyid }) => keyid),
        this.#signingView(),
      ),
    };
  }

  #putPending(id: string, digest: string, kind: Kind, payload: Uint8Array, signatures: EnvelopeSignature[]): void {
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
    this.#pendingChanged();
  }

  #pendingChanged(): void {
    for (const listener of this.#pendingListeners) listener();
  }

  #keepEquivocation(id: string, refused: Uint8Array): void {
    const kept = this.#all.get(id);
    if (kept === undefined) return;
    const { total } = this.#db.prepare("SELECT count(*) AS total FROM equivocations").get() as { total: number };
    if (total >= MAX_EQUIVOCATIONS) return;
    this.#db
      .prepare("INSERT INTO equivocations (id, version, kept, refused) VALUES (?, ?, ?, ?)")
      .run(id, kept.body.version, kept.bytes, refused);
  }
}

type StoredRow = { id: string; version: number; digest: string; bytes: Uint8Array };

/** Kinds that change who is trusted or what is gone. */
const CHANGES_TRUST: ReadonlySet<Kind> = new Set(["Charter", "Operator", "Registrar", "Revocation", "Tombstone"]);
const startsWith =
  (...prefixes: string[]) =>
  (id: string): boolean =>
    prefixes.some((prefix) => id.startsWith(prefix));
const OWNED = startsWith("Operator/", "Registrar/");
/** Signers before what they signed. */
const LOAD_ORDER = [OWNED, startsWith("Revocation/", "Tombstone/"), (id: string): boolean => !OWNED(id)] as const;

function emptyBuckets(): Buffer[] {
  return Array.from({ length: SUMMARY_BUCKETS }, () => Buffer.alloc(32));
}

function bucketOf(id: string): number {
  return createHash("sha256").update(id).digest()[0] as number;
}

function summaryHash({ id, body, digest }: SignedDocument): Buffer {
  return createHash("sha256").update(`${id}\n${body.version}\n${digest}`).digest();
}

function xorInto(target: Buffer, bytes: Uint8Array): void {
  for (let i = 0; i < target.length; i++) target[i] = (target[i] as number) ^ (bytes[i] as number);
}

function readSignatures(text: string): EnvelopeSignature[] {
  return (JSON.parse(text) as { keyid: string; sig: string }[]).map(({ keyid, sig }) => ({
    keyid,
    sig: Buffer.from(sig, "base64"),
  }));
}
