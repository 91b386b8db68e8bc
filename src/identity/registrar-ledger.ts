import type { DatabaseSync } from "node:sqlite";
import { z } from "zod";
import { Fault, inTransaction } from "#core";
import type { EvidenceUse, EvidenceUses } from "./evidence.ts";
import type { SignedDocument } from "./document.ts";
import { keyHash, type NodeId } from "./node-id.ts";

/** Refused devices that a registrar remembers; the oldest goes first, so strangers cannot fill the disk. */
const MAX_REFUSALS = 1_000;

const issuedRow = z.object({
  node: z.string(),
  tenant: z.string(),
  name: z.string(),
  expiresMs: z.number(),
  bytes: z.custom<Uint8Array>((value) => value instanceof Uint8Array),
});
const refusedRow = z.object({
  node: z.string(),
  code: z.string(),
  serial: z.string(),
  address: z.string(),
  atMs: z.number(),
});
const countRow = z.object({ total: z.number() });
const batchRow = countRow.extend({ recent: z.number(), own: z.number() });
const textRow = z.object({ text: z.string() }).optional();

/** A member document as it was handed out; times in Unix milliseconds. */
export type IssuedMember = z.infer<typeof issuedRow>;

/** A device that proved its key and was turned away because its serial belongs to another. */
export type RefusedDevice = z.infer<typeof refusedRow>;

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
      CREATE TABLE IF NOT EXISTS pass_uses (pass TEXT PRIMARY KEY, key TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS batch_uses (batch TEXT NOT NULL, key TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (batch, key)) STRICT;
      CREATE TABLE IF NOT EXISTS issued (node TEXT PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, expires_ms INTEGER NOT NULL, bytes BLOB NOT NULL, UNIQUE (tenant, name)) STRICT;
      CREATE TABLE IF NOT EXISTS refused_devices (node TEXT NOT NULL, code TEXT NOT NULL, serial TEXT NOT NULL, address TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (node, code, serial)) STRICT;
    `);
  }

  claimHolder(serial: string): string | undefined {
    return textRow.parse(this.#db.prepare("SELECT key AS text FROM claim_uses WHERE serial = ?").get(serial))?.text;
  }

  passHolder(hash: string): string | undefined {
    return textRow.parse(this.#db.prepare("SELECT key AS text FROM pass_uses WHERE pass = ?").get(hash))?.text;
  }

  batchUses(batch: string, keyHash: string, sinceMs: number): { total: number; recent: number; hasKey: boolean } {
    const row = this.#db
      .prepare(
        "SELECT count(*) AS total, coalesce(sum(at_ms > ?), 0) AS recent, coalesce(sum(key = ?), 0) AS own FROM batch_uses WHERE batch = ?",
      )
      .get(sinceMs, keyHash, batch);
    const { total, recent, own } = batchRow.parse(row);
    return { total, recent, hasKey: own > 0 };
  }

  /** The last member document that this registrar handed to a node. */
  issuedTo(node: NodeId): IssuedMember | undefined {
    const row = this.#db
      .prepare("SELECT node, tenant, name, expires_ms AS expiresMs, bytes FROM issued WHERE node = ?")
      .get(node);
    return issuedRow.optional().parse(row);
  }

  /** The node that has this name here. */
  nameHolder(tenant: string, name: string): NodeId | undefined {
    const row = this.#db.prepare("SELECT node AS text FROM issued WHERE tenant = ? AND name = ?").get(tenant, name);
    return textRow.parse(row)?.text;
  }

  /** Nodes that this registrar ever admitted. */
  memberCount(): number {
    return countRow.parse(this.#db.prepare("SELECT count(*) AS total FROM issued").get()).total;
  }

  /**
   * Takes the evidence up and keeps the member document, both or neither. The same key again changes nothing but the document.
   * Throws Fault `identity.evidence-taken` (conflict) when another key holds the serial or pass.
   */
  admit(keyHash: string, use: EvidenceUse | undefined, member: IssuedMember, atMs: number): void {
    inTransaction(this.#db, () => {
      const holder = use === undefined ? keyHash : this.#take(use, keyHash, atMs);
      if (holder !== keyHash) {
        throw new Fault("identity.evidence-taken", `${JSON.stringify(use)} was taken up by another device`, {
          exit: "conflict",
        });
      }
      this.#db
        .prepare(
          "INSERT INTO issued (node, tenant, name, expires_ms, bytes) VALUES (?, ?, ?, ?, ?) ON CONFLICT (node) DO UPDATE SET tenant = excluded.tenant, name = excluded.name, expires_ms = excluded.expires_ms, bytes = excluded.bytes",
        )
        .run(member.node, member.tenant, member.name, member.expiresMs, member.bytes);
    });
  }

  /** Notes what members used up at other registrars, in one write. Returns those whose evidence another key has here. */
  learn(members: readonly SignedDocument<"Member">[]): { member: SignedDocument<"Member">; holder: string }[] {
    const twice: { member: SignedDocument<"Member">; holder: string }[] = [];
    inTransaction(this.#db, () => {
      for (const member of members) {
        const { publicKey, used } = member.body.spec;
        if (used === undefined) continue;
        const key = keyHash(Buffer.from(publicKey, "base64"));
        const holder = this.#take(used, key, Date.parse(member.body.notBefore));
        if (holder !== key) twice.push({ member, holder });
      }
    });
    return twice;
  }

  /** Returns the key that has the evidence now: another one when it was taken up before. */
  #take(use: EvidenceUse, keyHash: string, atMs: number): string {
    if ("batch" in use) {
      const insert = "INSERT OR IGNORE INTO batch_uses (batch, key, at_ms) VALUES (?, ?, ?)";
      this.#db.prepare(insert).run(use.batch, keyHash, atMs);
      return keyHash;
    }
    if ("claim" in use) {
      const insert = "INSERT OR IGNORE INTO claim_uses (serial, key, at_ms) VALUES (?, ?, ?)";
      this.#db.prepare(insert).run(use.claim, keyHash, atMs);
      return this.claimHolder(use.claim) ?? keyHash;
    }
    const insert = "INSERT OR IGNORE INTO pass_uses (pass, key, at_ms) VALUES (?, ?, ?)";
    this.#db.prepare(insert).run(use.pass, keyHash, atMs);
    return this.passHolder(use.pass) ?? keyHash;
  }

  /** Whether this node came with a serial that another had taken up. */
  isQuarantined(node: NodeId): boolean {
    const found = this.#db
      .prepare("SELECT 1 AS total FROM refused_devices WHERE node = ? AND code = 'identity.claim-taken' LIMIT 1")
      .get(node);
    return found !== undefined;
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
    const rows = this.#db
      .prepare("SELECT node, code, serial, address, at_ms AS atMs FROM refused_devices ORDER BY rowid DESC")
      .all();
    return z.array(refusedRow).parse(rows);
  }
}
