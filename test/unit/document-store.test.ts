import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { decodeEnvelope, type Ed25519Key, encodeEnvelope, SILENT_LOG } from "#core";
import { signPayload } from "../../src/identity/document.ts";
import { DocumentStore } from "../../src/identity/document-store.ts";
import type { Kind, Spec } from "../../src/identity/kinds.ts";
import { keyHash, nodeIdOf, publicKeyOf, shortId } from "../../src/identity/node-id.ts";
import { openStateDatabase } from "../../src/identity/state-database.ts";
import { ARTIFACT_SPEC, base64, NOW_MS, TestFleet, testKey } from "../support/fleet.ts";

const DAY_MS = 86_400_000;
const fleet = new TestFleet();

function refusal(bytes: Uint8Array, store = fleet.seededStore(), nowMs = NOW_MS): string {
  const verdict = store.submit(bytes, nowMs);
  return verdict.outcome === "refused" ? verdict.code : verdict.outcome;
}

function memberSpec(device: Ed25519Key, registrar: Ed25519Key): Spec<"Member"> {
  return {
    node: nodeIdOf(device.publicKey),
    publicKey: base64(device.publicKey),
    site: "berlin",
    roles: [],
    sealingKey: base64(new Uint8Array(32).fill(5)),
    generation: 1,
    registrar: keyHash(registrar.publicKey),
    evidence: "claim",
  };
}

describe("node id", () => {
  it("is the libp2p peer id and holds the key", () => {
    const { publicKey } = testKey(7);
    assert.match(nodeIdOf(publicKey), /^12D3Koo/u);
    assert.deepEqual(new Uint8Array(publicKeyOf(nodeIdOf(publicKey))), new Uint8Array(publicKey));
    assert.match(shortId(publicKey), /^n-[a-z2-7]{10}$/u);
  });

  it("refuses what is not an Ed25519 node id", () => {
    for (const text of [
      "",
      "12D3Koo",
      "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
      nodeIdOf(new Uint8Array(32)),
    ]) {
      assert.throws(() => publicKeyOf(text), { code: "identity.node-id" });
    }
  });
});

describe("document store", () => {
  it("takes charter 1 only when it hashes to the fleet id, signed by its own threshold", () => {
    const other = new TestFleet();
    const store = fleet.store();
    const envelope = decodeEnvelope(fleet.charter, 1e6);
    assert.equal(refusal(signPayload("Charter", envelope.payload, testKey(99)), store), "identity.unknown-signer");
    assert.equal(refusal(signPayload("Charter", envelope.payload, fleet.owners[0]), store), "pending");
    assert.equal(store.submit(fleet.charter, NOW_MS).outcome, "accepted");
    assert.equal(store.submit(other.charter, NOW_MS).outcome, "known"); // the same keys make the same fleet
  });

  it("accepts a document of the right signer, once", () => {
    const store = fleet.seededStore();
    const bytes = fleet.sign("Artifact", "model:v1", ARTIFACT_SPEC, [fleet.publisher]);
    assert.equal(store.submit(bytes, NOW_MS).outcome, "accepted");
    assert.equal(store.submit(bytes, NOW_MS).outcome, "known");
    assert.equal(store.get("Artifact", "model:v1")?.body.version, 1);
  });

  const hostile: [string, string, () => Uint8Array][] = [
    [
      "forged by an unknown key",
      "identity.unknown-signer",
      () => fleet.sign("Artifact", "x", ARTIFACT_SPEC, [testKey(66)]),
    ],
    [
      "signed by a key that may not",
      "identity.not-authorised",
      () => fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.admission]),
    ],
    [
      "signed by a registrar instead of a publisher",
      "identity.not-authorised",
      () => fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.registrar]),
    ],
    [
      "of another fleet",
      "identity.wrong-fleet",
      () => fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher], { fleet: "ab".repeat(32) }),
    ],
    [
      "expired",
      "identity.expired",
      () =>
        fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher], {
          nowMs: NOW_MS - 2 * DAY_MS,
          expiresMs: NOW_MS - DAY_MS,
        }),
    ],
    [
      "from the future",
      "identity.not-yet-valid",
      () => fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher], { nowMs: NOW_MS + DAY_MS }),
    ],
    [
      "fast-forwarded",
      "identity.fast-forwarded",
      () => fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher], { version: 2_000_000 }),
    ],
    [
      "a registrar admitting itself",
      "identity.not-authorised",
      () => fleet.sign("Member", "gate", memberSpec(fleet.registrar, fleet.registrar), [fleet.registrar]),
    ],
  ];
  for (const [what, code, make] of hostile) {
    it(`refuses a document ${what}`, () => assert.equal(refusal(make()), code));
  }

  it("refuses a body that was changed under its signature", () => {
    const envelope = decodeEnvelope(fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher]), 1e6);
    const payload = Buffer.from(Buffer.from(envelope.payload).toString().replace('"sizeBytes":3', '"sizeBytes":4'));
    assert.equal(refusal(encodeEnvelope({ ...envelope, payload })), "identity.unknown-signer");
  });

  it("refuses a body of one kind under the type of another", () => {
    const payload = fleet.payload("Artifact", "x", ARTIFACT_SPEC);
    assert.equal(refusal(signPayload("Placement", payload, fleet.publisher)), "identity.document");
  });

  it("refuses a key that stands twice in a body", () => {
    const text = Buffer.from(fleet.payload("Artifact", "x", ARTIFACT_SPEC)).toString();
    const payload = Buffer.from(text.replace('"version":1', '"version":1,"version":2'));
    assert.equal(refusal(signPayload("Artifact", payload, fleet.publisher)), "core.json");
  });

  it("refuses fields it does not know, and sizes over the limit", () => {
    const text = Buffer.from(fleet.payload("Artifact", "x", ARTIFACT_SPEC)).toString();
    const payload = Buffer.from(text.replace('"version":1', '"version":1,"also":1'));
    assert.equal(refusal(signPayload("Artifact", payload, fleet.publisher)), "identity.document");
    const large = Buffer.from(text.replace('"content":{}', `"content":{"a":"${"x".repeat(70_000)}"}`));
    assert.equal(refusal(signPayload("Artifact", large, fleet.publisher)), "identity.document");
  });

  it("refuses a rollback and an equivocation, and a higher version heals", () => {
    const store = fleet.seededStore();
    const at = (version: number, sizeBytes: number): Uint8Array =>
      fleet.sign("Artifact", "x", { ...ARTIFACT_SPEC, sizeBytes }, [fleet.publisher], { version });
    assert.equal(refusal(at(2, 1), store), "accepted");
    assert.equal(refusal(at(1, 1), store), "identity.rolled-back");
    assert.equal(refusal(at(2, 9), store), "identity.equivocation");
    assert.equal(refusal(at(3, 9), store), "accepted");
  });

  it("confines an operator to its tenant", () => {
    const store = fleet.seededStore();
    const key = testKey(40);
    const spec: Spec<"Operator"> = { publicKey: base64(key.publicKey), roles: ["publisher"], tenant: "acme" };
    store.submit(fleet.sign("Operator", "acme-pub", spec, [fleet.owners[0], fleet.owners[2]]), NOW_MS);
    assert.equal(refusal(fleet.sign("Artifact", "x", ARTIFACT_SPEC, [key], { tenant: "acme" }), store), "accepted");
    assert.equal(refusal(fleet.sign("Artifact", "x", ARTIFACT_SPEC, [key]), store), "identity.not-authorised");
  });

  it("keeps a half-signed document pending, says who is missing, and completes it", () => {
    const store = fleet.seededStore();
    const spec: Spec<"Operator"> = { publicKey: base64(testKey(41).publicKey), roles: ["network"], tenant: "*" };
    const payload = fleet.payload("Operator", "net", spec);
    store.addDraft("Operator", payload);
    const [waiting] = store.pending();
    assert.equal(waiting?.missing.count, 2);
    assert.deepEqual(
      waiting?.missing.candidates.map(({ name }) => name),
      ["owner-0", "owner-1", "owner-2"],
    );
    assert.equal(store.submit(signPayload("Operator", payload, fleet.owners[2]), NOW_MS).outcome, "pending");
    assert.deepEqual(
      store.pending()[0]?.missing.have.map(({ name }) => name),
      ["owner-2"],
    );
    assert.equal(store.submit(signPayload("Operator", payload, fleet.owners[2]), NOW_MS).outcome, "pending"); // the same key twice is one
    assert.equal(store.submit(signPayload("Operator", payload, fleet.owners[0]), NOW_MS).outcome, "accepted");
    assert.equal(store.pending().length, 0);
    assert.equal(store.get("Operator", "net")?.signers.length, 2);
  });

  it("follows a charter to new owners only with a threshold of old and of new", () => {
    const store = fleet.seededStore();
    const fresh = [testKey(51), testKey(52), testKey(53)] as const;
    const spec = { ...(store.charter?.body.spec as Spec<"Charter">), threshold: 2 };
    spec.owners = fresh.map((key, i) => ({ name: `new-${i}`, publicKey: base64(key.publicKey) }));
    const next = (keys: Ed25519Key[]): Uint8Array => fleet.sign("Charter", "plant", spec, keys, { version: 2 });
    assert.equal(refusal(next([...fresh]), store), "identity.unknown-signer");
    assert.equal(refusal(next([fleet.owners[0], ...fresh]), store), "pending");
    assert.equal(refusal(next([fleet.owners[0], fleet.owners[1]])), "pending");
    assert.equal(refusal(next([fleet.owners[0], fleet.owners[1], ...fresh]), store), "accepted");
    assert.equal(store.charterChain().length, 2);
  });

  it("takes out of force what a removed operator signed, and what a tombstone names", () => {
    const store = fleet.seededStore();
    store.submit(fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher]), NOW_MS);
    const gone = (kind: "Artifact" | "Operator", name: string, keys: Ed25519Key[]): Uint8Array =>
      fleet.sign("Tombstone", `${kind.toLowerCase()}.${name}`, { target: { kind, name }, version: 1 }, keys);
    assert.equal(refusal(gone("Operator", "pim", [fleet.publisher]), store), "identity.not-authorised");
    assert.equal(refusal(gone("Operator", "pim", [fleet.owners[0], fleet.owners[1]]), store), "accepted");
    assert.equal(store.get("Artifact", "x"), undefined);
    assert.equal(
      refusal(fleet.sign("Artifact", "y", ARTIFACT_SPEC, [fleet.publisher]), store),
      "identity.unknown-signer",
    );
    const again = fleet.seededStore();
    again.submit(fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher]), NOW_MS);
    assert.equal(refusal(gone("Artifact", "x", [fleet.publisher]), again), "accepted");
    assert.equal(refusal(fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher]), again), "identity.deleted");
    assert.equal(
      refusal(fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher], { version: 2 }), again),
      "accepted",
    );
  });

  it("lets a revocation only grow", () => {
    const store = fleet.seededStore();
    const node = nodeIdOf(testKey(70).publicKey);
    const revoke = (nodes: { node: string; generation: number }[], version: number): Uint8Array =>
      fleet.sign("Revocation", "fleet", { nodes, registrars: [] }, [fleet.security], { version });
    assert.equal(refusal(revoke([{ node, generation: 3 }], 1), store), "accepted");
    assert.equal(refusal(revoke([], 2), store), "identity.document");
    assert.equal(refusal(revoke([{ node, generation: 2 }], 2), store), "identity.document");
    assert.equal(refusal(revoke([{ node, generation: 4 }], 2), store), "accepted");
  });

  it("drops the members of a revoked registrar, but for those that are kept", () => {
    const store = fleet.seededStore();
    const [one, two] = [testKey(81), testKey(82)];
    const admit = (name: string, device: Ed25519Key): Uint8Array =>
      fleet.sign("Member", name, memberSpec(device, fleet.registrar), [fleet.registrar]);
    store.submit(admit("one", one), NOW_MS);
    store.submit(admit("two", two), NOW_MS);
    const keep = store.get("Member", "one")?.digest as string;
    const spec = { nodes: [], registrars: [{ key: keyHash(fleet.registrar.publicKey), keepMembers: [keep] }] };
    store.submit(fleet.sign("Revocation", "fleet", spec, [fleet.security]), NOW_MS);
    assert.deepEqual(
      store.list("Member").map((m) => m.body.metadata.name),
      ["one"],
    );
    assert.equal(refusal(admit("three", testKey(83)), store), "identity.not-authorised");
  });

  it("comes to the same set in any order, and its summary says so", () => {
    const documents = [
      ...fleet.foundation(),
      fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher]),
      fleet.sign("Artifact", "y", ARTIFACT_SPEC, [fleet.publisher]),
      fleet.sign("Tombstone", "artifact.y", { target: { kind: "Artifact", name: "y" }, version: 1 }, [fleet.publisher]),
    ];
    const forwards = fleet.store();
    for (const bytes of [fleet.charter, ...documents]) forwards.submit(bytes, NOW_MS);
    const backwards = fleet.store();
    backwards.submit(fleet.charter, NOW_MS);
    for (let round = 0; round < 3; round++) for (const bytes of documents.toReversed()) backwards.submit(bytes, NOW_MS);
    assert.deepEqual(forwards.digest(), backwards.digest());
    const differing = forwards
      .bucketDigests()
      .filter((d, i) => Buffer.compare(d, backwards.bucketDigests()[i] as Uint8Array));
    assert.equal(differing.length, 0);
  });

  it("has after a restart what it had before, with a clock that lost its battery", () => {
    const folder = mkdtempSync(join(tmpdir(), "portolan-store-"));
    try {
      const path = join(folder, "state.db");
      const before = fleet.seededStore(path);
      before.submit(fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher], { version: 5 }), NOW_MS);
      before.addDraft("Artifact", fleet.payload("Artifact", "z", ARTIFACT_SPEC));
      const after = fleet.store(path, 0);
      assert.deepEqual(after.digest(), before.digest());
      assert.equal(after.pending().length, 1);
      assert.equal(
        refusal(fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher], { version: 4 }), after),
        "identity.rolled-back",
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  const artifacts = (count: number): Uint8Array[] =>
    Array.from({ length: count }, (_, i) => fleet.sign("Artifact", `x${i}`, ARTIFACT_SPEC, [fleet.publisher]));

  it("keeps several in one write, in the order in which they depend on each other, and tells of each", () => {
    const db = openStateDatabase(":memory:");
    const store = new DocumentStore(db, SILENT_LOG, NOW_MS);
    store.pinFleet(fleet.id);
    let commits = 0;
    const exec = db.exec.bind(db);
    db.exec = (sql) => {
      if (sql === "COMMIT") commits += 1;
      exec(sql);
    };
    const told: string[] = [];
    store.onAccepted(({ id }) => told.push(id));
    const wrong = Buffer.from("wrong");
    const verdicts = store.submitAll([fleet.charter, ...fleet.foundation(), wrong, ...artifacts(3)], NOW_MS);
    const outcomes = new Set(verdicts.map(({ outcome }) => outcome));
    assert.deepEqual([commits, [...outcomes], told.length], [1, ["accepted", "refused"], verdicts.length - 1]);
    assert.deepEqual(told.slice(-3), ["Artifact/default/x0", "Artifact/default/x1", "Artifact/default/x2"]);
  });

  it("takes in nothing of several that the disk has no room for, and all of them when it has", () => {
    const db = openStateDatabase(":memory:");
    const store = new DocumentStore(db, SILENT_LOG, NOW_MS);
    store.pinFleet(fleet.id);
    store.submitAll([fleet.charter, ...fleet.foundation()], NOW_MS);
    const [before, revision] = [store.digest(), store.revision];
    const { page_count: pages } = db.prepare("PRAGMA page_count").get() as { page_count: number };
    db.exec(`PRAGMA max_page_count = ${pages + 2}`);
    let told = 0;
    store.onAccepted(() => (told += 1));
    assert.throws(() => store.submitAll(artifacts(40), NOW_MS), /full/u);
    assert.deepEqual([store.digest(), told], [before, 0]);
    assert.equal(store.hasSeen("Artifact/default/x0", 1), false);
    assert.equal(store.changesSince(revision), undefined, "who keeps something works it out anew");
    db.exec("PRAGMA max_page_count = 10000");
    assert.ok(store.submitAll(artifacts(40), NOW_MS).every(({ outcome }) => outcome === "accepted"));
    assert.equal(told, 40);
  });

  it("judges what it need not keep on a disk that cannot be written to", () => {
    const folder = mkdtempSync(join(tmpdir(), "portolan-store-"));
    try {
      const path = join(folder, "state.db");
      fleet.seededStore(path);
      const store = new DocumentStore(new DatabaseSync(path, { readOnly: true }), SILENT_LOG, NOW_MS);
      const verdicts = store.submitAll([fleet.charter, Buffer.from("wrong")], NOW_MS);
      assert.deepEqual(
        verdicts.map(({ outcome }) => outcome),
        ["known", "refused"],
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("tells everybody of a document, though one of them fails", () => {
    const store = fleet.seededStore();
    let told = 0;
    store.onAccepted(() => {
      throw new Error("the disk is full");
    });
    store.onAccepted(() => (told += 1));
    assert.throws(() => store.submitAll(artifacts(2), NOW_MS), /the disk is full/u);
    assert.deepEqual([told, store.hasSeen("Artifact/default/x1", 1)], [2, true]);
  });

  it("takes expired documents out of force but remembers their version", () => {
    const store = fleet.seededStore();
    const bytes = (version: number, hours: number): Uint8Array =>
      fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher], { version, expiresMs: NOW_MS + hours * 3_600_000 });
    store.submit(bytes(3, 1), NOW_MS);
    store.expire(NOW_MS + DAY_MS);
    assert.equal(store.get("Artifact", "x"), undefined);
    assert.equal(refusal(bytes(2, 96), store, NOW_MS + DAY_MS), "identity.rolled-back");
    assert.equal(refusal(bytes(4, 96), store, NOW_MS + DAY_MS), "accepted");
  });

  it("keeps a membership past its end, out of force, until it is renewed or taken back", () => {
    const store = fleet.seededStore();
    const device = testKey(81);
    const admit = (version: number, fromMs: number): Uint8Array =>
      fleet.sign("Member", "one", memberSpec(device, fleet.registrar), [fleet.registrar], {
        version,
        nowMs: fromMs,
        expiresMs: fromMs + DAY_MS,
      });
    const laterMs = NOW_MS + 30 * DAY_MS;
    store.submit(admit(1, NOW_MS), NOW_MS);
    store.expire(laterMs);
    assert.deepEqual([store.list("Member").length, store.lapsed("Member").length], [0, 1]);
    const late = fleet.seededStore();
    assert.equal(refusal(admit(1, NOW_MS), late, laterMs), "accepted", "a node that never saw it goes by it too");
    assert.deepEqual([late.list("Member").length, late.lapsed("Member").length], [0, 1]);
    assert.deepEqual(late.digest(), fleet.seededStore().digest(), "it is not replicated");
    store.submit(admit(2, laterMs), laterMs);
    assert.deepEqual([store.list("Member").length, store.lapsed("Member").length], [1, 0]);
    const spec = { nodes: [], registrars: [{ key: keyHash(fleet.registrar.publicKey), keepMembers: [] }] };
    late.submit(fleet.sign("Revocation", "fleet", spec, [fleet.security], { nowMs: laterMs }), laterMs);
    assert.equal(late.lapsed("Member").length, 0);
  });

  it("goes by a registrar whose document has ended only for what ended with it", () => {
    const store = fleet.store();
    const two = [fleet.owners[0], fleet.owners[1]];
    const short = fleet.sign("Registrar", "gate", fleet.registrarSpec(), two, { expiresMs: NOW_MS + DAY_MS });
    for (const bytes of [fleet.charter, short]) store.submit(bytes, NOW_MS);
    const admit = (seed: number, expiresMs: number): Uint8Array =>
      fleet.sign("Member", `m${seed}`, memberSpec(testKey(seed), fleet.registrar), [fleet.registrar], { expiresMs });
    const laterMs = NOW_MS + 2 * DAY_MS;
    store.expire(laterMs);
    assert.equal(store.list("Registrar").length, 0);
    assert.equal(refusal(admit(81, NOW_MS + DAY_MS), store, laterMs), "accepted");
    assert.equal(refusal(admit(82, NOW_MS + 9 * DAY_MS), store, laterMs), "identity.not-authorised");
  });

  it("lets the members of a removed registrar stay to their end where the owners say so", () => {
    const store = fleet.seededStore();
    const admit = (name: string, seed: number): Uint8Array =>
      fleet.sign("Member", name, memberSpec(testKey(seed), fleet.registrar), [fleet.registrar]);
    store.submit(admit("one", 81), NOW_MS);
    store.submit(admit("two", 82), NOW_MS);
    const keep = store.get("Member", "one")?.digest as string;
    const spec = { target: { kind: "Registrar" as const, name: "gate" }, version: 1, keepMembers: [keep] };
    store.submit(fleet.sign("Tombstone", "registrar.gate", spec, [fleet.owners[0], fleet.owners[1]]), NOW_MS);
    assert.deepEqual(
      store.list("Member").map(({ body }) => body.metadata.name),
      ["one"],
    );
    assert.equal(store.list("Registrar").length, 0);
    assert.equal(refusal(admit("three", 83), store), "identity.not-authorised");
    const again = fleet.sign("Registrar", "gate", fleet.registrarSpec(), [fleet.owners[0], fleet.owners[1]], {
      version: 2,
    });
    assert.equal(refusal(again, store), "accepted");
    assert.equal(refusal(admit("three", 83), store), "accepted", "made one again, it admits again");
  });

  it("counts what a new charter still needs of the old owners and of the new", () => {
    const store = fleet.seededStore();
    const spec = store.charter?.body.spec as Spec<"Charter">;
    const [dora, eve] = [testKey(51), testKey(52)];
    const owners = [dora, eve].map((key, i) => ({ name: `new-${i}`, publicKey: base64(key.publicKey) }));
    const next = { ...spec, owners: [...spec.owners.slice(0, 1), ...owners], threshold: 2 };
    const sign = (key: Ed25519Key): Uint8Array => fleet.sign("Charter", "plant", next, [key], { version: 2 });
    const needs = (key: Ed25519Key): [string, number?, string?] => {
      const verdict = store.submit(sign(key), NOW_MS);
      if (verdict.outcome !== "pending") return [verdict.outcome];
      return [verdict.outcome, verdict.missing.count, verdict.missing.candidates.map(({ name }) => name).join()];
    };
    assert.deepEqual(needs(fleet.owners[1]), ["pending", 3, "owner-0,new-0,new-1,owner-2"]);
    assert.deepEqual(needs(fleet.owners[0]), ["pending", 3, "new-0,new-1"]);
    const [pending] = store.pending();
    assert.deepEqual(
      pending?.missing.have.map(({ name }) => name),
      ["owner-1", "owner-0"],
    );
    const all = fleet.sign("Charter", "plant", next, [fleet.owners[0], dora], { version: 2 });
    assert.equal(refusal(all, store), "accepted");
  });

  it("refuses a charter after which the loss of a single key would be the end", () => {
    const store = fleet.seededStore();
    const spec = store.charter?.body.spec as Spec<"Charter">;
    const keys = [fleet.owners[0], fleet.owners[1]];
    const next = (change: Partial<Spec<"Charter">>): Uint8Array =>
      fleet.sign("Charter", "plant", { ...spec, ...change }, keys, { version: 2 });
    assert.equal(refusal(next({ threshold: 3 }), store), "identity.lock-out");
    assert.equal(refusal(next({ owners: spec.owners.slice(0, 2) }), store), "identity.lock-out");
    assert.equal(refusal(next({ owners: spec.owners.slice(0, 2), threshold: 1 }), store), "accepted");
  });

  it("allows versions by the fleet's age, so that nobody who was away is left behind", () => {
    const laterMs = NOW_MS + 3 * DAY_MS;
    const at = (version: number): Uint8Array =>
      fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher], { version, nowMs: laterMs });
    assert.equal(refusal(at(4_000_001), fleet.seededStore(), laterMs), "identity.fast-forwarded");
    assert.equal(refusal(at(4_000_000), fleet.seededStore(), laterMs), "accepted");
  });

  it("follows a chain of 300 charters, also after a restart", () => {
    const folder = mkdtempSync(join(tmpdir(), "portolan-store-"));
    try {
      const store = fleet.seededStore(join(folder, "state.db"));
      const spec = store.charter?.body.spec as Spec<"Charter">;
      for (let version = 2; version <= 300; version++) {
        const next = { ...spec, memberHours: version };
        store.submit(fleet.sign("Charter", "plant", next, [fleet.owners[0], fleet.owners[2]], { version }), NOW_MS);
      }
      assert.equal(store.charter?.body.version, 300);
      const again = fleet.store(join(folder, "state.db"));
      assert.deepEqual([again.charter?.body.version, again.list("Operator").length], [300, 3]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("never throws for hostile bytes", () => {
    const store = fleet.seededStore();
    const good = fleet.sign("Artifact", "x", ARTIFACT_SPEC, [fleet.publisher]);
    for (let cut = 0; cut < good.length; cut += 7) {
      assert.equal(store.submit(good.subarray(0, cut), NOW_MS).outcome, "refused");
      const flipped = Uint8Array.from(good);
      flipped[cut] = (flipped[cut] as number) ^ 0x10;
      assert.equal(store.submit(flipped, NOW_MS).outcome, "refused");
    }
    const kinds: Kind[] = ["Artifact", "Charter"];
    for (const kind of kinds)
      assert.equal(
        refusal(signPayload(kind, Buffer.from("{}"), fleet.publisher, fleet.owners[0]), store).startsWith("identity."),
        true,
      );
  });
});
