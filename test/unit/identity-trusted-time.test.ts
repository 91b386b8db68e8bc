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
});
