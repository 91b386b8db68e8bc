import type { DatabaseSync } from "node:sqlite";

/** All of what `work` writes, or none of it, and on the disk as the database's settings have it when this returns. Throws what `work` or the commit throws. */
export function inTransaction<T>(db: Pick<DatabaseSync, "exec" | "isTransaction">, work: () => T): T {
  db.exec("BEGIN IMMEDIATE");
  try {
    const result = work();
    db.exec("COMMIT");
    return result;
  } catch (error) {
    // SQLite itself rolls back on some errors, such as a full disk; a second time would hide why (sqlite.org/lang_transaction.html).
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}
