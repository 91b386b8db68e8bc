import type { DatabaseSync } from "node:sqlite";
import { type DocumentStore, keyHash, type NodeId, publicKeyOf, type SignedDocument } from "#identity";

/** Keys in quarantine at once; the oldest goes first. Only members get there. */
const MAX_QUARANTINED = 1_000;

type Entry = { sinceMs: number; approvals: ReadonlySet<string> };

/**
 * Keys that two machines were seen to use at a time. Nobody can tell which of them is the right one, so neither is a neighbour
 * until an operator approves the key anew. On disk: a restart of this node changes nothing.
 */
export class Quarantine {
  readonly #db: DatabaseSync;
  readonly #store: DocumentStore;
  readonly #nowMs: () => number;
  readonly #entries = new Map<NodeId, Entry>();
  /** When keys were let out again: what others say of the time before is stale. */
  readonly #lifted = new Map<NodeId, number>();
  readonly #listeners = new Set<(node: NodeId) => void>();

  /** `nowMs`: trusted Unix time. */
  constructor(db: DatabaseSync, store: DocumentStore, nowMs: () => number) {
    this.#db = db;
    this.#store = store;
    this.#nowMs = nowMs;
    db.exec(
      "CREATE TABLE IF NOT EXISTS quarantine (node TEXT PRIMARY KEY, since_ms INTEGER NOT NULL, approvals TEXT NOT NULL) STRICT",
    );
    for (const row of db.prepare("SELECT node, since_ms, approvals FROM quarantine ORDER BY since_ms").all()) {
      const approvals = new Set(JSON.parse(row.approvals as string) as string[]);
      this.#entries.set(row.node as NodeId, { sinceMs: row.since_ms as number, approvals });
    }
  }

  /** Shuts a key out. `false`: it is already. */
  add(node: NodeId, sinceMs = this.#nowMs()): boolean {
    if (this.sinceMs(node) !== undefined) return false;
    const entry = {
      sinceMs: Math.floor(sinceMs),
      approvals: new Set(this.#approvals(node).map(({ digest }) => digest)),
    };
    this.#entries.set(node, entry);
    this.#db
      .prepare("INSERT OR REPLACE INTO quarantine (node, since_ms, approvals) VALUES (?, ?, ?)")
      .run(node, entry.sinceMs, JSON.stringify([...entry.approvals]));
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > MAX_QUARANTINED && oldest !== undefined) this.#remove(oldest);
    for (const listener of this.#listeners) listener(node);
    return true;
  }

  /** Takes the word of another node that saw the key used twice, unless it is older than an operator's. `sinceMs`: when, in Unix milliseconds. */
  hear(node: NodeId, sinceMs: number): boolean {
    const approvedMs = this.#approvals(node).map(({ body }) => Date.parse(body.notBefore));
    return sinceMs > Math.max(this.#lifted.get(node) ?? 0, ...approvedMs) && this.add(node, sinceMs);
  }

  /** Calls back for each key that is shut out. Returns how to stop. */
  onAdded(listener: (node: NodeId) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Since when a key is shut out, in Unix milliseconds; `undefined` when it is not, or was approved since. */
  sinceMs(node: NodeId): number | undefined {
    const entry = this.#entries.get(node);
    if (entry === undefined) return undefined;
    if (this.#approvals(node).every(({ digest }) => entry.approvals.has(digest))) return entry.sinceMs;
    this.#remove(node);
    this.#lifted.set(node, this.#nowMs());
    const [first] = this.#lifted.keys();
    if (this.#lifted.size > MAX_QUARANTINED && first !== undefined) this.#lifted.delete(first);
    return undefined;
  }

  /** Keys that are shut out, the newest last. */
  all(): { node: NodeId; sinceMs: number }[] {
    return [...this.#entries.keys()].flatMap((node) => {
      const sinceMs = this.sinceMs(node);
      return sinceMs === undefined ? [] : [{ node, sinceMs }];
    });
  }

  #remove(node: NodeId): void {
    this.#entries.delete(node);
    this.#db.prepare("DELETE FROM quarantine WHERE node = ?").run(node);
  }

  /** Signed lists that name this very key: a new one is an operator's word that it is in order again. */
  #approvals(node: NodeId): SignedDocument<"ClaimList">[] {
    const hash = keyHash(publicKeyOf(node));
    return this.#store.list("ClaimList").filter(({ body }) => body.spec.rows.some(({ key }) => key === hash));
  }
}
