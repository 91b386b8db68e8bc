import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { type Clock, SystemClock, VirtualClock, withDeadline } from "#core";
import fc from "fast-check";
import type { Turns } from "../../src/core/clock.ts";

/** A clock, and how the suite lets `ms` go by on it. */
type Subject = { clock: Clock; pass: (ms: number) => Promise<void> };

function systemSubject(): Subject {
  const clock = new SystemClock();
  return { clock, pass: (ms) => clock.sleep(ms) };
}

function virtualSubject(turns?: Turns): Subject {
  const clock = new VirtualClock(0, turns);
  return { clock, pass: (ms) => clock.advanceMs(ms) };
}

/** What a Clock promises to everything that waits. */
function clockContract(name: string, make: () => Subject): void {
  describe(`clock contract: ${name}`, () => {
    it("moves forward by at least what was slept, on both faces", async () => {
      const { clock, pass } = make();
      const [nowMs, wallMs] = [clock.nowMs(), clock.wallMs()];
      const slept = clock.sleep(20);
      await Promise.all([slept, pass(20)]);
      assert.ok(clock.nowMs() - nowMs >= 19);
      assert.ok(clock.wallMs() - wallMs >= 19);
    });

    it("wakes the shorter sleep first, and equal ones in the order they came", async () => {
      const { clock, pass } = make();
      const woken: string[] = [];
      const sleeps = [
        clock.sleep(30).then(() => woken.push("long")),
        clock.sleep(1).then(() => woken.push("first")),
        clock.sleep(1).then(() => woken.push("second")),
      ];
      await pass(40);
      await Promise.all(sleeps);
      assert.deepEqual(woken, ["first", "second", "long"]);
    });

    it("ends a sleep with the signal's reason, and leaves nothing on the signal", async () => {
      const { clock, pass } = make();
      const controller = new AbortController();
      const reason = new Error("enough");
      const slept = assert.rejects(clock.sleep(60_000, controller.signal), reason);
      const done = clock.sleep(1, controller.signal);
      assert.equal(getEventListeners(controller.signal, "abort").length, 2);
      await Promise.all([pass(5), done]);
      assert.equal(getEventListeners(controller.signal, "abort").length, 1);
      controller.abort(reason);
      await slept;
      await assert.rejects(clock.sleep(0, controller.signal), reason);
    });

    it("does not cut a sleep of more than 24.8 days short, where setTimeout fires at once", async () => {
      const { clock, pass } = make();
      const controller = new AbortController();
      let woken = false;
      const slept = clock.sleep(2 ** 31 + 5, controller.signal).then(() => (woken = true));
      await pass(20);
      assert.equal(woken, false);
      controller.abort(new Error("enough"));
      await assert.rejects(slept, /enough/u);
    });

    it("sleeps for ever only when told to, and then still hears its signal", async () => {
      const { clock, pass } = make();
      const controller = new AbortController();
      const slept = assert.rejects(clock.sleep(Number.POSITIVE_INFINITY, controller.signal), /enough/u);
      await pass(5);
      controller.abort(new Error("enough"));
      await slept;
    });

    it("takes a sleep of no time or less as one turn", async () => {
      const { clock, pass } = make();
      const before = clock.nowMs();
      await Promise.all([clock.sleep(0), clock.sleep(-5), pass(1)]);
      assert.ok(clock.nowMs() >= before);
    });

    it("gives the work's own value or error when it is done in time", async () => {
      const { clock } = make();
      assert.equal(await withDeadline(clock, 1_000, "work", () => Promise.resolve(7)), 7);
      const failure = new Error("no");
      await assert.rejects(
        withDeadline(clock, 1_000, "work", () => Promise.reject(failure)),
        failure,
      );
    });

    it("ends work that is late with core.deadline, whatever the work throws then", async () => {
      const { clock, pass } = make();
      const late = withDeadline(clock, 5, "the dial", async (signal) => {
        await clock.sleep(60_000, signal).catch(() => Promise.reject(new Error("dial failed")));
      });
      await Promise.all([
        assert.rejects(late, {
          code: "core.deadline",
          exit: "timeout",
          message: "the dial did not finish within 5 ms",
        }),
        pass(10),
      ]);
    });

    it("ends late work that ignores its signal", async () => {
      const { clock, pass } = make();
      const stuck = withDeadline(clock, 5, "work", () => new Promise(() => undefined));
      await Promise.all([assert.rejects(stuck, { code: "core.deadline" }), pass(10)]);
    });

    it("ends work with its parent, and leaves nothing on a parent that lives on", async () => {
      const { clock, pass } = make();
      const parent = new AbortController();
      for (let i = 0; i < 20; i++) {
        await withDeadline(clock, 1_000, "work", () => Promise.resolve(), parent.signal);
      }
      const late = withDeadline(clock, 5, "work", (signal) => clock.sleep(60_000, signal), parent.signal);
      await Promise.all([assert.rejects(late, { code: "core.deadline" }), pass(10)]);
      assert.equal(getEventListeners(parent.signal, "abort").length, 0);

      const reason = new Error("shut down");
      const running = withDeadline(clock, 1_000, "work", (signal) => clock.sleep(60_000, signal), parent.signal);
      parent.abort(reason);
      await assert.rejects(running, reason);
      let started = false;
      const work = (): Promise<void> => {
        started = true;
        return Promise.resolve();
      };
      await assert.rejects(withDeadline(clock, 1_000, "work", work, parent.signal), reason);
      assert.equal(started, false);
    });
  });
}

clockContract("system", systemSubject);
clockContract("virtual", () => virtualSubject());
clockContract("virtual, for promises alone", () => virtualSubject("promises"));

describe("virtual clock", () => {
  it("stands still until it is told to move", async () => {
    const clock = new VirtualClock(1_000);
    await new Promise(setImmediate);
    assert.deepEqual([clock.nowMs(), clock.wallMs()], [0, 1_000]);
  });

  it("wakes each sleeper at its own time, also one that falls asleep on the way", async () => {
    const clock = new VirtualClock();
    const wokenMs: number[] = [];
    const ticking = (async () => {
      for (let i = 0; i < 3; i++) {
        await clock.sleep(10);
        wokenMs.push(clock.nowMs());
      }
    })();
    await clock.advanceMs(100);
    await ticking;
    assert.deepEqual(wokenMs, [10, 20, 30]);
    assert.equal(clock.nowMs(), 100);
  });

  for (const turns of ["events", "promises"] as const) {
    it(`wakes nobody before all that the last one set off is done (${turns})`, async () => {
      const clock = new VirtualClock(0, turns);
      const seenMs: number[] = [];
      const work = async (ms: number): Promise<void> => {
        await clock.sleep(ms);
        for (let step = 0; step < 50; step++) await Promise.resolve();
        seenMs.push(clock.nowMs());
      };
      const works = [3, 1, 2, 2].map(work);
      await clock.advanceMs(10);
      await Promise.all(works);
      assert.deepEqual(seenMs, [1, 2, 2, 3]);
    });
  }

  it("wakes those whose sleep was not ended, in the order of their times, then of their coming", async () => {
    const sleeps = fc.array(fc.record({ ms: fc.nat(8), isEnded: fc.boolean() }), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(sleeps, async (all) => {
        const clock = new VirtualClock();
        const woken: number[] = [];
        const over = new AbortController();
        for (const [i, { ms, isEnded }] of all.entries()) {
          clock.sleep(ms, isEnded ? over.signal : undefined).then(
            () => woken.push(i),
            () => undefined, // it was ended
          );
        }
        over.abort("over");
        await clock.advanceMs(8);
        const left = [...all.entries()].filter(([, { isEnded }]) => !isEnded);
        assert.deepEqual(
          woken,
          left.toSorted(([, a], [, b]) => a.ms - b.ms).map(([i]) => i),
        );
      }),
      { numRuns: 50 },
    );
  });

  it("moves the wall without moving time, as NTP would", () => {
    const clock = new VirtualClock(1_000);
    clock.jumpWallMs(-600);
    assert.deepEqual([clock.nowMs(), clock.wallMs()], [0, 400]);
  });
});
