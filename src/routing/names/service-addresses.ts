import { hash } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import { type ScopedName, writeName } from "./mesh-name.ts";

/** Names that have an address; of more, the one that was asked for longest ago loses its. */
export const MAX_ADDRESSES = 4_096;
/** Addresses of a range, from .1.0 on: those before are the DNS server's and for people to use. */
const FIRST = 256;
const PAST_LAST = 65_535; // the last is the broadcast address
const SPAN = PAST_LAST - FIRST;
/** What was used is noted again this much later: a disk does not need to know it better. */
const NOTE_EVERY_MS = 3_600_000;

export type ServiceAddressesDeps = {
  db: DatabaseSync;
  /** Trusted Unix time in milliseconds. */
  trustedMs: () => number;
  /** The first two numbers, like `127.77`. */
  range: string;
  /** Whether somebody may be connected to it just now. */
  isInUse: (address: string) => boolean;
};

type Row = { address: string; usedMs: number };

/** The IPv4 address that stands for each name on this node: the same after a restart, and on nodes with the same names mostly the same, too. */
export class ServiceAddresses {
  readonly #deps: ServiceAddressesDeps;
  readonly #byName = new Map<string, Row>();
  readonly #taken = new Set<string>();

  constructor(deps: ServiceAddressesDeps) {
    this.#deps = deps;
    const { db, range } = deps;
    db.exec(
      "CREATE TABLE IF NOT EXISTS service_addresses (name TEXT PRIMARY KEY, address TEXT NOT NULL, used_ms INTEGER NOT NULL) STRICT",
    );
    // in another range than before, all get new ones
    db.prepare("DELETE FROM service_addresses WHERE address NOT LIKE ? || '.%'").run(range);
    for (const row of db.prepare("SELECT name, address, used_ms FROM service_addresses").all()) {
      const address = String(row["address"]);
      this.#byName.set(String(row["name"]), { address, usedMs: Number(row["used_ms"]) });
      this.#taken.add(address);
    }
  }

  /** The address of a name, durable when it returns; `undefined`: there is none to give, all of them are in use. */
  of(scoped: ScopedName): string | undefined {
    const name = writeName(scoped);
    const nowMs = this.#deps.trustedMs();
    const known = this.#byName.get(name);
    if (known !== undefined) {
      if (nowMs - known.usedMs >= NOTE_EVERY_MS) this.#keep(name, { ...known, usedMs: nowMs });
      return known.address;
    }
    if (this.#byName.size >= MAX_ADDRESSES && !this.#recycle()) return undefined;
    const address = pickAddress(name, this.#deps.range, this.#taken);
    this.#keep(name, { address, usedMs: nowMs });
    return address;
  }

  #keep(name: string, { address, usedMs }: Row): void {
    const insert = "INSERT OR REPLACE INTO service_addresses (name, address, used_ms) VALUES (?, ?, ?)";
    this.#deps.db.prepare(insert).run(name, address, usedMs);
    this.#byName.set(name, { address, usedMs });
    this.#taken.add(address);
  }

  /** `false`: all are in use. */
  #recycle(): boolean {
    const { db, isInUse } = this.#deps;
    const idle = [...this.#byName].filter(([, { address }]) => !isInUse(address));
    const [oldest] = idle.toSorted(([, a], [, b]) => a.usedMs - b.usedMs);
    if (oldest === undefined) return false;
    const [name, { address }] = oldest;
    db.prepare("DELETE FROM service_addresses WHERE name = ?").run(name);
    this.#byName.delete(name);
    this.#taken.delete(address);
    return true;
  }
}

/** The address that the name's hash says, or the next free one. Far fewer are taken than there are. */
export function pickAddress(name: string, range: string, taken: ReadonlySet<string>): string {
  const start = Number.parseInt(hash("sha256", name, "hex").slice(0, 8), 16) % SPAN;
  for (let step = 0; ; step++) {
    const at = FIRST + ((start + step) % SPAN);
    const address = `${range}.${at >> 8}.${at & 255}`;
    if (!taken.has(address)) return address;
  }
}
