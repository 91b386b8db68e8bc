import assert from "node:assert/strict";
import { DocumentStore } from "../../src/identity/document-store.ts";
import { Membership } from "../../src/identity/membership.ts";
import { keyHash, nodeIdOf } from "../../src/identity/node-id.ts";
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
});
