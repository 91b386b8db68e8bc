import assert from "node:assert/strict";
import { RateLimit, VirtualClock } from "#core";
import fc from "fast-check";

describe("rate limit", () => {
  it("gives the burst at once, then what time brings, and never more than the burst", async () => {
    const clock = new VirtualClock();
    const limit = new RateLimit(clock, 2, 3);
    assert.deepEqual([limit.take(), limit.take(), limit.take(), limit.take()], [true, true, true, false]);
    await clock.advanceMs(499);
    assert.equal(limit.take(), false);
    await clock.advanceMs(1);
    assert.deepEqual([limit.take(), limit.take()], [true, false]);
    await clock.advanceMs(3_600_000);
    assert.deepEqual([limit.take(3), limit.take()], [true, false]);
  });

  it("takes nothing when it cannot take all", () => {
    const limit = new RateLimit(new VirtualClock(), 1, 5);
    assert.equal(limit.take(6), false);
    assert.equal(limit.take(5), true);
  });

  it("is not opened for ever by an amount that is no number", () => {
    const limit = new RateLimit(new VirtualClock(), 1, 5);
    assert.equal(limit.take(Number.NaN), false);
    assert.equal(limit.take(6), false);
    assert.equal(limit.waitMs(6), Number.POSITIVE_INFINITY);
  });

  it("says how long to wait, so that a loop of waiting and taking ends on any clock", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3_000 }),
        fc.integer({ min: 1, max: 50 }),
        async (perSecond, burst) => {
          const clock = new VirtualClock();
          const limit = new RateLimit(clock, perSecond, burst);
          assert.equal(limit.take(burst), true);
          let waits = 0;
          for (let waitMs = limit.waitMs(burst); waitMs > 0; waitMs = limit.waitMs(burst)) {
            assert.ok(Number.isInteger(waitMs) && ++waits <= 2);
            await clock.advanceMs(waitMs);
          }
          assert.equal(limit.take(burst), true);
          assert.ok(clock.nowMs() <= (burst / perSecond) * 1_000 + 2);
        },
      ),
    );
  });

  it("lets through no more than burst and rate allow, whatever the pattern", async () => {
    const steps = fc.array(fc.record({ pauseMs: fc.nat(700), amount: fc.integer({ min: 1, max: 6 }) }), {
      maxLength: 40,
    });
    await fc.assert(
      fc.asyncProperty(steps, async (pattern) => {
        const clock = new VirtualClock();
        const limit = new RateLimit(clock, 4, 5);
        let taken = 0;
        for (const { pauseMs, amount } of pattern) {
          await clock.advanceMs(pauseMs);
          if (limit.take(amount)) taken += amount;
          assert.ok(taken <= 5 + (4 * clock.nowMs()) / 1_000 + 1e-6);
        }
      }),
    );
  });
});
