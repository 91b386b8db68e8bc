import { Ed25519Key, SILENT_LOG } from "#core";
import { DocumentStore } from "../../src/identity/document-store.ts";
import { bodyDigest, type Draft, draftPayload, signPayload } from "../../src/identity/document.ts";
import type { Kind, Spec } from "../../src/identity/kinds.ts";
import { nodeIdOf } from "../../src/identity/node-id.ts";
import { openStateDatabase } from "../../src/identity/state-database.ts";

export const NOW_MS = Date.parse("2026-11-21T12:00:00.000Z");

/** A key that is the same in every run. */
export function testKey(seed: number): Ed25519Key {
  return new Ed25519Key(new Uint8Array(32).fill(seed));
}

export const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

/** A fleet with three owners of whom two must sign, one operator per role, and one registrar. */
export class TestFleet {
  readonly owners = [testKey(1), testKey(2), testKey(3)] as const;
  readonly admission = testKey(10);
  readonly publisher = testKey(11);
  readonly security = testKey(12);
  readonly registrar = testKey(20);
  readonly charter: Uint8Array;
  readonly id: string;

  constructor() {
    const payload = draftPayload({
      kind: "Charter",
      name: "plant",
      fleet: "",
      version: 1,
      nowMs: NOW_MS,
      spec: {
        owners: this.owners.map((key, i) => ({ name: `owner-${i}`, publicKey: base64(key.publicKey) })),
        threshold: 2,
        rules: {},
        join: { evidence: ["claim", "approve", "batch", "pass"] },
        rendezvous: ["/ip4/127.0.0.1/tcp/4001/tls"],
        memberHours: 24,
      },
    });
    this.id = bodyDigest(payload);
    this.charter = signPayload("Charter", payload, this.owners[0], this.owners[1]);
  }

  payload<K extends Kind>(kind: K, name: string, spec: Spec<K>, change: Partial<Draft<K>> = {}): Uint8Array {
    return draftPayload({ kind, name, fleet: this.id, version: 1, nowMs: NOW_MS, spec, ...change });
  }

  sign<K extends Kind>(
    kind: K,
    name: string,
    spec: Spec<K>,
    keys: readonly Ed25519Key[],
    change: Partial<Draft<K>> = {},
  ): Uint8Array {
    return signPayload(kind, this.payload(kind, name, spec, change), ...keys);
  }

  registrarSpec(key: Ed25519Key = this.registrar): Spec<"Registrar"> {
    return {
      node: nodeIdOf(key.publicKey),
      publicKey: base64(key.publicKey),
      site: "berlin",
      sealingKey: base64(new Uint8Array(32).fill(9)),
      maxMembers: 1_000,
    };
  }

  /** Operators and the registrar, signed by two owners each. */
  foundation(): Uint8Array[] {
    const two = [this.owners[0], this.owners[1]];
    const operator = (name: string, key: Ed25519Key, roles: Spec<"Operator">["roles"]): Uint8Array =>
      this.sign("Operator", name, { publicKey: base64(key.publicKey), roles, tenant: "*" }, two);
    return [
      operator("ada", this.admission, ["admission"]),
      operator("pim", this.publisher, ["publisher"]),
      operator("sec", this.security, ["security"]),
      this.sign("Registrar", "gate", this.registrarSpec(), two),
    ];
  }

  /** A store that follows this fleet; `path` for one on disk. */
  store(path = ":memory:", nowMs = NOW_MS): DocumentStore {
    const store = new DocumentStore(openStateDatabase(path), SILENT_LOG, nowMs);
    store.pinFleet(this.id);
    return store;
  }

  /** A store that has the charter and the foundation. */
  seededStore(path?: string): DocumentStore {
    const store = this.store(path);
    for (const bytes of [this.charter, ...this.foundation()]) store.submit(bytes, NOW_MS);
    return store;
  }
}

/** The spec of a small artifact. */
export const ARTIFACT_SPEC: Spec<"Artifact"> = {
  mediaType: "application/octet-stream",
  sizeBytes: 3,
  files: 1,
  directory: false,
  root: "ab".repeat(32),
  chunkBytes: 262_144,
  content: {},
};
