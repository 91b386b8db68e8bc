import type { DatabaseSync } from "node:sqlite";
import { Fault, inTransaction, type Log } from "#core";
import { judgeDocument, type Verdict } from "./charter.ts";
import { bucketOf } from "./document-summary.ts";
import {
  type Body,
  bodyDigest,
  DEFAULT_TENANT,
  documentId,
  isDocumentOf,
  openEnvelope,
  parseBody,
  type SignedDocument,
} from "./document.ts";
import { InForce } from "./in-force.ts";
import type { Kind } from "./kinds.ts";
import type { Missing } from "./missing-signatures.ts";
import { type PendingDocument, PendingDocuments } from "./pending-documents.ts";
import { type TrustedKey, verifiedSigners } from "./trusted-keys.ts";

/** Proofs of equivocation a node keeps. */
const MAX_EQUIVOCATIONS = 1_000;

export type DocumentListener = (document: SignedDocument, source: string | undefined) => void;
type Refused = Extract<Verdict, { outcome: "refused" }>;
type RefusalListener = (verdict: Refused, source: string | undefined) => void;
type StoredRow = { id: string; version: number; digest: string; bytes: Uint8Array };

/**
 * The node's copy of the fleet's documents, and its judgement on each. What `submit` accepted is on disk before it returns.
 * High-water marks outlive the documents, so a version never goes back, whatever expires or is deleted.
 */
export class DocumentStore {
  readonly #db: DatabaseSync;
  readonly #log: Log;
  readonly #force = new InForce();
  readonly #pending: PendingDocuments;
  readonly #listeners = new Set<DocumentListener>();
  readonly #refusals = new Set<RefusalListener>();

  /** Opens or makes the store in an SQLite database that is already open. `nowMs` is trusted Unix time. */
  constructor(db: DatabaseSync, log: Log, nowMs: number) {
    this.#db = db;
    this.#log = log;
    db.exec(`
      CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, version INTEGER NOT NULL, digest TEXT NOT NULL, bytes BLOB NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS charters (version INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS equivocations (id TEXT NOT NULL, version INTEGER NOT NULL, kept BLOB NOT NULL, refused BLOB NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS fleet (only INTEGER PRIMARY KEY CHECK (only = 1), id TEXT NOT NULL) STRICT;
    `);
    this.#pending = new PendingDocuments(db, () => this.#force);
    this.#load(nowMs);
  }

  /** The fleet that this node belongs to, in hex. */
  get fleet(): string | undefined {
    return this.#force.fleet;
  }

  get charter(): SignedDocument<"Charter"> | undefined {
    return this.#force.charter;
  }

  /** Keys that the fleet trusts now, by key id. */
  get keys(): ReadonlyMap<string, TrustedKey> {
    return this.#force.keys;
  }

  /** Grows whenever the set of documents in force changes, for those who keep something worked out from it. */
  get revision(): number {
    return this.#force.revision;
  }

  /** The documents that came since that revision; `undefined` when more has changed than that they came. */
  changesSince(revision: number): readonly SignedDocument[] | undefined {
    return this.#force.changesSince(revision);
  }

  /** Binds this node to a fleet, for good. Throws Fault `identity.other-fleet` (exit `conflict`) when it belongs to another one. */
  pinFleet(fleet: string): void {
    if (this.fleet === fleet) return;
    if (this.fleet !== undefined) {
      throw new Fault("identity.other-fleet", `this node belongs to fleet ${this.fleet.slice(0, 12)} already`, {
        exit: "conflict",
        fix: "Use another --data directory, or `portolan leave` first.",
      });
    }
    this.#db.prepare("INSERT INTO fleet (only, id) VALUES (1, ?)").run(fleet);
    this.#force.fleet = fleet;
  }

  /** Forgets the fleet, all its documents and how far each had got. Only for a node that leaves on purpose; its `HighWaterFile` still knows charter and revocations. */
  forgetFleet(): void {
    inTransaction(this.#db, () => {
      for (const table of ["documents", "charters", "pending", "equivocations", "fleet"])
        this.#db.exec(`DELETE FROM ${table}`);
    });
    this.#force.clear();
  }

  /** Judges an envelope and, if it is accepted, keeps it and tells the listeners. `source` says where it came from, for the record. */
  submit(bytes: Uint8Array, nowMs: number, source?: string): Verdict {
    return this.submitAll([bytes], nowMs, source)[0] as Verdict;
  }

  /**
   * The same for several, each judged after the one before it, in one write: a disk syncs once for all. The listeners are told when all are
   * kept. Throws what the disk did; then none is. Throws what a listener did, after all were told.
   */
  submitAll(envelopes: readonly Uint8Array[], nowMs: number, source?: string): Verdict[] {
    const news: (() => void)[] = [];
    let verdicts: Verdict[];
    try {
      verdicts = inTransaction(this.#db, () => envelopes.map((bytes) => this.#take(bytes, nowMs, source, news)));
    } catch (error) {
      this.#force.clear();
      this.#load(nowMs); // what was taken in before the disk failed counts no more
      throw error;
    }
    tellAll(news);
    return verdicts;
  }

  /** `news`: gets what the listeners are to be told. */
  #take(bytes: Uint8Array, nowMs: number, source: string | undefined, news: (() => void)[]): Verdict {
    let verdict = this.#pending.judgeEarly(bytes) ?? judgeDocument(bytes, this.#force, nowMs);
    if (verdict.outcome === "pending") {
      const merged = this.#pending.merge(verdict);
      const again = judgeDocument(merged.bytes, this.#force, nowMs);
      verdict = again.outcome === "accepted" ? again : { ...verdict, missing: merged.missing };
    }
    if (verdict.outcome === "accepted") this.#accept(verdict.document, nowMs, source, news);
    if (verdict.outcome === "refused") {
      const refused = verdict;
      if (refused.equivocation === true) this.#keepEquivocation(refused.id as string, bytes);
      for (const listener of this.#refusals) news.push(() => listener(refused, source));
    }
    return verdict;
  }

  /** Keeps an unsigned body until enough keys have signed it. */
  addDraft(kind: Kind, payload: Uint8Array): PendingDocument {
    return this.#pending.addDraft(kind, payload);
  }

  /** Documents that wait for signatures, oldest first. */
  pending(): PendingDocument[] {
    return this.#pending.list();
  }

  /** Whose signatures a body needs, given those it has. */
  missing(body: Body, signers?: readonly string[]): Missing {
    return this.#pending.missing(body, signers);
  }

  /** Drops a half-signed document; `false` when there was none. */
  dropPending(id: string): boolean {
    const dropped = this.#pending.remove(id);
    if (dropped) this.#pending.changed();
    return dropped;
  }

  /** A document that is in force: authorised by the keys of today, neither expired nor deleted. */
  get<K extends Kind>(kind: K, name: string, tenant: string = DEFAULT_TENANT): SignedDocument<K> | undefined {
    return this.#force.documents.get(documentId(kind, name, tenant)) as SignedDocument<K> | undefined;
  }

  /** All documents of a kind that are in force. */
  list<K extends Kind>(kind: K): SignedDocument<K>[] {
    return this.#force.ofKind(kind);
  }

  /** Memberships of a kind that have ended, and that nobody took back. */
  lapsed<K extends "Member" | "Registrar">(kind: K): SignedDocument<K>[] {
    const found: SignedDocument<K>[] = [];
    for (const document of this.#force.lapsed.values()) if (isDocumentOf(document, kind)) found.push(document);
    return found;
  }

  /** One of those that have ended. */
  lapsedById(id: string): SignedDocument | undefined {
    return this.#force.lapsed.get(id);
  }

  /** Every document in force. */
  all(): Iterable<SignedDocument> {
    return this.#force.documents.values();
  }

  byId(id: string): SignedDocument | undefined {
    return this.#force.documents.get(id);
  }

  /** The version that a new document of this id must have. */
  nextVersion(id: string): number {
    return this.#force.highest(id) + 1;
  }

  /** Whether this node has, or had, this version or a later one. */
  hasSeen(id: string, version: number): boolean {
    return this.#force.highest(id) >= version;
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
  onRefused(listener: RefusalListener): () => void {
    this.#refusals.add(listener);
    return () => this.#refusals.delete(listener);
  }

  /** Calls back when the list of half-signed documents changes. Returns how to stop. */
  onPending(listener: () => void): () => void {
    return this.#pending.onChange(listener);
  }

  /** Takes what has expired out of force. Called now and then, and when the time has changed. */
  expire(nowMs: number): void {
    this.#force.refresh(nowMs);
  }

  /** SHA-256 over all documents in force: equal on two nodes that know the same. */
  digest(): Uint8Array {
    return this.#force.summary.digest();
  }

  /** One 8-byte value per bucket of ids, to find out which part differs. */
  bucketDigests(): Uint8Array[] {
    return this.#force.summary.bucketDigests();
  }

  /** Ids and versions of the documents in some of the buckets. */
  inBuckets(indexes: ReadonlySet<number>): [id: string, version: number][] {
    return [...this.all()].filter(({ id }) => indexes.has(bucketOf(id))).map(({ id, body }) => [id, body.version]);
  }

  #accept(document: SignedDocument, nowMs: number, source: string | undefined, news: (() => void)[]): void {
    const { id, body, digest, bytes, kind } = document;
    this.#db
      .prepare(
        "INSERT INTO documents (id, version, digest, bytes) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET version = excluded.version, digest = excluded.digest, bytes = excluded.bytes",
      )
      .run(id, body.version, digest, bytes);
    if (kind === "Charter") {
      this.#db.prepare("INSERT OR REPLACE INTO charters (version, bytes) VALUES (?, ?)").run(body.version, bytes);
    }
    if (this.#pending.remove(id)) news.push(() => this.#pending.changed());
    this.#force.accept(document, nowMs);
    for (const listener of this.#listeners) news.push(() => listener(document, source));
    if (kind !== "Charter") return;
    // what waited for a charter, or for the keys of a new one, may suffice now
    for (const waiting of this.#pending.envelopes()) this.#take(waiting, nowMs, source, news);
  }

  /** Reads what was accepted before. Signatures are verified again: the disk is not trusted to have stayed as it was. */
  #load(nowMs: number): void {
    const fleet = this.#db.prepare("SELECT id FROM fleet").get();
    if (fleet === undefined) return;
    this.#force.fleet = fleet.id as string;
    for (const bytes of this.charterChain()) {
      // Judged at the time it was written: neither a charter's end nor a machine without a clock may dissolve the fleet.
      const writtenMs = Date.parse(parseBody("Charter", openEnvelope(bytes).envelope.payload).notBefore);
      const verdict = judgeDocument(bytes, this.#force, writtenMs);
      if (verdict.outcome === "accepted") this.#force.restore(verdict.document);
    }
    this.#force.rebuild(nowMs);
    const rows = this.#db.prepare("SELECT id, version, digest, bytes FROM documents").all() as unknown as StoredRow[];
    for (const kinds of LOAD_ORDER) {
      for (const row of rows) {
        if (kinds(row.id)) this.#restore(row);
      }
      this.#force.rebuild(nowMs);
    }
  }

  #restore(row: StoredRow): void {
    this.#force.restoreMark(row.id, { version: row.version, digest: row.digest });
    try {
      const open = openEnvelope(row.bytes);
      if (open.kind === "Charter") return;
      const signers = verifiedSigners(open, this.keys);
      if (bodyDigest(open.envelope.payload) !== row.digest)
        throw new Fault("identity.document", "its bytes have changed");
      const body = parseBody(open.kind, open.envelope.payload);
      this.#force.restore({ kind: open.kind, id: row.id, body, digest: row.digest, signers, bytes: row.bytes });
    } catch (error) {
      this.#log.error("stored document is damaged", { id: row.id, error: String(error) });
    }
  }

  #keepEquivocation(id: string, refused: Uint8Array): void {
    const kept = this.#force.document(id);
    if (kept === undefined) return;
    const { total } = this.#db.prepare("SELECT count(*) AS total FROM equivocations").get() as { total: number };
    if (total >= MAX_EQUIVOCATIONS) return;
    this.#db
      .prepare("INSERT INTO equivocations (id, version, kept, refused) VALUES (?, ?, ?, ?)")
      .run(id, kept.body.version, kept.bytes, refused);
  }
}

/** Nobody's failure, such as a full disk, keeps news from the others: one may be a revocation. */
function tellAll(news: readonly (() => void)[]): void {
  const failures: unknown[] = [];
  for (const tell of news) {
    try {
      tell();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

const startsWith =
  (...prefixes: string[]) =>
  (id: string): boolean =>
    prefixes.some((prefix) => id.startsWith(prefix));
const OWNED = startsWith("Operator/", "Registrar/");
/** Signers before what they signed. */
const LOAD_ORDER = [OWNED, startsWith("Revocation/", "Tombstone/"), (id: string): boolean => !OWNED(id)] as const;
