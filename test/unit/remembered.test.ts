import assert from "node:assert/strict";
import { SILENT_LOG } from "#core";
import { DocumentStore, encodeToken, keyHash, openStateDatabase } from "#identity";
import { Settings } from "../../src/daemon/data-directory.ts";
import { rememberedToken } from "../../src/daemon/remembered.ts";
import { NOW_MS, TestFleet } from "../support/fleet.ts";

describe("the token that a node was given", () => {
  const fleet = new TestFleet();
  const token = {
    fleet: fleet.id,
    owners: [keyHash(fleet.owners[0].publicKey)],
    rendezvous: ["/ip4/192.0.2.1/tcp/4001"],
    minCharter: 1,
    minRevocation: 0,
    expiresMs: NOW_MS + 1_000,
  };

  function given(store: DocumentStore, nowMs: number): Parameters<typeof rememberedToken>[0] {
    const settings = new Settings(openStateDatabase(":memory:"));
    settings.set("token", encodeToken(token));
    return { settings, store, trustedMs: () => nowMs };
  }

  it("tells a member where its fleet is also when it has expired", () => {
    const late = given(fleet.seededStore(), token.expiresMs + 1);
    assert.deepEqual(rememberedToken(late)?.rendezvous, token.rendezvous);
  });

  it("lets nobody in once it has expired", () => {
    const stranger = (nowMs: number): Parameters<typeof rememberedToken>[0] =>
      given(new DocumentStore(openStateDatabase(":memory:"), SILENT_LOG, nowMs), nowMs);
    assert.equal(rememberedToken(stranger(NOW_MS))?.fleet, fleet.id);
    assert.throws(() => rememberedToken(stranger(token.expiresMs)), { code: "identity.token-expired" });
  });
});
