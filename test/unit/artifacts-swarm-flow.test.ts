import assert from "node:assert/strict";
import { Flow, type Mark } from "../../src/artifacts/swarm/flow.ts";
import { Lane } from "../../src/artifacts/swarm/lane.ts";

const CELL = 64 * 1024;
/** 20 Mbit/s in bytes per millisecond. */
const LINK = 2_500;

/** Sends `cells` at once, and has them acknowledged one after the other as a link of that rate delivers them. */
function burst(flow: Flow, cells: number, startMs: number, rttMs: number): number {
  const marks = Array.from({ length: cells }, () => flow.sent(CELL, startMs));
  let nowMs = startMs + rttMs;
  for (const mark of marks) {
    nowMs += CELL / LINK;
    flow.acked(CELL, mark, nowMs);
  }
  return nowMs;
}

function near(value: number, expected: number, ratio: number): void {
  assert.ok(Math.abs(value - expected) <= ratio * expected, `${value} is not within ${ratio} of ${expected}`);
}

describe("the flow of a swarm", () => {
  it("allows the least window until a rate is known", () => {
    assert.equal(new Flow(0.1).windowBytes(CELL), CELL);
  });

  it("comes to the link's rate, and to a window of rate × (round trip + what may be ahead)", () => {
    const flow = new Flow(0.1);
    flow.noteRtt(60, 0);
    let nowMs = 0;
    for (let i = 0; i < 20; i++) nowMs = burst(flow, 16, nowMs, 60);
    near(flow.bytesPerSecond(), LINK * 1_000, 0.2);
    near(flow.windowBytes(CELL), flow.bytesPerSecond() * 0.16, 0.01);
  });

  it("does not take acknowledgements that come all at once for a fast link", () => {
    const flow = new Flow(0.1);
    let nowMs = 0;
    for (let round = 0; round < 10; round++) {
      const marks: Mark[] = [];
      for (let i = 0; i < 4; i++) marks.push(flow.sent(CELL, nowMs + i * 26));
      nowMs += 400; // they waited behind what goes the other way
      for (const mark of marks) flow.acked(CELL, mark, nowMs);
    }
    assert.ok(flow.bytesPerSecond() <= (4 * CELL) / 0.4, `${flow.bytesPerSecond()} bytes/s`);
  });

  it("does not take a standing queue for the path's delay", () => {
    const flow = new Flow(0);
    flow.noteRtt(60, 0);
    let nowMs = 0;
    for (let i = 0; i < 10; i++) nowMs = burst(flow, 8, nowMs, 500);
    near(flow.windowBytes(1), flow.bytesPerSecond() * 0.06, 0.01);
  });

  it("spaces what leaves a quarter faster than the rate it has shown", () => {
    const flow = new Flow(0.1);
    let nowMs = 0;
    for (let i = 0; i < 20; i++) nowMs = burst(flow, 16, nowMs, 60);
    nowMs += 1_000;
    for (let i = 0; i < 50; i++) {
      flow.sent(CELL, nowMs);
      flow.pace(CELL, nowMs);
      nowMs = Math.max(nowMs, flow.paceMs);
    }
    const from = nowMs;
    for (let i = 0; i < 50; i++) {
      flow.sent(CELL, nowMs);
      flow.pace(CELL, nowMs);
      nowMs = Math.max(nowMs, flow.paceMs);
    }
    near((50 * CELL) / (nowMs - from), (1.25 * flow.bytesPerSecond()) / 1_000, 0.02);
  });
});

describe("the lane into the site", () => {
  /** A lane that has delivered a cell each 26 ms for 2 s, the fastest acknowledgements `rttMs` old; returns its pace ÷ the link's rate. */
  function paceAt(rttMs: number): number {
    const lane = new Lane(0.07);
    lane.noteRtt(10, 0);
    const marks: Mark[] = [];
    let nowMs = 0;
    for (; nowMs < 2_000; nowMs += CELL / LINK) {
      marks.push(lane.sent(CELL, nowMs));
      const due = marks[0];
      if (due === undefined || nowMs - due.atMs < rttMs) continue;
      marks.shift();
      lane.acked(CELL, due, nowMs);
    }
    for (let i = 0; i < 4; i++) lane.pace(CELL, nowMs);
    const fromMs = lane.paceMs;
    lane.pace(CELL, nowMs);
    return CELL / (lane.paceMs - fromMs) / LINK;
  }

  it("tries for more while its queue is short, and drains it when it is not", () => {
    near(paceAt(5), 1.2, 0.06);
    near(paceAt(120), 0.95, 0.06);
  });

  /** Lets a cell leave every 156 ms, as a limit does, each acknowledged after `rttMs`; returns the time at the end. */
  function trickle(lane: Lane, fromMs: number, untilMs: number, rttMs: number): number {
    let nowMs = fromMs;
    for (; nowMs < untilMs; nowMs += 156) {
      const mark = lane.sent(CELL, nowMs);
      lane.pace(CELL, nowMs);
      lane.acked(CELL, mark, nowMs + rttMs);
    }
    return nowMs;
  }

  /** Sends frames of `cells` as soon as the pace allows, over a link that takes 1 ms for each cell; returns the bytes per millisecond. */
  function rateOf(lane: Lane, cells: number, fromMs: number, forMs: number): number {
    let nowMs = fromMs;
    let bytes = 0;
    while (nowMs < fromMs + forMs) {
      const mark = lane.sent(cells * CELL, nowMs);
      lane.pace(cells * CELL, nowMs);
      nowMs += cells;
      lane.acked(cells * CELL, mark, nowMs);
      bytes += cells * CELL;
      nowMs = Math.max(nowMs, lane.paceMs);
    }
    return bytes / (nowMs - fromMs);
  }

  it("does not take what a limit let through for what the uplink sustains", () => {
    for (const thinMs of [3_000, 600_000]) {
      const lane = new Lane(0.12);
      const nowMs = trickle(lane, 0, thinMs, 2);
      near(rateOf(lane, 4, nowMs, 2_000), CELL, 0.7); // the trickle was 1/156 of this
    }
  });

  it("finds out that the uplink has become faster, however far apart its pace sets what leaves", () => {
    const lane = new Lane(0.12);
    let nowMs = trickle(lane, 0, 5_000, 156); // a link that is busy with that
    assert.ok(rateOf(lane, 4, nowMs, 1_000) < CELL / 50);
    nowMs += 1_000;
    rateOf(lane, 4, nowMs, 10_000);
    near(rateOf(lane, 4, nowMs + 10_000, 2_000), CELL, 0.3);
  });

  it("does not hold back before it knows what the link sustains", () => {
    const lane = new Lane(0.07);
    for (let i = 0; i < 10; i++) lane.pace(CELL, 100);
    assert.ok(lane.paceMs <= 100);
  });
});
