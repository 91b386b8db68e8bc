import assert from "node:assert/strict";
import fc from "fast-check";
import {
  GrowthBudget,
  INITIAL_WINDOW_BYTES,
  MAX_FLOW_WINDOW_BYTES,
  PEER_GROWTH_BYTES,
  ReceiveWindow,
  SendCredit,
} from "../../src/routing/tunnel/flow-window.ts";

/** Sends and takes as much as there is room for, so many times; returns the largest room that there was. */
function fill(window: ReceiveWindow, rounds: number, msPerRound: number): number {
  let [open, nowMs, most] = [INITIAL_WINDOW_BYTES, 0, INITIAL_WINDOW_BYTES];
  for (let round = 0; round < rounds; round++) {
    nowMs += msPerRound;
    window.arrived(open);
    open = window.taken(open, nowMs);
    most = Math.max(most, open);
  }
  return most;
}

describe("window of a flow", () => {
  it("doubles while half of it is used up within 500 ms, up to 4 MiB", () => {
    assert.equal(fill(new ReceiveWindow(new GrowthBudget(), 0), 1, 500), 2 * INITIAL_WINDOW_BYTES);
    assert.equal(fill(new ReceiveWindow(new GrowthBudget(), 0), 20, 100), MAX_FLOW_WINDOW_BYTES);
    assert.equal(fill(new ReceiveWindow(new GrowthBudget(), 0), 20, 501), INITIAL_WINDOW_BYTES);
  });

  it("is told of when half of it was taken, and at its largest 512 KiB at a time", () => {
    const window = new ReceiveWindow(new GrowthBudget(), 0);
    window.arrived(INITIAL_WINDOW_BYTES);
    assert.equal(window.taken(INITIAL_WINDOW_BYTES / 2 - 1, 1_000), 0);
    assert.equal(window.taken(1, 1_000), INITIAL_WINDOW_BYTES / 2);
    const largest = new ReceiveWindow(new GrowthBudget(), 0);
    fill(largest, 20, 10);
    largest.arrived(MAX_FLOW_WINDOW_BYTES);
    assert.equal(largest.taken(512 * 1024 - 1, 1_000), 0);
    assert.equal(largest.taken(1, 1_000), 512 * 1024);
  });

  it("grows with the others of its peer by no more than 32 MiB, and gives that back", () => {
    const budget = new GrowthBudget();
    const windows = Array.from({ length: 20 }, () => new ReceiveWindow(budget, 0));
    const grown = windows.map((window) => fill(window, 20, 10) - INITIAL_WINDOW_BYTES);
    assert.equal(
      grown.reduce((sum, bytes) => sum + bytes, 0),
      PEER_GROWTH_BYTES,
    );
    assert.equal(fill(new ReceiveWindow(budget, 0), 20, 10), INITIAL_WINDOW_BYTES);
    for (const window of windows) window.close();
    assert.equal(budget.take(Number.MAX_SAFE_INTEGER), PEER_GROWTH_BYTES);
  });

  it("agrees with the sender's count, whatever is sent and taken when", () => {
    const step = fc.record({ send: fc.nat(300_000), take: fc.nat(300_000), ms: fc.nat(400) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const [window, credit] = [new ReceiveWindow(new GrowthBudget(), 0), new SendCredit()];
        let [waiting, nowMs] = [0, 0];
        for (const { send, take, ms } of steps) {
          nowMs += ms;
          const sent = Math.min(send, credit.leftBytes);
          credit.spend(sent);
          window.arrived(sent);
          waiting += sent;
          const taken = Math.min(take, waiting);
          waiting -= taken;
          const told = window.taken(taken, nowMs);
          if (told > 0) credit.add(told);
          assert.ok(credit.leftBytes + waiting <= MAX_FLOW_WINDOW_BYTES);
          if (waiting === 0)
            assert.ok(credit.leftBytes >= INITIAL_WINDOW_BYTES / 2, "a flow that is read stands still");
        }
        assert.throws(() => window.arrived(credit.leftBytes + 1), { code: "routing.tunnel-frame" });
      }),
      { numRuns: 500 },
    );
  });
});
