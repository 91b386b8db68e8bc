import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { VirtualClock } from "#core";
import { EventLog } from "#policy";
import { OtherFleets } from "../../src/daemon/other-fleets.ts";
import { PeerEvents } from "../../src/daemon/peer-events.ts";

describe("other fleets on the network", () => {
  it("are on record once each, with their last address, and a bounded number of them", () => {
    const clock = new VirtualClock();
    const log = new EventLog(new DatabaseSync(":memory:"), () => clock.wallMs());
    const recorded: string[] = [];
    log.onEvent(({ type, subject }) => recorded.push(`${type} ${subject}`));
    const fleets = new OtherFleets(new PeerEvents(log, clock));
    for (let i = 0; i < 40; i++) fleets.saw({ tag: `fleet-${i % 20}`, address: `/ip4/192.0.2.${i}/tcp/1/tls` });
    assert.equal(fleets.all.length, 16);
    assert.equal(fleets.all[0]?.address, "/ip4/192.0.2.20/tcp/1/tls");
    assert.deepEqual(
      recorded,
      Array.from({ length: 16 }, (_, i) => `node.other-fleet fleet-${i}`),
    );
  });
});
