import assert from "node:assert/strict";
import { encode, rfc8949EncodeOptions } from "cborg";
import { decodeCbor, encodeCbor, Fault, MAX_CBOR_DEPTH, MAX_CBOR_ITEMS } from "#core";
import fc from "fast-check";

const MAX_BYTES = 100_000;
const hex = (text: string): Buffer => Buffer.from(text, "hex");
const isRefusal = (error: unknown): boolean =>
  error instanceof Fault && error.code === "core.cbor" && error.exit === "invalid";

describe("CBOR", () => {
  const values = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: "small", maxDepth: 6 },
      fc.maxSafeInteger(),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => x + 0), // -0 has the form of 0
      fc.boolean(),
      fc.constant(null),
      fc.string({ unit: "grapheme" }),
      fc.uint8Array({ maxLength: 40 }),
      fc.array(tie("value"), { maxLength: 6 }),
      fc.dictionary(fc.string({ unit: "grapheme", maxLength: 6 }), tie("value"), { maxKeys: 6, noNullPrototype: true }),
    ),
  })).value;

  it("gives back what went in, from its one encoding, whichever encoder writes it", () => {
    fc.assert(
      fc.property(values, (value) => {
        const bytes = encodeCbor(value);
        assert.deepEqual(Buffer.from(bytes), Buffer.from(encode(value, rfc8949EncodeOptions)));
        const back = decodeCbor(bytes, MAX_BYTES);
        assert.deepEqual(back, value);
        assert.deepEqual(encodeCbor(back), bytes);
      }),
    );
  });

  it("has one encoding for lists of numbers, whichever encoder writes them, and one reading", () => {
    const uints = fc.oneof(
      fc.nat(30),
      fc.nat(300),
      fc.nat(70_000),
      fc.maxSafeNat(),
      fc.constantFrom(2 ** 32 - 1, 2 ** 32),
    );
    const lists = fc.array(fc.oneof(uints, fc.array(uints, { maxLength: 300 }), fc.array(fc.array(uints))));
    fc.assert(
      fc.property(lists, (list) => {
        const bytes = encodeCbor(list);
        assert.deepEqual(Buffer.from(bytes), Buffer.from(encode(list, rfc8949EncodeOptions)));
        assert.deepEqual(decodeCbor(bytes, MAX_BYTES * 10), list);
      }),
    );
  });

  it("does not depend on the order in which keys were added", () => {
    assert.deepEqual(encodeCbor({ bb: 1, a: 2, c: 3 }), encodeCbor({ c: 3, a: 2, bb: 1 }));
  });

  it("refuses any bytes that are not the encoding of what they say, with one fault", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        let value: unknown;
        try {
          value = decodeCbor(bytes, MAX_BYTES);
        } catch (error) {
          assert.ok(isRefusal(error), String(error));
          return;
        }
        assert.deepEqual(Buffer.from(encodeCbor(value)), Buffer.from(bytes));
      }),
      { numRuns: 2_000 },
    );
  });

  it("refuses one byte changed in a valid message, or reads it as another valid message", () => {
    fc.assert(
      fc.property(values, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, place, flip) => {
        const bytes = Buffer.from(encodeCbor(value));
        const at = place % bytes.length;
        bytes.writeUInt8(bytes.readUInt8(at) ^ flip, at);
        try {
          assert.deepEqual(Buffer.from(encodeCbor(decodeCbor(bytes, MAX_BYTES))), bytes);
        } catch (error) {
          assert.ok(isRefusal(error), String(error));
        }
      }),
      { numRuns: 1_000 },
    );
  });

  const refused: [why: string, bytes: string][] = [
    ["nothing", ""],
    ["two values", "0000"],
    ["an integer in more bytes than it needs", "1800"],
    ["a length in more bytes than it needs", "580161"],
    ["a float that is an integer", "f93c00"],
    ["minus zero", "f98000"],
    ["a float in more bytes than it needs", "fb3ff8000000000000"],
    ["NaN", "f97e00"],
    ["infinity", "f97c00"],
    ["undefined", "f7"],
    ["a simple value", "f0"],
    ["a tag", "c100"],
    ["a bigint tag", "c249010000000000000000"],
    ["an integer of 2^53", "1b0020000000000000"],
    ["an integer of -2^53", "3b001fffffffffffff"],
    ["the largest integer there is", "1bffffffffffffffff"],
    ["an indefinite array", "9f00ff"],
    ["an indefinite map", "bf616100ff"],
    ["an indefinite string", "7f6161ff"],
    ["a lone break", "ff"],
    ["a key that stands twice", "a2616101616101"],
    ["keys out of order", "a2616201616101"],
    ["a key that is no string", "a10101"],
    ["invalid UTF-8", "62c328"],
    ["half a surrogate pair", "63eda080"],
    ["an array that promises 2^32 items", "9affffffff"],
    ["a map that promises 2^53 items", "bb001fffffffffffff"],
    ["a byte string that promises 4 GiB", "5affffffff"],
    ["a reserved length", "1c"],
    ["nesting over the limit", `${"81".repeat(MAX_CBOR_DEPTH + 1)}00`],
    ["nested maps over the limit", `${"a16161".repeat(MAX_CBOR_DEPTH + 1)}00`],
    ["nested tags", "c1".repeat(50_000)],
    ["an endless nest", "81".repeat(MAX_BYTES)],
    ["an endless nest behind a value", `8200${"81".repeat(50_000)}`],
    ["an endless nest behind a break", `ff${"81".repeat(50_000)}`],
    ["an endless nest behind a reserved length", `1c${"81".repeat(50_000)}`],
  ];
  for (const [why, text] of refused) {
    it(`refuses ${why}`, () => {
      assert.throws(() => decodeCbor(hex(text), MAX_BYTES), isRefusal);
    });
  }

  it("takes nesting up to the limit, and the largest integers", () => {
    for (const text of [
      `${"81".repeat(MAX_CBOR_DEPTH)}00`,
      `${"a16161".repeat(MAX_CBOR_DEPTH)}00`,
      "1b001fffffffffffff",
      "3b001ffffffffffffe",
    ]) {
      assert.doesNotThrow(() => decodeCbor(hex(text), MAX_BYTES));
    }
  });

  it("takes as many values as the limit, and refuses one more before it builds them", () => {
    const most = Array.from({ length: MAX_CBOR_ITEMS - 1 }, () => 0); // and the array itself
    assert.deepEqual(decodeCbor(encodeCbor(most), MAX_BYTES), most);
    const more = Buffer.concat([
      hex(`9a${MAX_CBOR_ITEMS.toString(16).padStart(8, "0")}`),
      Buffer.alloc(MAX_CBOR_ITEMS),
    ]);
    assert.throws(() => decodeCbor(more, MAX_BYTES), /more than 65536 values/u);
  });

  it("does not count items side by side as nesting", () => {
    const wide = Array.from({ length: 100 }, () => [[1], { a: [2] }]);
    assert.deepEqual(decodeCbor(encodeCbor(wide), MAX_BYTES), wide);
  });

  it("refuses a message over the limit before it looks at it", () => {
    assert.throws(() => decodeCbor(hex("820000"), 2), /3 bytes is over the limit of 2/u);
  });

  it("gives no object a prototype from the wire", () => {
    const value = decodeCbor(hex("a1695f5f70726f746f5f5fa16161f5"), MAX_BYTES);
    assert.equal(Object.getPrototypeOf(value), Object.prototype);
    assert.ok(typeof value === "object" && value !== null && !("a" in value));
  });

  for (const [what, value] of Object.entries({
    undefined: { a: undefined },
    NaN: Number.NaN,
    infinity: [Number.POSITIVE_INFINITY],
    "an integer of 2^53": 2n ** 53n,
    "a Map": new Map([[1, 2]]),
    "a Date": new Date(0),
    "more values than a peer takes": Array.from({ length: MAX_CBOR_ITEMS }, () => 0),
    "more levels than a peer takes": JSON.parse("[".repeat(MAX_CBOR_DEPTH + 1) + "]".repeat(MAX_CBOR_DEPTH + 1)),
    "half a surrogate pair": "\ud800",
    "half a surrogate pair as a key": { "\ud800": 1 },
  })) {
    it(`does not encode ${what}, which no peer would take`, () => {
      assert.throws(() => encodeCbor(value), { code: "core.cbor-encode" });
    });
  }
});
