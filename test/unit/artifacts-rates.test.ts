import assert from "node:assert/strict";
import fc from "fast-check";
import { VirtualClock } from "#core";
import { LinkShare } from "../../src/artifacts/link-share.ts";
import { inTurn } from "../../src/artifacts/precedence.ts";
import { RateBudget } from "../../src/artifacts/rate-budget.ts";

const MIB = 1024 * 1024;
const STEP_MS = 10;
/** A decision is about a frame at most. */
const FRAME = 64 * 1024;

/** A link's two users. What `wants` says is asked for in each step, bytes; the foreground asks first. */
type Demand = { foreground: (atMs: number) => number; background: (atMs: number) => number };

/** Lets both take what they are given for a while; returns what each got. */
async function share(
  clock: VirtualClock,
  budget: RateBudget | LinkShare,
  demand: Demand,
  ms: number,
): Promise<{ foreground: number; background: number }> {
  const got = { foreground: 0, background: 0 };
  for (let atMs = 0; atMs < ms; atMs += STEP_MS) {
    for (const who of ["foreground", "background"] as const) {
      const foreground = who === "foreground";
      for (let wanted = demand[who](atMs); wanted > 0 && budget.available(foreground) > 0; wanted -= FRAME) {
        const bytes = Math.min(wanted, FRAME);
        budget.spend(bytes, foreground);
        got[who] += bytes;
      }
    }
    await clock.advanceMs(STEP_MS);
  }
  return got;
}

const always = (): number => Number.MAX_SAFE_INTEGER;
const never = (): number => 0;

describe("artifacts: a limit shared by what somebody waits for and what nobody does", () => {
  let clock: VirtualClock;
  beforeEach(() => {
    clock = new VirtualClock();
  });

  it("gives the background everything while there is no foreground", async () => {
    const { background } = await share(
      clock,
      new RateBudget(clock, MIB),
      { foreground: never, background: always },
      10_000,
    );
    assert.ok(Math.abs(background - 10 * MIB) < MIB / 2, `${background}`);
  });

  it("gives the foreground all but a twentieth, whenever it comes", async () => {
    const budget = new RateBudget(clock, MIB);
    await share(clock, budget, { foreground: never, background: always }, 5_000);
    const { foreground, background } = await share(clock, budget, { foreground: always, background: always }, 20_000);
    assert.ok(foreground > 0.93 * 20 * MIB, `${foreground / MIB} MiB of 20`);
    assert.ok(background > 0.04 * 20 * MIB && background < 0.07 * 20 * MIB, `${background / MIB} MiB of 20`);
    await clock.advanceMs(2_000);
    const alone = await share(clock, budget, { foreground: never, background: always }, 5_000);
    assert.ok(alone.background > 0.95 * 5 * MIB, "it has the link again afterwards");
  });

  it("gives the background what a slow foreground leaves", async () => {
    const slow = (): number => (MIB / 4) * (STEP_MS / 1_000);
    const got = await share(clock, new RateBudget(clock, MIB), { foreground: slow, background: always }, 20_000);
    assert.ok(got.foreground > 0.95 * 5 * MIB, "the foreground gets what it asks for");
    assert.ok(got.background > 0.9 * 15 * MIB, `${got.background / MIB} MiB of the 15 that were left`);
  });

  it("holds the background back between two chunks of a foreground on a thin link", async () => {
    const budget = new RateBudget(clock, 50_000);
    const chunks = (): number => (budget.available(true) > 0 ? 4 * FRAME : 0);
    const { foreground, background } = await share(clock, budget, { foreground: chunks, background: always }, 120_000);
    assert.ok(background < 0.45 * foreground, `${background} beside ${foreground}`);
  });

  it("never lets both together have more than the limit, nor the background less than its part", () => {
    const rate = fc.integer({ min: 100_000, max: 50_000_000 });
    const part = fc.double({ min: 0, max: 1.5, noNaN: true });
    return fc.assert(
      fc.asyncProperty(rate, part, fc.integer({ min: 0, max: 2_000 }), async (perSecond, asked, pauseMs) => {
        const time = new VirtualClock();
        const wanted = (atMs: number): number => (atMs % 4_000 < pauseMs ? 0 : perSecond * asked * (STEP_MS / 1_000));
        const got = await share(
          time,
          new RateBudget(time, perSecond),
          { foreground: wanted, background: always },
          20_000,
        );
        const limit = perSecond * 20 + Math.max(256 * 1024, perSecond / 4) + 2 * FRAME;
        assert.ok(got.foreground + got.background <= limit, `${got.foreground} + ${got.background} of ${limit}`);
        assert.ok(got.background >= perSecond * 20 * 0.05 - FRAME, `background ${got.background} of ${perSecond * 20}`);
      }),
      { numRuns: 30 },
    );
  });

  it("goes by another limit at once, and keeps what is owed", async () => {
    const budget = new RateBudget(clock, 10 * MIB);
    await share(clock, budget, { foreground: always, background: never }, 1_000);
    budget.limit(MIB);
    const slow = await share(clock, budget, { foreground: always, background: never }, 5_000);
    assert.ok(slow.foreground < 5.5 * MIB, `${slow.foreground / MIB} MiB`);
    budget.limit();
    assert.equal(budget.available(false), Number.POSITIVE_INFINITY);
    budget.limit(2 * MIB);
    const faster = await share(clock, budget, { foreground: always, background: never }, 5_000);
    assert.ok(faster.foreground > 9.5 * MIB && faster.foreground < 11 * MIB, `${faster.foreground / MIB} MiB`);
  });
});

describe("artifacts: a link without a limit", () => {
  it("is not held back by anybody but a foreground that moves", async () => {
    const clock = new VirtualClock();
    const link = new LinkShare(clock);
    assert.equal(link.available(false), Number.POSITIVE_INFINITY);
    link.spend(MIB, false);
    assert.equal(link.available(false), Number.POSITIVE_INFINITY);
    link.spend(MIB, true);
    assert.equal(link.available(true), Number.POSITIVE_INFINITY);
    assert.ok(link.available(false) <= FRAME);
    await clock.advanceMs(60_000);
    assert.equal(link.available(false), Number.POSITIVE_INFINITY, "it stood still for long");
  });

  /** Both use a link of 5 MiB/s, on which TCP gives the background what it asks for first; returns their parts of it. */
  async function use(link: LinkShare, clock: VirtualClock, foregroundPart: number, ms: number) {
    const got = { foreground: 0, background: 0 };
    const room = 5 * MIB * (STEP_MS / 1_000);
    for (let atMs = 0; atMs < ms; atMs += STEP_MS) {
      const background = Math.min(link.available(false), room * (1 - foregroundPart / 10));
      link.spend(background, false);
      const foreground = Math.min(room * foregroundPart, room - background);
      link.spend(foreground, true);
      got.foreground += foreground;
      got.background += background;
      await clock.advanceMs(STEP_MS);
    }
    const all = (5 * MIB * ms) / 1_000;
    return { foreground: got.foreground / all, background: got.background / all };
  }

  it("is the foreground's but for about a twentieth where it is what holds the foreground up", async () => {
    const clock = new VirtualClock();
    const link = new LinkShare(clock);
    await use(link, clock, 0, 5_000);
    const { foreground, background } = await use(link, clock, 1, 30_000);
    assert.ok(foreground > 0.88 && background > 0.03, `${foreground} and ${background}`);
  });

  it("is the background's where something else holds the foreground up", async () => {
    const clock = new VirtualClock();
    const link = new LinkShare(clock);
    await use(link, clock, 0.1, 20_000);
    const { foreground, background } = await use(link, clock, 0.1, 10_000);
    assert.ok(foreground > 0.09 && background > 0.5, `${foreground} and ${background}`);
  });
});

describe("artifacts: whose turn it is", () => {
  it("is the foreground's before the background's, and another one's each time within both", () => {
    const parts = fc.array(fc.record({ id: fc.nat(), foreground: fc.boolean() }), { maxLength: 12 });
    fc.assert(
      fc.property(parts, fc.nat(1_000), (all, turn) => {
        const order = inTurn(all, turn);
        assert.deepEqual(new Set(order), new Set(all));
        assert.equal(order.length, all.length);
        const firstBehind = order.findIndex(({ foreground }) => !foreground);
        if (firstBehind >= 0) assert.ok(order.slice(firstBehind).every(({ foreground }) => !foreground));
        for (const foreground of [true, false]) {
          const firsts = all.map((_, at) => inTurn(all, turn + at).find((part) => part.foreground === foreground));
          const some = all.filter((part) => part.foreground === foreground);
          assert.deepEqual(new Set(firsts.filter((part) => part !== undefined)), new Set(some));
        }
      }),
    );
  });
});
