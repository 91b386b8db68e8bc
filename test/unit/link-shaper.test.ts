import assert from "node:assert/strict";
import { VirtualClock } from "#core";
import fc from "fast-check";
import { LANE_HIGH_WATER_BYTES, type Lane, type LaneExit, Shaper } from "../../demo/shaper.ts";

type Sink = LaneExit & {
  pieces: Buffer[];
  atMs: number[];
  ended: boolean;
  rooms: number;
  blocked: boolean;
  bytes(): Buffer;
};

function sink(clock: VirtualClock): Sink {
  return {
    pieces: [],
    atMs: [],
    ended: false,
    rooms: 0,
    blocked: false,
    ready() {
      return !this.blocked;
    },
    write(bytes) {
      this.pieces.push(Buffer.from(bytes));
      this.atMs.push(clock.nowMs());
    },
    end() {
      this.ended = true;
    },
    room() {
      this.rooms += 1;
    },
    bytes() {
      return Buffer.concat(this.pieces);
    },
  };
}

/** A sender that always has more. */
function flood(lane: Lane, exit: Sink): void {
  const fill = (): void => {
    while (lane.push(Buffer.alloc(16_384)));
  };
  exit.room = fill;
  fill();
}

const RATE_BPS = 8_000_000; // 1,000 bytes a millisecond
const BURST_BYTES = 50_000;

describe("link shaper", () => {
  it("delivers a byte after the delay, not before", async () => {
    const clock = new VirtualClock();
    const exit = sink(clock);
    const lane = new Shaper(clock, { rateBps: RATE_BPS, delayMs: 20 }).open(exit);
    lane.push(Buffer.from("ahoy"));
    lane.end();
    await clock.advanceMs(19);
    assert.equal(exit.pieces.length, 0);
    await clock.advanceMs(1);
    assert.equal(exit.bytes().toString(), "ahoy");
    assert.equal(exit.ended, true);
  });

  it("passes the rate over time, and never more than rate × time + burst", async () => {
    const clock = new VirtualClock();
    const exit = sink(clock);
    const shaper = new Shaper(clock, { rateBps: RATE_BPS, delayMs: 0 });
    flood(shaper.open(exit), exit);
    for (let seconds = 1; seconds <= 3; seconds++) {
      await clock.advanceMs(1_000);
      assert.ok(shaper.passedBytes <= 1_000_000 * seconds + BURST_BYTES, `${shaper.passedBytes} after ${seconds} s`);
      assert.ok(shaper.passedBytes >= 999_000 * seconds, `${shaper.passedBytes} after ${seconds} s`);
    }
  });

  it("shares the rate equally between connections, whenever they came", async () => {
    const clock = new VirtualClock();
    const shaper = new Shaper(clock, { rateBps: RATE_BPS, delayMs: 5 });
    const early = sink(clock);
    flood(shaper.open(early), early);
    await clock.advanceMs(500);
    const before = early.bytes().length;
    const late = sink(clock);
    flood(shaper.open(late), late);
    await clock.advanceMs(1_000);
    const [a, b] = [early.bytes().length - before, late.bytes().length];
    assert.ok(Math.abs(a - b) < 20_000, `${a} against ${b}`);
  });

  it("holds a sender back at the high-water mark and calls it when there is room", async () => {
    const clock = new VirtualClock();
    const exit = sink(clock);
    const lane = new Shaper(clock, { rateBps: RATE_BPS, delayMs: 0 }).open(exit);
    exit.blocked = true;
    assert.equal(lane.push(Buffer.alloc(LANE_HIGH_WATER_BYTES - 1)), true);
    assert.equal(lane.push(Buffer.alloc(1)), false);
    assert.equal(exit.rooms, 0);
    exit.blocked = false;
    lane.push(Buffer.alloc(1)); // any arrival lets the shaper look again
    await clock.advanceMs(1_000);
    assert.equal(exit.rooms, 1);
    assert.equal(exit.bytes().length, LANE_HIGH_WATER_BYTES + 1);
  });

  it("lets one blocked receiver hold up nobody else", async () => {
    const clock = new VirtualClock();
    const shaper = new Shaper(clock, { rateBps: RATE_BPS, delayMs: 0 });
    const stuck = sink(clock);
    stuck.blocked = true;
    flood(shaper.open(stuck), stuck);
    const free = sink(clock);
    flood(shaper.open(free), free);
    await clock.advanceMs(1_000);
    assert.equal(stuck.bytes().length, 0);
    assert.ok(free.bytes().length >= 999_000);
  });

  it("moves nothing while held and loses nothing", async () => {
    const clock = new VirtualClock();
    const exit = sink(clock);
    const shaper = new Shaper(clock, { rateBps: RATE_BPS, delayMs: 5 });
    const lane = shaper.open(exit);
    lane.push(Buffer.from("before "));
    shaper.hold(true);
    lane.push(Buffer.from("during"));
    await clock.advanceMs(60_000);
    assert.equal(exit.pieces.length, 0);
    shaper.hold(false);
    await clock.advanceMs(10);
    assert.equal(exit.bytes().toString(), "before during");
  });

  it("brings out what went in, whole and in order, however it was cut", async () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 40_000 }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(pieces, fc.integer({ min: 0, max: 40 }), async (sent, delayMs) => {
        const clock = new VirtualClock();
        const exit = sink(clock);
        const lane = new Shaper(clock, { rateBps: RATE_BPS, delayMs }).open(exit);
        for (const piece of sent) lane.push(piece);
        lane.end();
        await clock.advanceMs(2_000);
        assert.deepEqual(exit.bytes(), Buffer.concat(sent));
        assert.equal(exit.ended, true);
      }),
      { numRuns: 40 },
    );
  });
});
