import type { DatabaseSync } from "node:sqlite";
import { Fault } from "#core";
import type { EvidenceUse, EvidenceUses } from "./evidence.ts";
import type { NodeId } from "./node-id.ts";

/** Refused devices that a registrar remembers; the oldest goes first, so strangers cannot fill the disk. */
const MAX_REFUSALS = 1_000;

/** A member document as it was handed out. */
export type IssuedMember = { node: NodeId; tenant: string; name: string; expiresMs: number; bytes: Uint8Array };

/** A device that proved its key and was turned away because its serial belongs to another. */
export type RefusedDevice = { node: NodeId; code: string; serial: string; address: string; atMs: number };

/**
 * What a registrar must never forget: which key took up which claim, who came by which batch, and what was handed out. Each
 * write is on disk before the call returns, so a crash after it changes no answer.
 */
export class RegistrarLedger implements EvidenceUses {
  readonly #db: DatabaseSync;

  /** `db`: from `openStateDatabase`. */
  constructor(db: DatabaseSync) {
    this.#db = db;
    db.exec(`
      CREATE TABLE IF NOT EXISTS claim_uses (serial TEXT PRIMARY KEY, key TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS batch_uses (batch TEXT NOT NULL, key TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (batch, key)) STRICT;
      CREATE TABLE IF NOT EXISTS issued (node TEXT PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, expires_ms INTEGER NOT NULL, bytes BLOB NOT NULL, UNIQUE (tenant, name)) STRICT;
      CREATE TABLE IF NOT EXISTS refused_devices (node TEXT NOT NULL, code TEXT NOT NULL, serial TEXT NOT NULL, address TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (node, code, serial)) STRICT;
    `);
  }

  claimHolder(serial: string): string | undefined {
    return this.#db.prepare("SELECT key FROM claim_uses WHERE serial = ?").get(serial)?.key as string | undefined;
  }

  batchUses(batch: string, keyHash: string, sinceMs: number): { total: number; recent: number; hasKey: boolean } {
    const row = this.#db
      .prepare(
        "SELECT count(*) AS total, coalesce(sum(at_ms > ?), 0) AS recent, coalesce(sum(key = ?), 0) AS own FROM batch_uses WHERE batch = ?",
      )
      .get(sinceMs, keyHash, batch) as { total: number; recent: number; own: number };
    return { total: row.total, recent: row.recent, hasKey: row.own > 0 };
  }

  /** The last member document that this registrar handed to a node. */
  issuedTo(node: NodeId): IssuedMember | undefined {
    const row = this.#db
      .prepare("SELECT node, tenant, name, expires_ms AS expiresMs, bytes FROM issued WHERE node = ?")
      .get(node);
    return row as IssuedMember | undefined;
  }

  /** The node that has this name here. */
  nameHolder(tenant: string, name: string): NodeId | undefined {
    return this.#db.prepare("SELECT node FROM issued WHERE tenant = ? AND name = ?").get(tenant, name)?.node as
      | NodeId
      | undefined;
  }

  /** Nodes that this registrar ever admitted. */
  memberCount(): number {
    return (this.#db.prepare("SELECT count(*) AS total FROM issued").get() as { total: number }).total;
  }

  /**
   * Takes the evidence up and keeps the member document, both or neither. The same key again changes nothing but the document.
   * Throws Fault `identity.claim-taken` (conflict) when another key holds the serial.
   */
  admit(keyHash: string, use: EvidenceUse, member: IssuedMember, atMs: number): void {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      if (use !== undefined && "claim" in use) this.#takeClaim(use.claim, keyHash, atMs);
      if (use !== undefined && "batch" in use) {
        this.#db
          .prepare("INSERT OR IGNORE INTO batch_uses (batch, key, at_ms) VALUES (?, ?, ?)")
          .run(use.batch, keyHash, atMs);
      }
      this.#db
        .prepare(
          "INSERT INTO issued (node, tenant, name, expires_ms, bytes) VALUES (?, ?, ?, ?, ?) ON CONFLICT (node) DO UPDATE SET tenant = excluded.tenant, name = excluded.name, expires_ms = excluded.expires_ms, bytes = excluded.bytes",
        )
        .run(member.node, member.tenant, member.name, member.expiresMs, member.bytes);
      this.#db.exec("COMMIT");
    } catch (error) {
      this.#db.exec("ROLLBACK");
      throw error;
    }
  }

  /** Remembers a device that proved its key but shows a serial of another; once per node, code and serial. */
  recordRefused({ node, code, serial, address, atMs }: RefusedDevice): void {
    this.#db
      .prepare("INSERT OR IGNORE INTO refused_devices (node, code, serial, address, at_ms) VALUES (?, ?, ?, ?, ?)")
      .run(node, code, serial, address, atMs);
    this.#db
      .prepare(
        "DELETE FROM refused_devices WHERE rowid IN (SELECT rowid FROM refused_devices ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
      )
      .run(MAX_REFUSALS);
  }

  /** Devices to look for, newest first. */
  refusedDevices(): RefusedDevice[] {
    return this.#db
      .prepare("SELECT node, code, serial, address, at_ms AS atMs FROM refused_devices ORDER BY rowid DESC")
      .all() as RefusedDevice[];
  }

  #takeClaim(serial: string, keyHash: string, atMs: number): void {
    this.#db
      .prepare("INSERT OR IGNORE INTO claim_uses (serial, key, at_ms) VALUES (?, ?, ?)")
      .run(serial, keyHash, atMs);
    const holder = this.claimHolder(serial);
    if (holder !== keyHash) {
      throw new Fault("identity.claim-taken", `serial ${serial} was taken up by another device`, { exit: "conflict" });
    }
  }
}
