import assert from "node:assert/strict";
import fc from "fast-check";
import { faultCode, type Frame, FrameReader, HASH_BYTES } from "#core";
import { chunkBytesFor } from "../../src/artifacts/chunk-map.ts";
import {
  decodeLinkMessage,
  encodeLinkMessage,
  type LinkMessage,
  SWARM_FRAME_LIMITS,
} from "../../src/artifacts/wire.ts";

const ref = fc.nat({ max: 1_023 });
const chunk = fc.nat({ max: 1_048_575 });
const runs = fc.uniqueArray(fc.nat({ max: 10_000 }), { maxLength: 20 }).map((list) => list.toSorted((a, b) => a - b));
const status = fc.record({
  wants: fc.boolean(),
  yields: fc.boolean(),
  foreground: fc.boolean(),
  reach: fc.array(fc.stringMatching(/^[a-z]{1,10}$/u), { maxLength: 5 }),
});
const root = fc.uint8Array({ minLength: HASH_BYTES, maxLength: HASH_BYTES }).map((b) => Buffer.from(b).toString("hex"));
const blob = fc
  .record({ root, sizeBytes: fc.nat({ max: 2 ** 40 }) })
  .map(({ root, sizeBytes }) => ({ root, sizeBytes, chunkBytes: chunkBytesFor(sizeBytes) }));
const swarm = fc.oneof(
  status.map((value) => ({ type: "status" as const, ...value })),
  fc.record({ type: fc.constantFrom("have" as const, "unclaim" as const), runs }),
  fc.record({ type: fc.constant("claim" as const), runs, wan: fc.boolean() }),
  fc.record({ type: fc.constantFrom("offer" as const, "accept", "want", "cancel", "abort"), chunk }),
  fc.record({
    type: fc.constant("decline" as const),
    chunk,
    reason: fc.constantFrom("have" as const, "full", "no", "site"),
  }),
  fc.constant({ type: "ready" as const }),
);
const message: fc.Arbitrary<LinkMessage> = fc.oneof(
  fc.record({ type: fc.constant("join" as const), ref, blob, status }),
  fc.record({ type: fc.constant("leave" as const), root }),
  fc.record({ type: fc.constant("swarm" as const), ref, message: swarm }),
  fc.record({
    type: fc.constant("cells" as const),
    ref,
    chunk,
    first: fc.nat({ max: 15 }),
    count: fc.integer({ min: 1, max: 16 }),
    hashed: fc.boolean(),
  }),
  fc.record({ type: fc.constant("ack" as const), bytes: fc.nat() }),
  fc.record({ type: fc.constant("map-want" as const), ref, first: chunk, count: fc.integer({ min: 1, max: 8_192 }) }),
  fc.record({ type: fc.constant("map" as const), ref, first: chunk }),
);

function frameOf(pieces: readonly Uint8Array[]): Frame {
  const frames: Frame[] = [];
  new FrameReader(SWARM_FRAME_LIMITS).push(Buffer.concat(pieces), (frame) => frames.push(frame));
  assert.equal(frames.length, 1);
  assert.ok(frames[0]);
  return frames[0];
}

describe("artifacts: swarm messages", () => {
  it("come out as they went in", () => {
    fc.assert(
      fc.property(message, (sent) =>
        assert.deepEqual(decodeLinkMessage(frameOf(encodeLinkMessage(sent))), structuredClone(sent)),
      ),
    );
  });

  it("throw nothing but faults, whatever the header", () => {
    const header = fc.oneof(
      fc.anything(),
      fc
        .tuple(fc.nat({ max: 20 }), fc.array(fc.oneof(fc.nat(), fc.uint8Array(), fc.array(fc.anything()))))
        .map(([a, b]) => [a, ...b]),
    );
    fc.assert(
      fc.property(header, (value) => {
        try {
          decodeLinkMessage({ header: value, payload: [], payloadBytes: 0 });
        } catch (error) {
          assert.equal(faultCode(error), "artifacts.wire", String(error));
        }
      }),
    );
  });

  const hash = new Uint8Array(HASH_BYTES);
  const refused: Record<string, unknown> = {
    "an unknown code": [99, 0],
    "a field too few": [6, 0],
    "a field too many": [6, 0, 1, 2],
    "a negative chunk": [6, 0, -1],
    "a fraction": [6, 0, 0.5],
    "a blob number out of range": [6, 1_024, 0],
    "a short root": [0, 0, hash.subarray(1), 1, 0, []],
    "a blob larger than any": [0, 0, hash, 2 ** 50, 0, []],
    "unknown flags": [0, 0, hash, 1, 8, []],
    "what is no node id": [17, 0, ["12D3KooW"]],
    "no list": { 0: 6 },
  };
  for (const [what, header] of Object.entries(refused)) {
    it(`refuse ${what}`, () => {
      assert.throws(() => decodeLinkMessage({ header, payload: [], payloadBytes: 0 }), { code: "artifacts.wire" });
    });
  }

  it("refuse payload where none belongs", () => {
    const frame = { header: [6, 0, 1], payload: [new Uint8Array(1)], payloadBytes: 1 };
    assert.throws(() => decodeLinkMessage(frame), { code: "artifacts.wire" });
  });
});
