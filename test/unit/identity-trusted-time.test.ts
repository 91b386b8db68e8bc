import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VirtualClock } from "#core";
import { HighWaterFile } from "../../src/identity/high-water.ts";
import { TrustedTime } from "../../src/identity/trusted-time.ts";
import { NOW_MS } from "../support/fleet.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 1_440 * MINUTE_MS;

describe("trusted time", () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "ptl-time-"));
    path = join(folder, "high-water");
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** A machine that starts, its clock `wallOffMs` wrong. */
  function start(wallOffMs = 0) {
    const clock = new VirtualClock(NOW_MS + wallOffMs);
    const marks = new HighWaterFile(path);
    const time = new TrustedTime({ clock, uptimeSeconds: () => clock.nowMs() / 1_000, marks });
    return { clock, marks, time };
  }

  it("is the machine's time until a beacon comes, then the beacon's and what went by", async () => {
    const { clock, time } = start(2 * MINUTE_MS);
    assert.deepEqual([time.nowMs(), time.confirmed], [NOW_MS + 2 * MINUTE_MS, false]);
    assert.equal(time.observe({ timeMs: NOW_MS, registrar: "r1" }, 1).outcome, "accepted");
    assert.deepEqual([time.nowMs(), time.confirmed], [NOW_MS, true]);
    clock.jumpWallMs(-400 * DAY_MS);
    await clock.advanceMs(5_000);
    assert.equal(time.nowMs(), NOW_MS + 5_000);
  });

  it("is whole milliseconds, however finely the machine tells how long it runs", async () => {
    const clock = new VirtualClock(NOW_MS);
    const uptimeSeconds = (): number => 12_345.67 + clock.nowMs() / 1_000;
    const time = new TrustedTime({ clock, uptimeSeconds, marks: new HighWaterFile(path) });
    for (const confirm of [false, true]) {
      if (confirm) time.observe({ timeMs: time.nowMs(), registrar: "r1" }, 1);
      for (let i = 0; i < 100; i++) {
        await clock.advanceMs(37);
        assert.ok(Number.isSafeInteger(time.nowMs()) && Number.isSafeInteger(time.floorMs()), `${time.nowMs()}`);
      }
    }
  });

  it("does not go back, whatever a beacon says", () => {
    const { time } = start();
    time.observe({ timeMs: NOW_MS, registrar: "r1" }, 1);
    assert.equal(time.observe({ timeMs: NOW_MS - MINUTE_MS, registrar: "r1" }, 1).outcome, "accepted");
    assert.equal(time.nowMs(), NOW_MS);
    const verdict = time.observe({ timeMs: NOW_MS - 6 * MINUTE_MS, registrar: "r1" }, 1);
    assert.ok(verdict.outcome === "refused" && verdict.code === "identity.time-back");
    assert.equal(time.nowMs(), NOW_MS);
  });

  it("steps over 5 minutes on the word of two registrars that agree", () => {
    const { time } = start();
    time.observe({ timeMs: NOW_MS, registrar: "r1" }, 3);
    const laterMs = NOW_MS + 60 * MINUTE_MS;
    assert.equal(time.observe({ timeMs: laterMs, registrar: "r1" }, 3).outcome, "waiting");
    assert.equal(
      time.observe({ timeMs: laterMs, registrar: "r1" }, 3).outcome,
      "waiting",
      "the same registrar twice is one",
    );
    assert.equal(
      time.observe({ timeMs: laterMs + 9 * MINUTE_MS, registrar: "r2" }, 3).outcome,
      "waiting",
      "two that disagree are none",
    );
    assert.equal(time.nowMs(), NOW_MS);
    assert.equal(time.observe({ timeMs: laterMs + MINUTE_MS, registrar: "r3" }, 3).outcome, "accepted");
    assert.equal(time.nowMs(), laterMs + MINUTE_MS);
  });

  it("believes the only registrar of a fleet up to a day", () => {
    const { time } = start();
    assert.equal(time.observe({ timeMs: NOW_MS + DAY_MS, registrar: "r1" }, 1).outcome, "accepted");
    const verdict = time.observe({ timeMs: NOW_MS + 2 * DAY_MS + 1, registrar: "r1" }, 1);
    assert.ok(verdict.outcome === "refused" && verdict.code === "identity.time-jump");
  });

  it("lets no single registrar set an unconfirmed clock back by more than 5 minutes", () => {
    const { time } = start(60 * MINUTE_MS);
    assert.equal(time.observe({ timeMs: NOW_MS, registrar: "r1" }, 2).outcome, "waiting");
    assert.equal(time.observe({ timeMs: NOW_MS, registrar: "r2" }, 2).outcome, "accepted");
    assert.equal(time.nowMs(), NOW_MS);
  });

  it("survives a restart with a clock that fell back to 1970, and does not persist an unconfirmed one", () => {
    const first = start();
    first.time.observe({ timeMs: NOW_MS, registrar: "r1" }, 1);
    first.time.save();
    assert.equal(start(-NOW_MS).time.nowMs(), NOW_MS);
    const ahead = start(400 * DAY_MS);
    assert.equal(ahead.time.nowMs(), NOW_MS + 400 * DAY_MS);
    ahead.time.save();
    assert.equal(start().time.nowMs(), NOW_MS);
  });

  it("goes on from what was persisted when the clock is dead, power cut after power cut", async () => {
    const first = start();
    first.time.observe({ timeMs: NOW_MS, registrar: "r1" }, 1);
    first.time.save();
    let expectedMs = NOW_MS;
    for (let cut = 0; cut < 3; cut++) {
      const { clock, time } = start(-NOW_MS);
      assert.equal(time.nowMs(), expectedMs);
      await clock.advanceMs(3 * DAY_MS);
      expectedMs = Math.floor(expectedMs + 3 * DAY_MS * (1 - 500e-6)); // the least that 3 days by this machine's count can be
      assert.ok(Math.abs(time.nowMs() - expectedMs) <= 1);
      time.save();
    }
  });

  it("takes a member's word forward, a year at most, until a registrar speaks, and persists none of it", () => {
    const { time, marks } = start(-NOW_MS);
    marks.raise({ timeMs: NOW_MS });
    const again = start(-NOW_MS).time;
    assert.equal(again.hear(NOW_MS - DAY_MS), false, "not back");
    assert.equal(again.hear(NOW_MS + 367 * DAY_MS), false, "not too far");
    assert.equal(again.hear(NOW_MS + 40 * DAY_MS), true);
    assert.equal(again.nowMs(), NOW_MS + 40 * DAY_MS);
    again.save();
    assert.equal(start(-NOW_MS).time.nowMs(), NOW_MS);
    assert.equal(again.observe({ timeMs: NOW_MS + 30 * DAY_MS, registrar: "r1", fresh: true }, 1).outcome, "accepted");
    assert.equal(again.nowMs(), NOW_MS + 30 * DAY_MS, "a registrar outweighs what members said");
    assert.equal(again.hear(NOW_MS + 50 * DAY_MS), false);
    assert.equal(time.confirmed, false);
  });

  it("follows registrars over months only before it was confirmed, and only where one answered this very node", () => {
    start().marks.raise({ timeMs: NOW_MS });
    const laterMs = NOW_MS + 90 * DAY_MS;
    const { time } = start(-NOW_MS);
    assert.equal(time.observe({ timeMs: laterMs, registrar: "r1" }, 1).outcome, "waiting", "that may be a replay");
    assert.equal(time.nowMs(), NOW_MS);
    assert.equal(time.observe({ timeMs: laterMs, registrar: "r1", fresh: true }, 2).outcome, "waiting");
    assert.deepEqual([time.nowMs(), time.confirmed], [laterMs, false], "one fresh word stands in");
    assert.equal(time.observe({ timeMs: laterMs, registrar: "r1" }, 2).outcome, "waiting", "still only one registrar");
    assert.equal(time.observe({ timeMs: laterMs + MINUTE_MS, registrar: "r2" }, 2).outcome, "accepted");
    assert.equal(time.confirmed, true);
    const verdict = time.observe({ timeMs: laterMs + 2 * DAY_MS, registrar: "r1", fresh: true }, 1);
    assert.ok(verdict.outcome === "refused" && verdict.code === "identity.time-jump");
  });

  it("goes back when the owners say so: once, and only where it ran ahead", () => {
    const wrongMs = NOW_MS + 400 * DAY_MS;
    const reset = { timeMs: NOW_MS, aheadMs: wrongMs, version: 1 };
    start().marks.raise({ timeMs: wrongMs });
    const { time } = start();
    assert.equal(time.nowMs(), wrongMs);
    assert.equal(time.reset(reset), true);
    assert.equal(time.nowMs(), NOW_MS);
    time.observe({ timeMs: NOW_MS + MINUTE_MS, registrar: "r1" }, 1);
    assert.equal(time.reset(reset), false, "each version counts once");
    assert.equal(time.nowMs(), NOW_MS + MINUTE_MS);
    time.save();
    assert.equal(start(-NOW_MS).time.nowMs(), NOW_MS + MINUTE_MS, "it is on disk");
    assert.equal(start().time.reset({ ...reset, version: 2 }), false, "this node did not run ahead again");
    assert.equal(start(-NOW_MS).time.nowMs(), NOW_MS + MINUTE_MS);
  });

  it("puts a lone registrar's own clock on record after hours in which it ran true", async () => {
    const { clock, time, marks } = start();
    const keepFor = async (hours: number): Promise<void> => {
      for (let i = 0; i < hours * 6; i++) {
        time.vouchForOwnClock();
        await clock.advanceMs(10 * MINUTE_MS);
      }
    };
    await keepFor(5);
    assert.equal(marks.marks.timeMs, 0);
    clock.jumpWallMs(DAY_MS);
    await keepFor(5);
    assert.equal(marks.marks.timeMs, 0, "it was set meanwhile");
    await keepFor(2);
    assert.ok(Math.abs(marks.marks.timeMs - clock.wallMs()) <= 20 * MINUTE_MS);
    clock.jumpWallMs(400 * DAY_MS);
    const beforeMs = marks.marks.timeMs;
    await keepFor(9);
    assert.ok(marks.marks.timeMs <= beforeMs + DAY_MS, "over a year ahead is not believed");
  });

  it("writes the time that goes by at most every 10 minutes", async () => {
    const { clock, time, marks } = start();
    const written = new Set<number>();
    for (let i = 0; i < 120; i++) {
      time.observe({ timeMs: clock.wallMs(), registrar: "r1" }, 1);
      written.add(marks.marks.timeMs);
      await clock.advanceMs(10_000);
    }
    assert.equal(written.size, 2);
  });
});

describe("high-water marks", () => {
  it("only grow, each by itself, and are there after a crash", () => {
    const folder = mkdtempSync(join(tmpdir(), "ptl-marks-"));
    const path = join(folder, "high-water");
    const marks = new HighWaterFile(path);
    marks.raise({ charter: 3 });
    marks.raise({ charter: 2, revocation: 5, timeMs: 7.9 });
    assert.deepEqual(new HighWaterFile(path).marks, { timeMs: 7, charter: 3, revocation: 5, timeReset: 0 });
    const { mtimeNs, ino } = statSync(path, { bigint: true });
    marks.raise({ charter: 3 });
    const after = statSync(path, { bigint: true });
    assert.deepEqual([after.mtimeNs, after.ino], [mtimeNs, ino], "nothing new, nothing written");
    writeFileSync(`${path}.new`, "left by a crash");
    marks.raise({ charter: 4 });
    assert.deepEqual(readdirSync(folder), ["high-water"]);
    writeFileSync(path, "{");
    assert.deepEqual(new HighWaterFile(path).marks, { timeMs: 0, charter: 0, revocation: 0, timeReset: 0 });
    rmSync(folder, { recursive: true });
  });

  it("are a fleet's: one that is left is known again, another starts at zero, and the time is nobody's", () => {
    const folder = mkdtempSync(join(tmpdir(), "ptl-marks-"));
    const path = join(folder, "high-water");
    const [ours, other] = ["ab".repeat(32), "cd".repeat(32)];
    const marks = new HighWaterFile(path);
    marks.raise({ charter: 3 }); // as an earlier version wrote them
    marks.enter(ours);
    marks.raise({ revocation: 5, timeMs: 7 });
    assert.ok(marks.resetTime(7, 2));
    assert.deepEqual(new HighWaterFile(path).floorIn(ours), { charter: 3, revocation: 5 });
    assert.deepEqual(marks.floorIn(other), { charter: 0, revocation: 0 });
    marks.enter(other);
    assert.deepEqual(new HighWaterFile(path).marks, {
      fleet: other,
      timeMs: 7,
      charter: 0,
      revocation: 0,
      timeReset: 0,
    });
    assert.ok(marks.resetTime(7, 1), "the owners of the other fleet are heard");
    rmSync(folder, { recursive: true });
  });
});
