import assert from "node:assert/strict";
import { SILENT_LOG } from "#core";
import { Membership, nodeIdOf, openStateDatabase } from "#identity";
import { Settings } from "../../src/daemon/data-directory.ts";
import { Provisional } from "../../src/daemon/provisional.ts";
import { NOW_MS, TestFleet, testKey } from "../support/fleet.ts";

const SELF = nodeIdOf(testKey(40).publicKey);
const PEER = nodeIdOf(testKey(41).publicKey);

describe("a provisional newcomer", () => {
  const fleet = new TestFleet();
  const gate = nodeIdOf(fleet.registrar.publicKey);
  const revocation = (version: number): Uint8Array =>
    fleet.sign("Revocation", "fleet", { nodes: [], registrars: [] }, [fleet.security], { version });

  function newcomer(settings = new Settings(openStateDatabase(":memory:"))) {
    const store = fleet.seededStore();
    store.submit(revocation(1), NOW_MS);
    const members = new Membership(store);
    const provisional = new Provisional({ settings, store, members, self: SELF, log: SILENT_LOG });
    return { settings, store, provisional };
  }

  it("is in doubt from its admission on, also after a restart, until a second member knows nothing newer", () => {
    const { settings, provisional } = newcomer();
    assert.equal(provisional.is(SELF), false, "before it joined");
    provisional.begin(gate);
    provisional.heard(gate, 1);
    assert.equal(newcomer(settings).provisional.since, gate, "the word of its registrar is the one it has");
    provisional.heard(PEER, 1);
    assert.equal(provisional.since, undefined);
    assert.equal(newcomer(settings).provisional.since, undefined, "durably");
  });

  it("waits for the list that a second member has and it has not", () => {
    const { store, provisional } = newcomer();
    provisional.begin(gate);
    provisional.heard(PEER, 3);
    store.submit(revocation(2), NOW_MS);
    assert.equal(provisional.since, gate, "still behind");
    store.submit(revocation(3), NOW_MS);
    assert.equal(provisional.since, undefined);
  });

  it("tells nobody but its registrar whom the fleet trusts, and everybody the rest", () => {
    const { provisional } = newcomer();
    const trust = ["Charter", "Operator", "Registrar", "Member", "Revocation", "Tombstone"].map(
      (kind) => `${kind}/default/x`,
    );
    assert.ok(
      trust.every((id) => provisional.mayTell(id, PEER)),
      "before it joined",
    );
    provisional.begin(gate);
    assert.ok(trust.every((id) => !provisional.mayTell(id, PEER)));
    assert.ok(trust.every((id) => provisional.mayTell(id, gate)));
    assert.ok(provisional.mayTell("Artifact/default/model:v1", PEER));
    provisional.heard(PEER, 0);
    assert.ok(trust.every((id) => provisional.mayTell(id, PEER)));
  });
});
