import assert from "node:assert/strict";
import fc from "fast-check";
import { SILENT_LOG } from "#core";
import type { SignedDocument } from "../../src/identity/document.ts";
import { DocumentStore } from "../../src/identity/document-store.ts";
import type { Kind } from "../../src/identity/kinds.ts";
import { Membership } from "../../src/identity/membership.ts";
import { keyHash, nodeIdOf } from "../../src/identity/node-id.ts";
import { openStateDatabase } from "../../src/identity/state-database.ts";
import { base64, NOW_MS, TestFleet, testKey } from "../support/fleet.ts";

describe("membership", () => {
  const fleet = new TestFleet();
  const key = testKey(30);
  const node = nodeIdOf(key.publicKey);
  const owners = [fleet.owners[0], fleet.owners[1]];
  const member = fleet.sign(
    "Member",
    "cam",
    {
      node,
      publicKey: base64(key.publicKey),
      site: "berlin",
      roles: [],
      serial: "CAM-1",
      sealingKey: base64(new Uint8Array(32)),
      generation: 1,
      registrar: keyHash(fleet.registrar.publicKey),
      evidence: "claim",
    },
    [fleet.registrar],
  );
  const promoted = fleet.sign("Registrar", "cam", fleet.registrarSpec(key), owners, { labels: { rack: "r1" } });
  const revoked = (generation: number): Uint8Array =>
    fleet.sign("Revocation", "fleet", { nodes: [{ node, generation }], registrars: [] }, [fleet.security]);

  function of(...documents: Uint8Array[]): Membership {
    const store: DocumentStore = fleet.seededStore();
    for (const bytes of documents) assert.equal(store.submit(bytes, NOW_MS).outcome, "accepted");
    return new Membership(store);
  }

  for (const order of [
    [member, promoted],
    [promoted, member],
  ]) {
    it("makes a member that the owners promoted a registrar, whichever document came first", () => {
      const info = of(...order).of(node);
      assert.deepEqual(
        [info?.registrar, info?.generation, info?.serial, info?.labels],
        [true, 1, "CAM-1", { rack: "r1" }],
      );
    });
  }

  it("ends both with one revocation, of a member that became a registrar and of one that never was a member", () => {
    assert.equal(of(member, promoted, revoked(1)).of(node), undefined);
    assert.equal(of(promoted, revoked(0)).of(node), undefined);
  });

  it("keeps a member of a later generation than the revoked one", () => {
    assert.equal(of(member, revoked(0)).of(node)?.name, "cam");
  });

  describe("while nodes join, renew and move", () => {
    /** A store that counts how often all member documents are walked. */
    class CountedStore extends DocumentStore {
      walks = 0;
      override list<K extends Kind>(kind: K): SignedDocument<K>[] {
        if (kind === "Member") this.walks += 1;
        return super.list(kind);
      }
    }

    function watched(): { store: CountedStore; members: Membership } {
      const store = new CountedStore(openStateDatabase(":memory:"), SILENT_LOG, NOW_MS);
      store.pinFleet(fleet.id);
      for (const bytes of [fleet.charter, ...fleet.foundation()]) store.submit(bytes, NOW_MS);
      return { store, members: new Membership(store) };
    }

    type Change = { seed: number; name: string; tenant?: string; version?: number; lateMs?: number; hours?: number };
    function memberOf({ seed, name, tenant = "default", version = 1, lateMs = 0, hours = 24 }: Change): Uint8Array {
      const { publicKey } = testKey(seed);
      const spec = {
        node: nodeIdOf(publicKey),
        publicKey: base64(publicKey),
        site: "berlin",
        roles: [],
        sealingKey: base64(new Uint8Array(32)),
        generation: 1,
        registrar: keyHash(fleet.registrar.publicKey),
        evidence: "claim" as const,
      };
      const nowMs = NOW_MS + lateMs;
      const change = { tenant, version, nowMs, expiresMs: nowMs + hours * 3_600_000 };
      return fleet.sign("Member", name, spec, [fleet.registrar], change);
    }

    it("walks over all members once, not once for each that comes", () => {
      const { store, members } = watched();
      members.all();
      for (let seed = 40; seed < 140; seed++) {
        store.submit(memberOf({ seed, name: `cam-${seed}` }), NOW_MS);
        assert.equal(members.of(nodeIdOf(testKey(seed).publicKey))?.name, `cam-${seed}`);
      }
      store.submit(memberOf({ seed: 40, name: "cam-40", version: 2, lateMs: 1 }), NOW_MS);
      assert.equal(members.of(nodeIdOf(testKey(40).publicKey))?.document.body.version, 2);
      assert.equal(members.all().length, 101);
      assert.equal(store.walks, 1);
    });

    it("shows a node that moved to another tenant where it was admitted last, whichever document came first", () => {
      const [old, moved] = [
        memberOf({ seed: 40, name: "cam" }),
        memberOf({ seed: 40, name: "cam", tenant: "b", lateMs: 5 }),
      ];
      for (const order of [
        [old, moved],
        [moved, old],
      ]) {
        const { store, members } = watched();
        for (const bytes of order) {
          store.submit(bytes, NOW_MS);
          members.all();
        }
        assert.equal(members.of(nodeIdOf(testKey(40).publicKey))?.tenant, "b");
      }
    });

    it("says at each moment what it would say if it had looked only then", () => {
      const change = fc.record({
        seed: fc.integer({ min: 40, max: 43 }),
        name: fc.constantFrom("a", "b", "c"),
        tenant: fc.constantFrom("default", "other"),
        version: fc.integer({ min: 1, max: 4 }),
        lateMs: fc.integer({ min: 0, max: 10_000 }),
        hours: fc.constantFrom(0.001, 24),
      });
      const revoke = fc.record({ revoke: fc.integer({ min: 40, max: 43 }), version: fc.integer({ min: 1, max: 4 }) });
      fc.assert(
        fc.property(fc.array(fc.oneof({ weight: 5, arbitrary: change }, revoke), { maxLength: 12 }), (changes) => {
          const { store, members } = watched();
          for (const next of changes) {
            const bytes =
              "revoke" in next
                ? fleet.sign(
                    "Revocation",
                    "fleet",
                    { nodes: [{ node: nodeIdOf(testKey(next.revoke).publicKey), generation: 1 }], registrars: [] },
                    [fleet.security],
                    { version: next.version },
                  )
                : memberOf(next);
            store.submit(bytes, NOW_MS + 5_000);
            const [now, anew] = [members, new Membership(store)].map((view) =>
              view.all().map(({ document: _document, ...info }) => info),
            );
            assert.deepEqual(now, anew);
            const groups = { tenants: new Set(now?.map((m) => m.tenant)), sites: new Set(now?.map((m) => m.site)) };
            assert.deepEqual(members.groups(), groups);
          }
        }),
        { numRuns: 60 },
      );
    });
  });
});
