import assert from "node:assert/strict";
import fc from "fast-check";
import { type ByteStream, faultCode, memoryStreamPair, SystemClock } from "#core";
import type { Flow } from "../../src/routing/tunnel/flow.ts";
import { GrowthBudget, INITIAL_WINDOW_BYTES, MAX_FLOW_WINDOW_BYTES } from "../../src/routing/tunnel/flow-window.ts";
import { Trunk } from "../../src/routing/tunnel/trunk.ts";
import { encodeHeader, encodeWindow, FRAME, HEADER_BYTES, TrunkReader } from "../../src/routing/tunnel/trunk-frame.ts";
import { NoTarget } from "../../src/routing/tunnel/tunnel-wire.ts";
import { type Collected, collect } from "../contract/byte-stream.ts";
import { TrunkPair } from "../support/trunk-pair.ts";

const clock = new SystemClock();
const KIB = 1024;
const MIB = 1024 * KIB;
const REQUEST = Buffer.from("tcp default cam");
const OPEN = Buffer.concat([encodeHeader(FRAME.open, 1, REQUEST.length), REQUEST]);

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
}

/** Bytes that say where in their flow they stand. */
function numbered(bytes: number, seed: number): Buffer {
  const all = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at++) all[at] = (at * 31 + seed * 17 + (at >> 8)) % 251;
  return all;
}

/** A side of a flow that speaks in pieces, at its own moments, and pauses its reading now and then. */
type Part = { pieces: number[]; pauses: number[] };
const PART: fc.Arbitrary<Part> = fc.record({
  pieces: fc.array(fc.oneof(fc.nat(300), fc.nat(200 * KIB)), { maxLength: 6 }),
  pauses: fc.array(fc.nat(30), { maxLength: 6 }),
});

async function speak(stream: Flow, { pieces }: Part, seed: number): Promise<Buffer> {
  const said = numbered(
    pieces.reduce((sum, bytes) => sum + bytes, 0),
    seed,
  );
  let at = 0;
  for (const bytes of pieces) {
    if (bytes % 3 === 0) await turns(bytes % 7);
    if (!stream.send(said.subarray(at, at + bytes))) await stream.drained();
    at += bytes;
  }
  stream.close();
  return said;
}

async function pauseNowAndThen(stream: Flow, { pauses }: Part): Promise<void> {
  for (const pause of pauses) {
    await turns(pause);
    stream.pause();
    await turns(pause);
    stream.resume();
  }
}

describe("trunk", () => {
  it("carries every byte of many flows once and in order, both ways, whoever pauses or resets", async function () {
    this.timeout(60_000);
    const flows = fc.array(fc.record({ up: PART, down: PART, resets: fc.nat(5) }), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(flows, async (plans) => {
        const pair = new TrunkPair();
        await Promise.all(
          plans.map(async ({ up, down, resets }, index) => {
            const [near, far] = await pair.flow();
            const [atNear, atFar] = [collect(near), collect(far)];
            const all = [speak(near, up, index), speak(far, down, index + 100)] as const;
            const pausing = [pauseNowAndThen(far, up), pauseNowAndThen(near, down)];
            if (resets > 0) {
              const [said, answered] = await Promise.all(all);
              assert.equal(await atFar.ended, undefined);
              assert.equal(await atNear.ended, undefined);
              assert.ok(atFar.bytes().equals(said) && atNear.bytes().equals(answered));
            } else {
              await turns(index * 3);
              (index % 2 === 0 ? near : far).abort(new Error("reset"));
              await Promise.allSettled(all);
              await isPrefix(atFar, up, index);
              await isPrefix(atNear, down, index + 100);
            }
            await Promise.all(pausing);
          }),
        );
        assert.deepEqual([pair.client.flows, pair.host.flows], [0, 0]);
        assert.deepEqual([pair.client.isOver, pair.host.isOver], [false, false]);
      }),
      { numRuns: 60 },
    );
  });

  it("lets a small flow through beside a large one", async () => {
    const pair = new TrunkPair();
    const [[bulk, bulkFar], [small, smallFar]] = [await pair.flow(), await pair.flow()];
    const heard = new Promise<void>((resolve) => smallFar.listen({ data: () => resolve(), end: () => undefined }));
    let [taken, takenBefore] = [0, 0];
    bulkFar.listen({
      data: (piece) => {
        taken += piece.length;
        if (takenBefore > 0 || taken < 8 * MIB) return;
        takenBefore = taken;
        small.send(Buffer.from("x"));
      },
      end: () => undefined,
    });
    bulk.send(Buffer.alloc(32 * MIB));
    await heard;
    assert.ok(taken - takenBefore <= 2 * MIB, `${taken - takenBefore} bytes of the large one went before it`);
  });

  it("holds a window of a flow that is not read, and lets the others go on", async () => {
    const pair = new TrunkPair();
    const [[near], [other, otherFar]] = [await pair.flow(), await pair.flow()];
    let sent = 0;
    while (near.send(Buffer.alloc(64 * KIB))) sent += 64 * KIB;
    const at = collect(otherFar);
    other.send(numbered(4 * MIB, 1));
    other.close();
    assert.equal(await at.ended, undefined);
    assert.ok(at.bytes().equals(numbered(4 * MIB, 1)));
    await turns(100);
    assert.ok(sent <= INITIAL_WINDOW_BYTES + 256 * KIB, `${sent} bytes were taken for a flow that nobody reads`);
  });

  it("sends no more than 64 KiB of a flow that the other side has not taken in", async () => {
    const [near, far] = memoryStreamPair();
    const trunk = new Trunk({ clock, stream: near, growth: new GrowthBudget() });
    let got = 0;
    const reader = new TrunkReader({ control: () => undefined, data: (_, piece) => (got += piece.length) });
    far.listen({ data: (bytes) => reader.push(bytes), end: () => undefined });
    const flow = trunk.open(REQUEST);
    flow.send(Buffer.alloc(1024 * KIB));
    await turns(50);
    assert.equal(got, INITIAL_WINDOW_BYTES);
    far.send(encodeHeader(FRAME.accept, 1, 0), encodeWindow(1, 1000));
    await turns(50);
    assert.equal(got, INITIAL_WINDOW_BYTES + 1000);
  });

  it("tells why a flow is refused", async () => {
    const pair = new TrunkPair((flow) => flow.abort(new NoTarget("busy", "too many\ntunnels")));
    await assert.rejects(pair.client.open(REQUEST).accepted, {
      code: "routing.tunnel-refused",
      message: "busy: too many tunnels",
      details: { code: "busy" },
    });
  });

  it("resets its flows, and nothing else, when its stream ends", async () => {
    for (const end of [
      (stream: ByteStream) => stream.close(),
      (stream: ByteStream) => stream.abort(new Error("cut")),
    ]) {
      const pair = new TrunkPair();
      const [[near, far]] = [await pair.flow(), await pair.flow()];
      const [atNear, atFar] = [collect(near), collect(far)];
      const waiting = pair.client.open(REQUEST).accepted;
      end(pair.streams[0]);
      assert.ok((await atNear.ended) instanceof Error);
      assert.ok((await atFar.ended) instanceof Error);
      await assert.rejects(waiting);
      assert.deepEqual([pair.client.isOver, pair.client.flows, pair.host.flows], [true, 0, 0]);
      assert.throws(() => pair.client.open(REQUEST), { code: "core.stream-ended" });
      assert.throws(() => near.send(Buffer.from("late")), { code: "core.stream-ended" });
    }
  });

  it("ignores what comes for a flow that it has reset, while the peer does not know", async () => {
    const pair = new TrunkPair();
    const [near, far] = await pair.flow();
    far.send(Buffer.alloc(32 * KIB));
    far.close();
    near.abort(new Error("enough"));
    await turns(20);
    const [other, otherFar] = await pair.flow();
    const at = collect(otherFar);
    other.send(Buffer.from("still here"));
    other.close();
    assert.equal(await at.ended, undefined);
    assert.equal(at.bytes().toString(), "still here");
  });

  /** What a host hears of a client that breaks the rules, and a client of a host. */
  const data = (flow: number, bytes: number): Buffer =>
    Buffer.concat([encodeHeader(FRAME.data, flow, bytes), Buffer.alloc(bytes)]);
  const toHost: [string, Uint8Array[]][] = [
    ["data of no flow", [data(1, 1)]],
    ["an end of no flow", [OPEN, encodeHeader(FRAME.end, 2, 0)]],
    ["flow 0", [encodeHeader(FRAME.end, 0, 0)]],
    ["a number that was used", [OPEN, OPEN]],
    ["a smaller number", [encodeHeader(FRAME.open, 9, REQUEST.length), REQUEST, OPEN]],
    ["data behind the end", [OPEN, encodeHeader(FRAME.end, 1, 0), data(1, 1)]],
    ["two ends", [OPEN, encodeHeader(FRAME.end, 1, 0), encodeHeader(FRAME.end, 1, 0)]],
    ["more than the window", [OPEN, data(1, INITIAL_WINDOW_BYTES), data(1, 1)]],
    ["a credit of nothing", [OPEN, encodeWindow(1, 0)]],
    ["more credit than the largest window", [OPEN, encodeWindow(1, MAX_FLOW_WINDOW_BYTES)]],
    ["an accept of what it opened itself", [OPEN, encodeHeader(FRAME.accept, 1, 0)]],
    ["a type that there is not", [encodeHeader(6 as 5, 1, 0)]],
    ["an open without a request", [encodeHeader(FRAME.open, 1, 0)]],
    ["data without bytes", [OPEN, encodeHeader(FRAME.data, 1, 0)]],
    ["a message that is too long", [encodeHeader(FRAME.open, 1, 2_000)]],
    ["an end with bytes", [OPEN, encodeHeader(FRAME.end, 1, 1), Buffer.of(1)]],
  ];
  for (const [what, frames] of toHost) {
    it(`ends at ${what}`, async () => {
      const [near, far] = memoryStreamPair();
      let ended = false;
      const host = new Trunk({
        clock,
        stream: far,
        growth: new GrowthBudget(),
        opened: () => undefined,
        ended: () => {
          ended = true;
        },
      });
      const at = collect(near);
      near.send(...frames);
      assert.equal(faultCode(await at.ended), "core.stream-reset");
      assert.deepEqual([ended, host.flows], [true, 0]);
    });
  }

  const toClient: [string, Uint8Array[]][] = [
    ["opens a flow", [OPEN]],
    ["accepts a flow twice", [encodeHeader(FRAME.accept, 1, 0), encodeHeader(FRAME.accept, 1, 0)]],
    ["speaks before it has accepted", [data(1, 1)]],
    ["ends before it has accepted", [encodeHeader(FRAME.end, 1, 0)]],
    ["gives credit before it has accepted", [encodeWindow(1, 1)]],
    ["accepts a flow that nobody asked for", [encodeHeader(FRAME.accept, 2, 0)]],
    ["resets with nonsense", [encodeHeader(FRAME.reset, 1, 2), Buffer.from("\0\0")]],
  ];
  for (const [what, frames] of toClient) {
    it(`ends with a host that ${what}`, async () => {
      const [near, far] = memoryStreamPair();
      const trunk = new Trunk({ clock, stream: near, growth: new GrowthBudget() });
      trunk.open(REQUEST);
      const at = collect(far);
      far.send(...frames);
      assert.equal(faultCode(await at.ended), "core.stream-reset");
      assert.deepEqual([trunk.isOver, trunk.flows], [true, 0]);
    });
  }

  it("ends with a peer that asks without end and takes no answer", async () => {
    const [near, far] = memoryStreamPair();
    const opened = (flow: Flow): void => flow.abort(new NoTarget("busy", "too many tunnels"));
    const host = new Trunk({ clock, stream: far, growth: new GrowthBudget(), opened });
    near.pause();
    const at = collect(near);
    for (let id = 1; !host.isOver && id < 100_000; id++) {
      near.send(encodeHeader(FRAME.open, id, REQUEST.length), REQUEST);
      if (id % 512 === 0) await turns(2);
    }
    assert.ok(host.isOver, "it went on");
    near.resume();
    assert.equal(faultCode(await at.ended), "core.stream-reset");
  });

  it("takes frames in whatever pieces they come", () => {
    const frames = Buffer.concat([OPEN, encodeWindow(1, 77), data(1, 1_000), encodeHeader(FRAME.end, 1, 0)]);
    const read = (pieceBytes: number): unknown[] => {
      const found: unknown[] = [];
      let bytes = 0;
      const reader = new TrunkReader({
        control: (type, flow, payload) => found.push([type, flow, payload.toString(), bytes]),
        data: (_, piece) => (bytes += piece.length),
      });
      for (let at = 0; at < frames.length; at += pieceBytes) reader.push(frames.subarray(at, at + pieceBytes));
      return found;
    };
    assert.equal(read(frames.length).length, 3);
    for (let size = 1; size <= HEADER_BYTES * 4; size++) assert.deepEqual(read(size), read(frames.length));
  });
});

/** After a reset: what came is how it began. */
async function isPrefix(at: Collected, { pieces }: Part, seed: number): Promise<void> {
  await at.ended;
  const whole = numbered(
    pieces.reduce((sum, bytes) => sum + bytes, 0),
    seed,
  );
  assert.ok(whole.subarray(0, at.bytes().length).equals(at.bytes()));
}
