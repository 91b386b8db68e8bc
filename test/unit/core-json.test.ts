import assert from "node:assert/strict";
import { Fault, MAX_JSON_DEPTH, parseJson } from "#core";
import fc from "fast-check";

const MAX_BYTES = 1_100_000;
const parse = (text: string): unknown => parseJson(Buffer.from(text), MAX_BYTES);
const isRefusal = (error: unknown): boolean =>
  error instanceof Fault && error.code === "core.json" && error.exit === "invalid";

/** JSON.parse takes 12 to 20 ms for the keys, so that this is 50 ms or so. Counting coverage makes each branch many times dearer. Quadratic time takes minutes. */
const MAX_RATIO = process.env["NODE_V8_COVERAGE"] === undefined ? 3 : 200;

describe("parseJson", () => {
  it("reads what JSON.parse reads", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 8, stringUnit: "grapheme" }), fc.integer({ min: 0, max: 4 }), (text, indent) => {
        const value: unknown = JSON.parse(text);
        fc.pre(exactIntegers(value));
        assert.deepEqual(parse(JSON.stringify(value, null, indent)), value);
      }),
    );
  });

  it("reads it, or refuses it with one fault, whatever the text", () => {
    const tokens = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"',
      "\\",
      '"a"',
      "1",
      "-",
      "e",
      ".",
      " ",
      "null",
      "\\u",
      "\n",
      "é",
    );
    fc.assert(
      fc.property(fc.array(tokens, { maxLength: 30 }), (pieces) => {
        const text = pieces.join("");
        let ours: unknown = isRefusal;
        try {
          ours = parse(text);
        } catch (error) {
          assert.ok(isRefusal(error), String(error));
          return;
        }
        assert.deepEqual(ours, JSON.parse(text));
      }),
      { numRuns: 3_000 },
    );
  });

  it("refuses a key that stands twice, wherever and however it is written", () => {
    const key = fc.string({ minLength: 1, maxLength: 4, unit: "grapheme" });
    fc.assert(
      fc.property(key, fc.boolean(), fc.boolean(), fc.nat(3), (name, first, second, depth) => {
        const write = (asEscape: boolean): string => (asEscape ? escapedString(name) : JSON.stringify(name));
        const text = `{${write(first)}:[{}],"other key":2, ${write(second)} : {"x":1}}`;
        assert.throws(() => parse("[".repeat(depth) + text + "]".repeat(depth)), /stands twice/u);
      }),
    );
  });

  it("lets one key stand in several objects, and as a value", () => {
    for (const text of [
      '{"a":{"a":1},"b":[{"a":1},{"a":2}]}',
      '{"a":"a","b":"a"}',
      '["a","a"]',
      '{"a":"{\\"a\\":1,\\"a\\":2}"}',
    ]) {
      assert.deepEqual(parse(text), JSON.parse(text));
    }
  });

  const refused: [why: string, text: string, message: RegExp][] = [
    ["a key and its escaped form", '{"a":1,"\\u0061":2}', /stands twice in one object, at offset 7/u],
    ["an integer of 2^53", '{"n":9007199254740992}', /number 9007199254740992 at offset 5/u],
    ["an integer of -2^53", "-9007199254740992", /too large/u],
    ["an integer that would be rounded", "[9007199254740993]", /too large/u],
    ["a number beyond a double", "1e400", /too large/u],
    ["a number beyond a double below zero", "[-1.0E+999]", /too large/u],
    ["half a surrogate pair", '["\\ud800"]', /half a surrogate pair at offset 1/u],
    ["half a surrogate pair in a key", '{"\\udc00x":1}', /half a surrogate pair/u],
    ["a byte order mark", "\ufeff{}", /not valid JSON/u],
    ["nothing", "", /invalid JSON/u],
    ["two values", "{} {}", /invalid JSON/u],
    ["a comment", "{} // x", /invalid JSON/u],
    ["an open string", '{"a', /invalid JSON/u],
    ["a control character in a string", '"\n"', /invalid JSON/u],
    [
      "nesting over the limit",
      "[".repeat(MAX_JSON_DEPTH + 1) + "]".repeat(MAX_JSON_DEPTH + 1),
      /nested deeper than 16/u,
    ],
    ["brackets that close first", `]]]]${"[".repeat(MAX_JSON_DEPTH + 1)}`, /nested deeper than 16/u],
  ];
  for (const [why, text, message] of refused) {
    it(`refuses ${why}`, () => {
      assert.throws(
        () => parse(text),
        (error) => isRefusal(error) && error instanceof Fault && message.test(error.message),
      );
    });
  }

  it("refuses invalid UTF-8 and what is over the limit", () => {
    assert.throws(() => parseJson(Buffer.from([0x22, 0xc3, 0x28, 0x22]), 10), /not valid UTF-8/u);
    assert.throws(() => parseJson(Buffer.from("[1]"), 2), /3 bytes is over the limit of 2/u);
  });

  it("takes nesting up to the limit, exact integers, and a whole surrogate pair", () => {
    const deep = "[".repeat(MAX_JSON_DEPTH) + "]".repeat(MAX_JSON_DEPTH);
    for (const text of [
      deep,
      "9007199254740991",
      "-9007199254740991",
      "0.1",
      "1e300",
      '"\\ud83d\\ude00"',
      '{"__proto__":{"a":1}}',
    ]) {
      assert.deepEqual(parse(text), JSON.parse(text));
    }
  });

  it("says no more of a hostile key or number than fits a line", () => {
    for (const text of [`{"${"k".repeat(100_000)}":1,"${"k".repeat(100_000)}":2}`, `[${"9".repeat(100_000)}]`]) {
      assert.throws(
        () => parse(text),
        (error) => isRefusal(error) && error instanceof Fault && error.message.length < 200,
      );
    }
  });

  const MEGABYTE = 1_000_000;
  const hostile: Record<string, string> = {
    "an open string": `"${"a".repeat(MEGABYTE)}`,
    "an open string of escapes": '"' + '\\"'.repeat(MEGABYTE / 2),
    "an open string of backslashes": '"' + "\\".repeat(MEGABYTE),
    quotes: '"'.repeat(MEGABYTE),
    "strings without commas": '"a"'.repeat(MEGABYTE / 3),
    "a long string": `"${"a".repeat(MEGABYTE)}"`,
    "spaces after strings": `["a"${" ".repeat(MEGABYTE)}]`,
    "open objects": "{".repeat(MEGABYTE),
    "open arrays": '{"a":'.repeat(MEGABYTE / 5),
    digits: "1".repeat(MEGABYTE),
    "signs and dots": "-.".repeat(MEGABYTE / 2),
    "an exponent without end": `1e${"0".repeat(MEGABYTE)}`,
    "many small numbers": `[${"1,".repeat(MEGABYTE / 2)}1]`,
    "many escaped strings": `[${'"\\u0061",'.repeat(MEGABYTE / 9)}1]`,
    "many keys": `{${Array.from({ length: MEGABYTE / 13 }, (_, i) => `"${i.toString(36).padStart(6, "_")}":1`).join()}}`,
    "many empty objects": `[${"{},".repeat(MEGABYTE / 3)}1]`,
  };
  for (const [what, text] of Object.entries(hostile)) {
    it(`takes 1 MB of ${what} in at most ${MAX_RATIO} times what JSON.parse needs for many keys`, () => {
      const bytes = Buffer.from(text);
      const yardMs = fiveTimesMs(() => JSON.parse(hostile["many keys"] ?? ""));
      const tookMs = fiveTimesMs(() => assert.ok(isReadOrRefused(bytes)));
      assert.ok(tookMs <= MAX_RATIO * yardMs, `${tookMs.toFixed(1)} ms, and ${yardMs.toFixed(1)}`);
    });
  }
});

/** The processor time of this thread, so that other processes do not count; the kernel may count it in steps of 4 ms. */
function fiveTimesMs(work: () => void): number {
  const before = process.threadCpuUsage();
  for (let i = 0; i < 5; i++) work();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1_000;
}

function isReadOrRefused(bytes: Uint8Array): boolean {
  try {
    parseJson(bytes, MAX_BYTES);
    return true;
  } catch (error) {
    return isRefusal(error);
  }
}

/** Whether every number is one that `parseJson` takes. */
function exactIntegers(value: unknown): boolean {
  if (typeof value === "number") return Number.isSafeInteger(value) || /[.e]/u.test(String(value));
  return typeof value !== "object" || value === null || Object.values(value).every(exactIntegers);
}

/** A JSON string with every character as an escape. */
function escapedString(text: string): string {
  const units = Array.from({ length: text.length }, (_, i) => text.charCodeAt(i).toString(16).padStart(4, "0"));
  return `"${units.map((unit) => `\\u${unit}`).join("")}"`;
}
