import { DatabaseSync } from "node:sqlite";

/**
 * Opens the database that holds a node's acknowledged state; `:memory:` for a node that lives in a test. WAL with
 * synchronous=FULL: a committed write survives a power cut (sqlite.org/pragma.html#pragma_synchronous).
 */
export function openStateDatabase(path: string): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: 5_000 });
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;");
  return db;
}
