import type { DatabaseSync } from "node:sqlite";

/** Artifacts that somebody at this node wants kept here, whatever room is needed; on disk. */
export class Pins {
  readonly #db: DatabaseSync;
  readonly #names: Set<string>;
  readonly #listeners = new Set<() => void>();

  constructor(db: DatabaseSync) {
    this.#db = db;
    db.exec("CREATE TABLE IF NOT EXISTS pins (name TEXT PRIMARY KEY) STRICT");
    this.#names = new Set(
      db
        .prepare("SELECT name FROM pins")
        .all()
        .map((row) => String(row["name"])),
    );
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  all(): string[] {
    return [...this.#names];
  }

  /** Durable when it returns. */
  set(name: string, pinned: boolean): void {
    if (pinned === this.#names.has(name)) return;
    this.#db.prepare(pinned ? "INSERT INTO pins VALUES (?)" : "DELETE FROM pins WHERE name = ?").run(name);
    if (pinned) this.#names.add(name);
    else this.#names.delete(name);
    for (const listener of this.#listeners) listener();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
