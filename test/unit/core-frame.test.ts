import assert from "node:assert/strict";
import { encodeCbor, encodeFrame, Fault, type Frame, FrameReader, FrameStream, memoryStreamPair } from "#core";
import fc from "fast-check";

const LIMITS = { maxHeaderBytes: 1_024, maxPayloadBytes: 64 * 1_024 };

type Plain = { header: unknown; payload: string };
const plain = ({ header, payload }: Frame): Plain => ({ header, payload: Buffer.concat(payload).toString("hex") });

/** Cuts `bytes` at the given places, in any order and number. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}

const prefix = (headerBytes: number, payloadBytes: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(headerBytes, 0);
  bytes.writeUInt32BE(payloadBytes, 4);
  return bytes;
};

const pair = (): [FrameStream, FrameStream] => {
  const [a, b] = memoryStreamPair();
  return [new FrameStream(a, LIMITS), new FrameStream(b, LIMITS)];
};

describe("frame reader", () => {
  const frames = fc.array(
    fc.record({
      header: fc.oneof(
        fc.integer(),
        fc.string({ maxLength: 50 }),
        fc.dictionary(fc.string({ maxLength: 8 }), fc.nat(), { noNullPrototype: true }),
      ),
      payload: fc.uint8Array({ maxLength: 9_000 }),
    }),
    { maxLength: 8 },
  );

  it("gives the same frames however the bytes are cut", () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(), { maxLength: 40 }), (sent, places) => {
        const wire = Buffer.concat(sent.flatMap(({ header, payload }) => encodeFrame(header, [payload])));
        const reader = new FrameReader(LIMITS);
        const got: Plain[] = [];
        for (const piece of cut(wire, places)) reader.push(piece, (frame) => got.push(plain(frame)));
        assert.deepEqual(
          got,
          sent.map(({ header, payload }) => ({ header, payload: Buffer.from(payload).toString("hex") })),
        );
        assert.equal(reader.idle, true);
      }),
    );
  });

  it("throws nothing but its own faults, whatever bytes come", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.array(fc.nat(), { maxLength: 5 }), (bytes, places) => {
        const reader = new FrameReader(LIMITS);
        try {
          for (const piece of cut(bytes, places)) reader.push(piece, () => undefined);
        } catch (error) {
          assert.ok(error instanceof Fault && ["core.frame", "core.cbor"].includes(error.code), String(error));
        }
      }),
      { numRuns: 500 },
    );
  });

  for (const [headerBytes, payloadBytes] of [
    [0, 0],
    [LIMITS.maxHeaderBytes + 1, 0],
    [1, LIMITS.maxPayloadBytes + 1],
    [0xffffffff, 0xffffffff],
  ] as const) {
    it(`refuses lengths ${headerBytes} + ${payloadBytes} as soon as it has read them`, () => {
      assert.throws(() => new FrameReader(LIMITS).push(prefix(headerBytes, payloadBytes), () => undefined), {
        code: "core.frame",
        exit: "invalid",
      });
    });
  }

  it("takes frames of just the largest lengths", () => {
    const header = Buffer.alloc(LIMITS.maxHeaderBytes - 3); // and 3 bytes of CBOR head
    assert.equal(encodeCbor(header).length, LIMITS.maxHeaderBytes);
    let payloadBytes = 0;
    const wire = Buffer.concat(encodeFrame(header, [Buffer.alloc(LIMITS.maxPayloadBytes)]));
    new FrameReader(LIMITS).push(wire, (frame) => (payloadBytes = frame.payloadBytes));
    assert.equal(payloadBytes, LIMITS.maxPayloadBytes);
  });

  it("passes large payload on uncopied", () => {
    const payload = Buffer.alloc(32 * 1_024, 5);
    const [head = Buffer.alloc(0), ...rest] = encodeFrame({ k: 1 }, [payload]);
    const reader = new FrameReader(LIMITS);
    const got: Uint8Array[] = [];
    for (const piece of [head, ...rest]) reader.push(piece, (frame) => got.push(...frame.payload));
    assert.deepEqual(
      got.map(({ buffer, byteOffset, length }) => [buffer === payload.buffer, byteOffset, length]),
      [[true, payload.byteOffset, payload.length]],
    );
  });

  it("holds a payload that comes byte by byte in few pieces", () => {
    const wire = Buffer.concat(encodeFrame(1, [Buffer.alloc(LIMITS.maxPayloadBytes, 9)]));
    const reader = new FrameReader(LIMITS);
    let frame: Frame | undefined;
    for (let i = 0; i < wire.length; i++) reader.push(wire.subarray(i, i + 1), (whole) => (frame = whole));
    assert.ok(frame !== undefined && frame.payload.length <= 32, `${frame?.payload.length} pieces`);
    assert.equal(Buffer.concat(frame.payload).equals(Buffer.alloc(LIMITS.maxPayloadBytes, 9)), true);
  });

  it("is not idle inside a frame", () => {
    const reader = new FrameReader(LIMITS);
    const wire = Buffer.concat(encodeFrame("x", [Buffer.from("y")]));
    for (let i = 1; i < wire.length; i++) {
      reader.push(wire.subarray(i - 1, i), () => assert.fail("too early"));
      assert.equal(reader.idle, false, `after ${i} bytes`);
    }
  });
});

describe("frame stream", () => {
  it("takes turns, and ends with undefined after a close", async () => {
    const [a, b] = pair();
    a.send({ ask: 1 }, [Buffer.from("raw")]);
    const question = await b.read();
    assert.deepEqual(question && plain(question), { header: { ask: 1 }, payload: "726177" });
    b.send({ answer: 2 });
    b.close();
    assert.deepEqual((await a.read())?.header, { answer: 2 });
    assert.equal(await a.read(), undefined);
    assert.equal(await a.read(), undefined);
  });

  it("pauses a sender whose frames nobody reads, and loses none", async () => {
    const [a, b] = pair();
    let sent = 0;
    while (a.send(sent, [Buffer.alloc(8_192)])) sent += 1;
    const drained = a.drained();
    await new Promise(setImmediate);
    for (let i = 0; i <= sent; i++) assert.equal((await b.read())?.header, i);
    await drained;
  });

  it("delivers what came before the end, then tells of the end", async () => {
    const [a, b] = pair();
    a.send("one");
    a.send("two");
    a.close();
    for (let i = 0; i < 3; i++) await new Promise(setImmediate);
    assert.equal((await b.read())?.header, "one");
    assert.equal((await b.read())?.header, "two");
    assert.equal(await b.read(), undefined);
  });

  it("tells of an end inside a frame as an error", async () => {
    const [a, b] = memoryStreamPair();
    const frames = new FrameStream(b, LIMITS);
    a.send(Buffer.concat(encodeFrame("cut off")).subarray(0, 12));
    a.close();
    await assert.rejects(frames.read(), { code: "core.stream-ended" });
  });

  it("resets a peer that sends what is no frame, and says so to the reader", async () => {
    const [a, b] = memoryStreamPair();
    const frames = new FrameStream(b, LIMITS);
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    a.listen({ data: () => undefined, end: resolve });
    a.send(Buffer.alloc(8, 0xff));
    await assert.rejects(frames.read(), { code: "core.frame" });
    await assert.rejects(frames.read(), { code: "core.frame" });
    assert.equal((await promise) instanceof Error, true);
  });

  it("ends a read with the signal's reason, and gives the frame to the next one", async () => {
    const [a, b] = pair();
    const controller = new AbortController();
    const reason = new Error("enough");
    const waiting = assert.rejects(b.read(controller.signal), reason);
    controller.abort(reason);
    await waiting;
    a.send("still here");
    assert.equal((await b.read())?.header, "still here");
  });

  it("tells the peer's reader of an abort", async () => {
    const [a, b] = pair();
    const waiting = b.read();
    a.abort(new Error("give up"));
    await assert.rejects(waiting, { code: "core.stream-reset" });
    await assert.rejects(a.read(), /give up/u);
  });

  it("refuses a second read at a time", async () => {
    const [a, b] = pair();
    const first = b.read();
    await assert.rejects(b.read(), { code: "core.frame-turn" });
    a.send("for the first");
    assert.equal((await first)?.header, "for the first");
  });
});
