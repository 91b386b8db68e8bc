import type { DatabaseSync } from "node:sqlite";

/** What can happen: a closed list, so that scripts can rely on it. */
const EVENT_TYPES = [
  "node.joined",
  "node.pending",
  "node.refused",
  "node.revoked",
  "node.connected",
  "node.disconnected",
  "node.other-fleet",
  "node.cut-off",
  "node.in-touch",
  "node.autonomous",
  "identity.accepted",
  "identity.refused",
  "identity.pending",
  "token.refused",
  "artifact.published",
  "artifact.complete",
  "artifact.failed",
  "artifact.removed",
  "artifact.exported",
  "security.refused-peer",
  "security.banned-peer",
  "security.clone",
  "security.moved",
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

export type EventEntry = {
  /** Only grows, over restarts too. */
  seq: number;
  /** Unix milliseconds, trusted time. */
  timeMs: number;
  type: EventType;
  /** What it happened to. */
  subject: string;
  /** Who did it, as far as it was proven. */
  actor?: string;
  outcome: "ok" | "refused" | "failed";
  message: string;
};

/** Entries kept; the oldest go first. About 3 MiB. */
const MAX_EVENTS = 10_000;
/** Entries are dropped in steps, so that not every one costs a delete. */
const PRUNE_EVERY = 500;
/** What a peer caused must not fill the disk. */
const MAX_TEXT = 500;

/** What happened on this node, on disk and bounded. */
export class EventLog {
  readonly #db: DatabaseSync;
  readonly #nowMs: () => number;
  readonly #listeners = new Set<(entry: EventEntry) => void>();
  #sincePrune = 0;

  /** `nowMs`: trusted Unix time. */
  constructor(db: DatabaseSync, nowMs: () => number) {
    this.#db = db;
    this.#nowMs = nowMs;
    db.exec(
      "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL, actor TEXT, outcome TEXT NOT NULL, message TEXT NOT NULL) STRICT",
    );
  }

  record(entry: Omit<EventEntry, "seq" | "timeMs">): EventEntry {
    const cut = (text: string): string => (text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text);
    const full = {
      ...entry,
      subject: cut(entry.subject),
      message: cut(entry.message),
      timeMs: Math.floor(this.#nowMs()),
    };
    const { lastInsertRowid } = this.#db
      .prepare("INSERT INTO events (time_ms, type, subject, actor, outcome, message) VALUES (?, ?, ?, ?, ?, ?)")
      .run(full.timeMs, full.type, full.subject, full.actor ?? null, full.outcome, full.message);
    const saved = { ...full, seq: Number(lastInsertRowid) };
    this.#sincePrune += 1;
    if (this.#sincePrune >= PRUNE_EVERY) {
      this.#sincePrune = 0;
      this.#db.prepare("DELETE FROM events WHERE seq <= ?").run(saved.seq - MAX_EVENTS);
    }
    for (const listener of this.#listeners) listener(saved);
    return saved;
  }

  /** The newest entries, oldest first. */
  list(limit: number = MAX_EVENTS): EventEntry[] {
    const rows = this.#db.prepare("SELECT * FROM events ORDER BY seq DESC LIMIT ?").all(limit);
    return rows.toReversed().map((row) => ({
      seq: row.seq as number,
      timeMs: row.time_ms as number,
      type: row.type as EventType,
      subject: row.subject as string,
      ...(row.actor === null ? {} : { actor: row.actor as string }),
      outcome: row.outcome as EventEntry["outcome"],
      message: row.message as string,
    }));
  }

  /** Calls back for each new entry. Returns how to stop. */
  onEvent(listener: (entry: EventEntry) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
