import { type FleetView, isAuthorised, outlivesItsEnd } from "./charter.ts";
import { DocumentSummary } from "./document-summary.ts";
import { documentId, isDocumentOf, type SignedDocument } from "./document.ts";
import type { Kind } from "./kinds.ts";
import { trustedKeys, type TrustedKey, type TrustLimits } from "./trusted-keys.ts";

/** Kinds that change who is trusted or what is gone. */
const CHANGES_TRUST: ReadonlySet<Kind> = new Set(["Charter", "Operator", "Registrar", "Revocation", "Tombstone"]);

/** Documents that came in since a reader last looked, as far as they are kept; who is further behind works everything out anew. */
const MAX_CHANGES = 1_024;

type Mark = { version: number; digest: string };

/**
 * Which of the accepted documents count now, and whose keys they make the fleet trust. The answer depends on the set of
 * documents and on the time, never on the order in which they came. In memory; the store keeps them on disk.
 */
export class InForce implements FleetView {
  readonly #all = new Map<string, SignedDocument>();
  readonly #marks = new Map<string, Mark>();
  readonly #gone = new Map<string, number>();
  readonly #effective = new Map<string, SignedDocument>();
  readonly #lapsed = new Map<string, SignedDocument>();
  /** The same as `#effective`, by kind. */
  readonly #ofKind = new Map<Kind, Map<string, SignedDocument>>();
  readonly #summary = new DocumentSummary();
  #charter: SignedDocument<"Charter"> | undefined;
  #keys = new Map<string, TrustedKey>();
  #revision = 0;
  /** What was put in force, or lapsed on arrival, in the revisions after `#changesFrom`. */
  #changes: SignedDocument[] = [];
  #changesFrom = 0;
  /** Trusted time of the last rebuild. */
  #builtMs = 0;
  /** Nothing in force ends before this Unix time. */
  #nextEndMs = Number.POSITIVE_INFINITY;
  fleet: string | undefined;
  foundedMs = 0;

  get charter(): SignedDocument<"Charter"> | undefined {
    return this.#charter;
  }

  get keys(): ReadonlyMap<string, TrustedKey> {
    return this.#keys;
  }

  get documents(): ReadonlyMap<string, SignedDocument> {
    return this.#effective;
  }

  /** Memberships that would be in force had they not ended. */
  get lapsed(): ReadonlyMap<string, SignedDocument> {
    return this.#lapsed;
  }

  get summary(): DocumentSummary {
    return this.#summary;
  }

  /** Grows whenever the set of documents in force changes. */
  get revision(): number {
    return this.#revision;
  }

  /** The documents that came since that revision, oldest first; `undefined` when more than those has changed. */
  changesSince(revision: number): readonly SignedDocument[] | undefined {
    return revision < this.#changesFrom ? undefined : this.#changes.slice(revision - this.#changesFrom);
  }

  /** Those in force of one kind. */
  ofKind<K extends Kind>(kind: K): SignedDocument<K>[] {
    return [...(this.#ofKind.get(kind)?.values() ?? [])] as SignedDocument<K>[];
  }

  document(id: string): SignedDocument | undefined {
    return this.#all.get(id);
  }

  mark(id: string): Mark | undefined {
    return this.#marks.get(id);
  }

  goneUpTo(id: string): number {
    return this.#gone.get(id) ?? 0;
  }

  /** The highest version of this id that was ever accepted or taken away; 0 for none. */
  highest(id: string): number {
    return Math.max(this.#marks.get(id)?.version ?? 0, this.goneUpTo(id));
  }

  /** Takes in a document that was just accepted. */
  accept(document: SignedDocument, nowMs: number): void {
    this.restore(document);
    if (CHANGES_TRUST.has(document.kind)) this.rebuild(nowMs);
    else this.#put(document, nowMs);
  }

  /** Takes in a document that was accepted earlier; `rebuild` says what it is worth. */
  restore(document: SignedDocument): void {
    const { id, body, digest } = document;
    this.#all.set(id, document);
    this.restoreMark(id, { version: body.version, digest });
    if (!isDocumentOf(document, "Charter")) return;
    this.#charter = document;
    if (body.version === 1) this.foundedMs = Date.parse(body.notBefore);
  }

  /** Remembers how far an id has got, also when its document is lost. */
  restoreMark(id: string, mark: Mark): void {
    this.#marks.set(id, mark);
  }

  /** Takes what has expired out of force; after time went back, what had expired into it. */
  refresh(nowMs: number): void {
    if (nowMs < this.#builtMs) return this.rebuild(nowMs);
    if (nowMs < this.#nextEndMs) return;
    this.#nextEndMs = Number.POSITIVE_INFINITY; // what ended next may have been renewed since
    for (const document of this.#effective.values()) {
      if (!isLive(document, nowMs)) return this.rebuild(nowMs);
      this.#nextEndMs = Math.min(this.#nextEndMs, endMs(document));
    }
  }

  /** Works out anew who is trusted and what is in force. */
  rebuild(nowMs: number): void {
    const all = [...this.#all.values()].filter((document) => isLive(document, nowMs) || outlivesItsEnd(document.kind));
    this.#rebuildTrust(all, nowMs);
    this.#builtMs = nowMs;
    this.#empty();
    for (const document of all) if (this.#counts(document)) this.#put(document, nowMs);
    this.#forgetChanges();
  }

  clear(): void {
    this.fleet = undefined;
    this.#charter = undefined;
    for (const map of [this.#all, this.#marks, this.#gone, this.#keys]) map.clear();
    this.#empty();
    this.#forgetChanges();
  }

  /** Takes everything out of force. */
  #empty(): void {
    for (const map of [this.#effective, this.#lapsed, this.#ofKind]) map.clear();
    this.#summary.clear();
    this.#nextEndMs = Number.POSITIVE_INFINITY;
    this.#revision += 1;
  }

  #forgetChanges(): void {
    this.#changes = [];
    this.#changesFrom = this.#revision;
  }

  /** Owners authorise operators and registrars, these authorise the rest; tombstones take away before anything counts. */
  #rebuildTrust(all: readonly SignedDocument[], nowMs: number): void {
    const inForce = <K extends Kind>(kind: K): SignedDocument<K>[] =>
      all.filter((document): document is SignedDocument<K> => isDocumentOf(document, kind) && this.#counts(document));
    const none = { revocation: undefined, removed: [], nowMs };
    this.#keys = trustedKeys(this.#charter, [], [], none);
    this.#gone.clear();
    for (let round = 0; round < 2; round++) {
      const removed = this.#bury(inForce("Tombstone"));
      const [operators, registrars] = [inForce("Operator"), inForce("Registrar")];
      this.#keys = trustedKeys(this.#charter, operators, [], none);
      const [revocation] = inForce("Revocation");
      this.#keys = trustedKeys(this.#charter, inForce("Operator"), registrars, { revocation, removed, nowMs });
    }
  }

  /** Takes away what tombstones name. Returns the registrars among that whose members shall stay. */
  #bury(tombstones: readonly SignedDocument<"Tombstone">[]): TrustLimits["removed"] {
    return tombstones.flatMap(({ body }) => {
      const { target, version, keepMembers = [] } = body.spec;
      const id = documentId(target.kind, target.name, body.metadata.tenant);
      this.#gone.set(id, Math.max(this.goneUpTo(id), version));
      const document = this.#all.get(id);
      const isKept = keepMembers.length > 0 && document !== undefined && document.body.version <= version;
      return isKept && isDocumentOf(document, "Registrar") ? [{ document, keepMembers }] : [];
    });
  }

  #counts(document: SignedDocument): boolean {
    return document.body.version > this.goneUpTo(document.id) && isAuthorised(document, this);
  }

  #put(document: SignedDocument, nowMs: number): void {
    const old = this.#effective.get(document.id);
    if (old !== undefined) this.#summary.toggle(old);
    this.#effective.delete(document.id);
    this.#lapsed.delete(document.id);
    this.#ofKind.get(document.kind)?.delete(document.id);
    if (this.#changes.length >= MAX_CHANGES) this.#forgetChanges();
    this.#revision += 1;
    this.#changes.push(document);
    if (!isLive(document, nowMs)) {
      this.#lapsed.set(document.id, document);
      return;
    }
    this.#summary.toggle(document);
    this.#effective.set(document.id, document);
    this.#nextEndMs = Math.min(this.#nextEndMs, endMs(document));
    const ofKind = this.#ofKind.get(document.kind) ?? new Map<string, SignedDocument>();
    this.#ofKind.set(document.kind, ofKind.set(document.id, document));
  }
}

/** When it goes out of force. A charter stays past its end: a fleet that is cut off must not fall apart. A time reset is about wrong time. */
function endMs({ kind, body }: SignedDocument): number {
  return kind === "Charter" || kind === "TimeReset" ? Number.POSITIVE_INFINITY : Date.parse(body.expires);
}

function isLive(document: SignedDocument, nowMs: number): boolean {
  return endMs(document) > nowMs;
}
