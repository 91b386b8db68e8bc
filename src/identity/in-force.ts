import { type FleetView, isAuthorised, outlivesItsEnd } from "./charter.ts";
import { DocumentSummary } from "./document-summary.ts";
import { documentId, isDocumentOf, type SignedDocument } from "./document.ts";
import type { Kind } from "./kinds.ts";
import { trustedKeys, type TrustedKey, type TrustLimits } from "./trusted-keys.ts";

/** Kinds that change who is trusted or what is gone. */
const CHANGES_TRUST: ReadonlySet<Kind> = new Set(["Charter", "Operator", "Registrar", "Revocation", "Tombstone"]);

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
  readonly #summary = new DocumentSummary();
  #charter: SignedDocument<"Charter"> | undefined;
  #keys = new Map<string, TrustedKey>();
  #revision = 0;
  /** Trusted time of the last rebuild. */
  #builtMs = 0;
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
    const back = nowMs < this.#builtMs;
    for (const document of this.#effective.values()) {
      if (back || !isLive(document, nowMs)) return this.rebuild(nowMs);
    }
  }

  /** Works out anew who is trusted and what is in force. */
  rebuild(nowMs: number): void {
    const all = [...this.#all.values()].filter((document) => isLive(document, nowMs) || outlivesItsEnd(document.kind));
    this.#rebuildTrust(all, nowMs);
    this.#builtMs = nowMs;
    this.#effective.clear();
    this.#lapsed.clear();
    this.#summary.clear();
    this.#revision += 1;
    for (const document of all) if (this.#counts(document)) this.#put(document, nowMs);
  }

  clear(): void {
    this.fleet = undefined;
    this.#charter = undefined;
    this.#revision += 1;
    for (const map of [this.#all, this.#marks, this.#gone, this.#effective, this.#lapsed, this.#keys]) map.clear();
    this.#summary.clear();
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
    this.#revision += 1;
    if (!isLive(document, nowMs)) {
      this.#lapsed.set(document.id, document);
      return;
    }
    this.#summary.toggle(document);
    this.#effective.set(document.id, document);
  }
}

/** A charter stays in force past its end: a fleet that is cut off must not fall apart. A time reset is about wrong time. */
function isLive({ kind, body }: SignedDocument, nowMs: number): boolean {
  return kind === "Charter" || kind === "TimeReset" || Date.parse(body.expires) > nowMs;
}
