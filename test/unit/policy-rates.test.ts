import assert from "node:assert/strict";
import fc from "fast-check";
import { parseWeekSpan, type RateChange, type RatePlan, type Rates, RateSchedule, type RateWindow } from "#policy";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const WEEK_MS = 7 * 24 * HOUR_MS;

function window(when: string, change: RateChange): RateWindow {
  const span = parseWeekSpan(when);
  assert.ok(span, when);
  return { when, span, change };
}

function schedule(plan: Partial<RatePlan>): RateSchedule {
  return new RateSchedule({ base: {}, windows: [], timezone: "UTC", ...plan });
}

/** Slowly and surely: the first minute at which the rates are others. */
function nextByLooking(of: RateSchedule, atMs: number): number | undefined {
  const before = JSON.stringify(of.ratesAt(atMs));
  for (let ms = Math.floor(atMs / MINUTE_MS + 1) * MINUTE_MS; ms <= atMs + WEEK_MS; ms += MINUTE_MS) {
    if (JSON.stringify(of.ratesAt(ms)) !== before) return ms;
  }
  return undefined;
}

describe("policy: windows of a week", () => {
  it("are read with days, times, or both", () => {
    const cases: [string, number[], number, number][] = [
      ["Mon-Fri 08:00-18:00", [0, 1, 2, 3, 4], 480, 600],
      ["sat,SUN", [5, 6], 0, 1440],
      ["22:00-06:00", [0, 1, 2, 3, 4, 5, 6], 1320, 480],
      ["Fri-Mon 00:00-24:00", [0, 4, 5, 6], 0, 1440],
      ["  Wed   23:59-00:00 ", [2], 1439, 1],
      ["Mon,Wed-Thu,Mon 12:00-12:01", [0, 2, 3], 720, 1],
    ];
    for (const [text, days, fromMinute, lengthMinutes] of cases) {
      assert.deepEqual(parseWeekSpan(text), { days, fromMinute, lengthMinutes }, text);
    }
  });

  it("are refused otherwise", () => {
    const wrong = [
      "",
      " ",
      "Mon-",
      "Mo",
      "Monday",
      "Mon-Fri-Sun",
      "Mon 8:00-18:00",
      "08:00",
      "08:00-08:00",
      "08:60-09:00",
    ];
    wrong.push(
      "24:00-01:00",
      "25:00-26:00",
      "Mon08:00-09:00",
      "08:00-18:00 Mon",
      "Mon, Tue",
      "Mon 08:00 - 18:00",
      "00:00-24:01",
    );
    for (const text of wrong) assert.equal(parseWeekSpan(text), undefined, JSON.stringify(text));
  });

  it("never throw on any text", () => {
    fc.assert(fc.property(fc.string(), (text) => void parseWeekSpan(text)));
  });
});

describe("policy: limits that depend on the time", () => {
  const night = { wanUploadBps: null, wanDownloadBps: 9 };
  const base: Rates = { uploadBps: 100, wanUploadBps: 50, wanDownloadBps: 40 };

  it("are the base's, but for what a window says while it holds", () => {
    const plan = schedule({ base, windows: [window("Mon-Fri 20:00-06:00", night)] });
    const at = (iso: string): Rates => plan.ratesAt(Date.parse(iso));
    const dark = { uploadBps: 100, wanDownloadBps: 9 };
    assert.deepEqual(at("2026-11-20T19:59:59Z"), base); // a Friday
    assert.deepEqual(at("2026-11-20T20:00:00Z"), dark);
    assert.deepEqual(at("2026-11-21T05:59:59Z"), dark, "what began on Friday goes on past midnight");
    assert.deepEqual(at("2026-11-21T06:00:00Z"), base);
    assert.deepEqual(at("2026-11-21T21:00:00Z"), base, "none begins on Saturday");
    assert.equal(plan.nextChangeMs(Date.parse("2026-11-21T06:00:00Z")), Date.parse("2026-11-23T20:00:00Z"));
  });

  it("are the first window's where two hold at once", () => {
    const plan = schedule({
      base,
      windows: [window("12:00-13:00", { uploadBps: 1 }), window("08:00-18:00", { uploadBps: 2, downloadBps: 3 })],
    });
    assert.deepEqual(plan.ratesAt(Date.parse("2026-11-20T12:30:00Z")), { ...base, uploadBps: 1 });
    assert.deepEqual(plan.ratesAt(Date.parse("2026-11-20T13:00:00Z")), { ...base, uploadBps: 2, downloadBps: 3 });
  });

  it("are what was set by hand before all, until its time is over", () => {
    const untilMs = Date.parse("2026-11-20T12:34:56Z");
    const windows = [window("08:00-18:00", { wanUploadBps: 7 })];
    const plan = schedule({ base, windows, override: { change: { wanUploadBps: null, uploadBps: 5 }, untilMs } });
    const { wanUploadBps: _, ...lifted } = base;
    assert.deepEqual(plan.ratesAt(untilMs - 1), { ...lifted, uploadBps: 5 });
    assert.deepEqual(plan.ratesAt(untilMs), { ...base, wanUploadBps: 7 });
    assert.equal(plan.nextChangeMs(untilMs - 1), untilMs);
    assert.equal(plan.nextChangeMs(untilMs - 30 * 24 * HOUR_MS), untilMs, "also when that is weeks ahead");
  });

  it("never change when every time has the same", () => {
    const same = schedule({ base: { uploadBps: 5 }, windows: [window("08:00-18:00", { uploadBps: 5 })] });
    assert.equal(same.nextChangeMs(0), undefined);
    assert.equal(schedule({ base }).nextChangeMs(0), undefined);
  });

  it("go by the wall clock of the zone when summer time begins and ends", () => {
    const berlin = (when: string): RateSchedule =>
      schedule({ timezone: "Europe/Berlin", windows: [window(when, { uploadBps: 1 })] });
    const spring = Date.parse("2026-03-29T01:00:00Z"); // 02:00 becomes 03:00
    const autumn = Date.parse("2026-10-25T01:00:00Z"); // 03:00 becomes 02:00
    assert.equal(berlin("02:30-03:30").nextChangeMs(spring - HOUR_MS), spring, "the first half is left out");
    assert.equal(berlin("02:30-03:30").nextChangeMs(spring), spring + HOUR_MS / 2);
    assert.equal(
      berlin("02:00-03:00").nextChangeMs(spring - HOUR_MS),
      Date.parse("2026-03-30T00:00:00Z"),
      "it is left out whole",
    );
    assert.equal(berlin("02:00-03:00").nextChangeMs(autumn - HOUR_MS), autumn + HOUR_MS, "it lasts two hours");
    assert.equal(berlin("02:30-02:45").nextChangeMs(autumn - HOUR_MS / 4), autumn + HOUR_MS / 2, "it comes twice");
    assert.equal(berlin("08:00-18:00").nextChangeMs(spring - 12 * HOUR_MS), Date.parse("2026-03-28T17:00:00Z"));
    assert.equal(berlin("08:00-18:00").nextChangeMs(spring), Date.parse("2026-03-29T06:00:00Z"));
  });

  it("change next when a look at every minute says so, in any zone", () => {
    const zones = [
      "UTC",
      "Europe/Berlin",
      "America/New_York",
      "Asia/Kathmandu",
      "Australia/Lord_Howe",
      "Africa/Casablanca",
      "Pacific/Apia",
    ];
    const time = fc
      .integer({ min: 0, max: 24 * 60 - 1 })
      .map((minute) => `${two(Math.floor(minute / 60))}:${two(minute % 60)}`);
    const days = fc.subarray(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], { minLength: 1 });
    const when = fc.tuple(days, time, time).filter(([, from, to]) => from !== to);
    const rate = fc.constantFrom(1, 2, null);
    const windows = fc.array(fc.tuple(when, rate), { minLength: 1, maxLength: 4 });
    // half of the moments lie close to a change of summer time somewhere
    const near = fc.constantFrom(
      "2026-03-29T01:00Z",
      "2026-10-25T01:00Z",
      "2026-03-08T07:00Z",
      "2026-11-01T06:00Z",
      "2026-10-03T15:30Z",
      "2026-04-04T15:00Z",
      "2026-02-15T02:00Z",
    );
    const moment = fc.oneof(
      fc.integer({ min: Date.parse("2025-01-01"), max: Date.parse("2030-01-01") }),
      fc.tuple(near, fc.integer({ min: -30 * HOUR_MS, max: 3 * HOUR_MS })).map(([iso, byMs]) => Date.parse(iso) + byMs),
    );
    const check = fc.property(fc.constantFrom(...zones), windows, moment, (timezone, written, atMs) => {
      const plan = {
        base: {},
        timezone,
        windows: written.map(([[on, from, to], uploadBps]) => window(`${on.join(",")} ${from}-${to}`, { uploadBps })),
      };
      const of = new RateSchedule(plan);
      assert.equal(of.nextChangeMs(atMs), nextByLooking(of, atMs));
    });
    fc.assert(check, { numRuns: 60 });
  });
});

function two(value: number): string {
  return String(value).padStart(2, "0");
}
