import { DatabaseSync } from "node:sqlite";
import { Fault, inTransaction } from "#core";
import type { BlobRef } from "../chunk-map.ts";
import type { FileStamp } from "./file-stamp.ts";

/** `partial`: on its way · `whole`: in a file of the store · `linked`: in a file outside, where it was published from. */
export type BlobState = "partial" | "whole" | "linked";

/** One row: what is durably known about a blob. */
export type BlobRow = {
  ref: BlobRef;
  state: BlobState;
  /** 32 bytes per chunk; absent until the map has come. */
  map: Uint8Array | undefined;
  /** Of a partial blob: the chunks that are durable on disk, as Bitset bytes. */
  durable: Uint8Array | undefined;
  /** Of a linked blob. */
  path: string | undefined;
  stamp: FileStamp | undefined;
  addedMs: number;
};

/** Grows with the table; a store written by a newer version is refused. */
const SCHEMA_VERSION = 1;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS blobs (
    root TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, chunk_bytes INTEGER NOT NULL, state TEXT NOT NULL,
    map BLOB, path TEXT, inode TEXT, mtime_ns TEXT, added_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS progress (root TEXT PRIMARY KEY, durable BLOB NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS uses (root TEXT PRIMARY KEY, used_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`;

/** One blob in a list: everything but what takes megabytes. */
export type BlobEntry = {
  ref: BlobRef;
  state: BlobState;
  addedMs: number;
  /** When it was last read, to the hour. */
  usedMs: number;
};

/** The store's database: which blobs there are and how much of each. Every write but `setDurable` and `setUsed` is durable when it returns. */
export class BlobTable {
  readonly #db: DatabaseSync;

  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    try {
      this.#begin();
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  #begin(): void {
    this.#db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 2000;");
    const version = Number(this.#db.prepare("PRAGMA user_version").get()?.["user_version"] ?? 0);
    if (version > SCHEMA_VERSION) {
      throw new Fault(
        "artifacts.newer-store",
        `the store has format ${version}; this version knows ${SCHEMA_VERSION}`,
        {
          exit: "conflict",
          fix: "Start the version of portolan that wrote it, or a newer one.",
        },
      );
    }
    const check = this.#db.prepare("PRAGMA quick_check(1)").get()?.["quick_check"];
    if (check !== "ok")
      throw Object.assign(new Error(`the store's database is damaged: ${String(check)}`), { code: "EBADMSG" });
    if (version < SCHEMA_VERSION || !this.#hasTables())
      this.#db.exec(`${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION};`);
  }

  #hasTables(): boolean {
    const tables = "SELECT count(*) AS count FROM sqlite_schema WHERE name IN ('blobs', 'progress', 'uses')";
    return this.#db.prepare(tables).get()?.["count"] === 3;
  }

  get(root: string): BlobRow | undefined {
    const row = this.#db.prepare("SELECT * FROM blobs LEFT JOIN progress USING (root) WHERE root = ?").get(root);
    return row === undefined ? undefined : readRow(row);
  }

  /** `undefined` when there is no such blob. */
  stateOf(root: string): BlobState | undefined {
    const state = this.#db.prepare("SELECT state FROM blobs WHERE root = ?").get(root)?.["state"];
    return state === undefined ? undefined : readState(state);
  }

  /** All blobs, without their maps. */
  list(): BlobEntry[] {
    const rows = this.#db
      .prepare(
        "SELECT root, size_bytes, chunk_bytes, state, added_ms, used_ms FROM blobs LEFT JOIN uses USING (root) ORDER BY root",
      )
      .all();
    return rows.map((row) => {
      const { ref, state, addedMs } = readRow(row);
      return { ref, state, addedMs, usedMs: Math.max(addedMs, Number(row["used_ms"] ?? 0)) };
    });
  }

  /** Bytes of all blobs that are whole in the store. */
  wholeBytes(): number {
    const sum = "SELECT coalesce(sum(size_bytes), 0) AS bytes FROM blobs WHERE state = 'whole'";
    return Number(this.#db.prepare(sum).get()?.["bytes"] ?? 0);
  }

  /** Files outside the store that were published in place. */
  linked(): { root: string; sizeBytes: number; path: string }[] {
    const rows = this.#db.prepare("SELECT root, size_bytes, path FROM blobs WHERE state = 'linked'").all();
    return rows.map((row) => ({
      root: text(row["root"]) ?? "",
      sizeBytes: Number(row["size_bytes"]),
      path: text(row["path"]) ?? "",
    }));
  }

  /** Blobs that are on their way. */
  partial(): { root: string; sizeBytes: number }[] {
    const rows = this.#db.prepare("SELECT root, size_bytes FROM blobs WHERE state = 'partial'").all();
    return rows.map((row) => ({ root: text(row["root"]) ?? "", sizeBytes: Number(row["size_bytes"]) }));
  }

  /** Writes a row anew; what was durable of an earlier one no longer counts. */
  put(row: BlobRow): void {
    const { ref, state, map, path, stamp, addedMs } = row;
    inTransaction(this.#db, () => {
      this.#db
        .prepare("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .run(
          ref.root,
          ref.sizeBytes,
          ref.chunkBytes,
          state,
          map ?? null,
          path ?? null,
          stamp?.inode ?? null,
          stamp?.mtimeNs ?? null,
          addedMs,
        );
      this.#db.prepare("DELETE FROM progress WHERE root = ?").run(ref.root);
    });
  }

  setMap(root: string, map: Uint8Array): void {
    this.#db.prepare("UPDATE blobs SET map = ? WHERE root = ?").run(map, root);
  }

  /**
   * Which chunks are on the disk for sure. Apart from the blob's row, whose map may have megabytes, and without waiting for the disk:
   * a power cut may take the last word back, and then these chunks come again.
   */
  setDurable(root: string, durable: Uint8Array): void {
    this.#lazily(() => this.#db.prepare("INSERT OR REPLACE INTO progress VALUES (?, ?)").run(root, durable));
  }

  /** A blob is read. Apart from its row, too, and as little worth waiting for. */
  setUsed(root: string, usedMs: number): void {
    this.#lazily(() => this.#db.prepare("INSERT OR REPLACE INTO uses VALUES (?, ?)").run(root, usedMs));
  }

  /** A blob that was whole is so no more: these chunks of it are left. */
  setPartial(root: string, durable: Uint8Array): void {
    inTransaction(this.#db, () => {
      this.#db.prepare("UPDATE blobs SET state = 'partial' WHERE root = ?").run(root);
      this.#db.prepare("INSERT OR REPLACE INTO progress VALUES (?, ?)").run(root, durable);
    });
  }

  setWhole(root: string): void {
    inTransaction(this.#db, () => {
      this.#db.prepare("UPDATE blobs SET state = 'whole' WHERE root = ?").run(root);
      this.#db.prepare("DELETE FROM progress WHERE root = ?").run(root);
    });
  }

  delete(root: string): void {
    inTransaction(this.#db, () => {
      for (const table of ["blobs", "progress", "uses"])
        this.#db.prepare(`DELETE FROM ${table} WHERE root = ?`).run(root);
    });
  }

  #lazily(write: () => void): void {
    this.#db.exec("PRAGMA synchronous = NORMAL");
    try {
      write();
    } finally {
      this.#db.exec("PRAGMA synchronous = FULL");
    }
  }

  close(): void {
    this.#db.close();
  }
}

function readRow(row: Record<string, unknown>): BlobRow {
  const sizeBytes = Number(row["size_bytes"]);
  const inode = text(row["inode"]);
  const mtimeNs = text(row["mtime_ns"]);
  return {
    ref: { root: text(row["root"]) ?? "", sizeBytes, chunkBytes: Number(row["chunk_bytes"]) },
    state: readState(row["state"]),
    map: bytes(row["map"]),
    durable: bytes(row["durable"]),
    path: text(row["path"]),
    stamp: inode === undefined || mtimeNs === undefined ? undefined : { inode, mtimeNs, sizeBytes },
    addedMs: Number(row["added_ms"]),
  };
}

function readState(state: unknown): BlobState {
  return state === "whole" || state === "linked" ? state : "partial";
}

function bytes(value: unknown): Uint8Array | undefined {
  return value instanceof Uint8Array ? value : undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
