import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { SILENT_LOG, VirtualClock } from "#core";
import { parseWeekSpan, type RatePlan, type Rates } from "#policy";
import { Settings } from "../../src/daemon/data-directory.ts";
import { RateKeeper } from "../../src/daemon/rate-keeper.ts";

const HOUR_MS = 3_600_000;
/** A Friday. */
const NOON = Date.parse("2026-11-20T12:00:00Z");

describe("the limits of the hour", () => {
  let clock: VirtualClock;
  let settings: Settings;
  let seen: Rates[];

  beforeEach(() => {
    clock = new VirtualClock(NOON);
    settings = new Settings(new DatabaseSync(":memory:"));
    seen = [];
  });

  function keep(plan: Partial<RatePlan> = {}): RateKeeper {
    const deps = { clock, log: SILENT_LOG, trustedMs: () => clock.wallMs(), settings };
    const keeper = new RateKeeper(deps, { base: { wanUploadBps: 9_000 }, windows: [], timezone: "UTC", ...plan });
    keeper.start((rates) => seen.push(rates));
    return keeper;
  }

  const span = parseWeekSpan("18:00-20:00");
  assert.ok(span);
  const evening = { windows: [{ when: "18:00-20:00", span, change: { wanUploadBps: 5_000 } }] };

  it("change at the moment that the window says", async () => {
    await using keeper = keep(evening);
    assert.deepEqual(seen, [{ wanUploadBps: 9_000 }]);
    assert.equal(keeper.now().until, "2026-11-20T18:00:00.000Z");
    await clock.advanceMs(6 * HOUR_MS - 1);
    assert.equal(seen.length, 1);
    await clock.advanceMs(1);
    assert.deepEqual(seen[1], { wanUploadBps: 5_000 });
    assert.deepEqual(keeper.now(), {
      rates: { wanUploadBps: 5_000 },
      source: "window",
      when: "18:00-20:00",
      timezone: "UTC",
      until: "2026-11-20T20:00:00.000Z",
      next: { wanUploadBps: 9_000 },
    });
    await clock.advanceMs(2 * HOUR_MS);
    assert.deepEqual(seen[2], { wanUploadBps: 9_000 });
  });

  it("are looked up anew soon after a clock was set, forwards or back", async () => {
    await using _ = keep(evening);
    clock.jumpWallMs(7 * HOUR_MS);
    await clock.advanceMs(15_000);
    assert.deepEqual(seen[1], { wanUploadBps: 5_000 });
    clock.jumpWallMs(-7 * HOUR_MS);
    await clock.advanceMs(15_000);
    assert.deepEqual(seen[2], { wanUploadBps: 9_000 });
  });

  it("are what was set by hand at once, for so long, also after a restart", async () => {
    {
      await using keeper = keep(evening);
      keeper.set({ wanUploadBps: null, downloadBps: 7_000 }, 7 * 3_600);
      assert.equal(keeper.now().source, "set");
      await clock.advanceMs(0);
      assert.deepEqual(seen[1], { downloadBps: 7_000 });
      await clock.advanceMs(HOUR_MS);
    }
    await using keeper = keep(evening);
    assert.deepEqual(seen.at(-1), { downloadBps: 7_000 });
    assert.deepEqual(keeper.all().set, {
      change: { wanUploadBps: null, downloadBps: 7_000 },
      until: "2026-11-20T19:00:00.000Z",
    });
    await clock.advanceMs(6 * HOUR_MS);
    assert.deepEqual(seen.at(-1), { wanUploadBps: 5_000 }, "the window holds when the time is over");
    assert.equal(keeper.all().set, undefined);
  });

  it("are the configuration's again after a reset", async () => {
    await using keeper = keep();
    keeper.set({ uploadBps: 1_000 });
    await clock.advanceMs(365 * 24 * HOUR_MS);
    assert.deepEqual(seen.at(-1), { uploadBps: 1_000, wanUploadBps: 9_000 });
    keeper.reset();
    await clock.advanceMs(0);
    assert.deepEqual(seen.at(-1), { wanUploadBps: 9_000 });
    assert.equal(settings.get("limits"), undefined);
  });

  it("are told once, however often they are looked up", async () => {
    await using _ = keep(evening);
    await clock.advanceMs(HOUR_MS);
    assert.equal(seen.length, 1);
  });
});
