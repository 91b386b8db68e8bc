import assert from "node:assert/strict";
import { VirtualClock } from "#core";
import { openStateDatabase } from "#identity";
import { EventLog } from "#policy";
import { PeerEvents } from "../../src/daemon/peer-events.ts";

const ENTRY = { type: "identity.refused", subject: "Batch", outcome: "refused", message: "forged" } as const;

describe("events that peers cause", () => {
  let clock: VirtualClock;
  let log: EventLog;
  let peers: PeerEvents;

  beforeEach(() => {
    clock = new VirtualClock(0);
    log = new EventLog(openStateDatabase(":memory:"), () => clock.wallMs());
    peers = new PeerEvents(log, clock);
  });

  /** How many of 1,000 attempts were recorded. */
  const flood = (member: string | undefined): number =>
    Array.from({ length: 1_000 }, () => peers.record(member, ENTRY)).filter(Boolean).length;

  it("lets one member say only so much, and others still be heard", () => {
    const first = flood("a");
    assert.ok(first > 0 && first < 100, String(first));
    assert.equal(log.list().length, first);
    assert.equal(peers.record("b", ENTRY), true);
    assert.equal(peers.record(undefined, ENTRY), true);
  });

  it("counts all strangers as one, however many ids they make", () => {
    assert.ok(flood(undefined) < 1_000);
    assert.equal(peers.record(undefined, { ...ENTRY, subject: "another id" }), false);
  });

  it("hears a member again after a while", async () => {
    flood("a");
    assert.equal(peers.record("a", ENTRY), false);
    await clock.advanceMs(60_000);
    assert.equal(peers.record("a", ENTRY), true);
  });
});
