import assert from "node:assert/strict";
import { decodeEnvelope, type Envelope, encodeEnvelope, Fault, MAX_SIGNATURES, preAuthEncoding } from "#core";
import fc from "fast-check";

const MAX_BYTES = 100_000;
const KEYID = "ab".repeat(32);

const many = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ keyid: i.toString(16).padStart(64, "0"), sig: "AAAA" }));
const decode = (value: unknown): Envelope => decodeEnvelope(Buffer.from(JSON.stringify(value)), MAX_BYTES);

describe("DSSE", () => {
  it("signs what the specification's own test vector signs", () => {
    const signed = preAuthEncoding("http://example.com/HelloWorld", Buffer.from("hello world"));
    assert.equal(Buffer.from(signed).toString(), "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
  });

  it("counts bytes, not characters, and keeps any payload as it is", () => {
    assert.equal(Buffer.from(preAuthEncoding("é", Buffer.from("ü€"))).toString(), "DSSEv1 2 é 5 ü€");
    assert.deepEqual(
      Buffer.from(preAuthEncoding("", Uint8Array.of(0, 255))),
      Buffer.from("DSSEv1 0  2 \0\xff", "latin1"),
    );
  });

  it("never signs the same bytes for two different documents", () => {
    const document = fc.tuple(fc.string({ unit: "binary-ascii", maxLength: 12 }), fc.uint8Array({ maxLength: 12 }));
    fc.assert(
      fc.property(document, document, ([typeA, a], [typeB, b]) => {
        const same = typeA === typeB && Buffer.compare(a, b) === 0;
        assert.equal(Buffer.compare(preAuthEncoding(typeA, a), preAuthEncoding(typeB, b)) === 0, same);
      }),
    );
  });

  it("gives back the envelope that was written", () => {
    const signature = fc.record({
      keyid: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("hex")),
      sig: fc.uint8Array({ maxLength: 70 }),
    });
    const signatures = fc.uniqueArray(signature, { selector: ({ keyid }) => keyid, minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), signatures, (payload, signatures) => {
        const bytes = encodeEnvelope({ payloadType: "application/x", payload, signatures });
        const back = decodeEnvelope(bytes, MAX_BYTES);
        assert.deepEqual(plain(back), plain({ payloadType: "application/x", payload, signatures }));
        assert.deepEqual(encodeEnvelope(back), bytes);
      }),
    );
  });

  it("refuses any other bytes with one of its faults", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), (text) => {
        try {
          decodeEnvelope(Buffer.from(text), MAX_BYTES);
        } catch (error) {
          assert.ok(error instanceof Fault && ["core.dsse", "core.json"].includes(error.code), String(error));
        }
      }),
    );
  });

  const good = { payloadType: "t/x", payload: "aGk=", signatures: [{ keyid: KEYID, sig: "AAAA" }] };
  const refused: [why: string, value: unknown][] = [
    ["no object", [good]],
    ["null", null],
    ["a missing member", { payloadType: "t/x", payload: "aGk=" }],
    ["a member that it does not know", { ...good, extra: 1 }],
    ["a payload that is no string", { ...good, payload: 1 }],
    ["base64 without padding", { ...good, payload: "aGk" }],
    ["base64 with bits after the end", { ...good, payload: "aGl=" }],
    ["base64 of the URL alphabet", { ...good, payload: "_-8=" }],
    ["base64 with a line break", { ...good, payload: "aGk=\n" }],
    ["an empty type", { ...good, payloadType: "" }],
    ["a type with a space", { ...good, payloadType: "t x" }],
    ["a type beyond ASCII", { ...good, payloadType: "t/х" }],
    ["a type of 201 characters", { ...good, payloadType: "t".repeat(201) }],
    ["no signature", { ...good, signatures: [] }],
    ["signatures that are no list", { ...good, signatures: { 0: good.signatures[0] } }],
    ["one signature too many", { ...good, signatures: many(MAX_SIGNATURES + 1) }],
    ["a signature with a member too many", { ...good, signatures: [{ keyid: KEYID, sig: "AAAA", cert: "" }] }],
    ["a signature that is no object", { ...good, signatures: ["AAAA"] }],
    ["a key that signed twice", { ...good, signatures: [...good.signatures, { keyid: KEYID, sig: "BBBB" }] }],
    ["a keyid in capitals", { ...good, signatures: [{ keyid: KEYID.toUpperCase(), sig: "AAAA" }] }],
    ["a keyid that is too short", { ...good, signatures: [{ keyid: "ab", sig: "AAAA" }] }],
    ["a signature without padding", { ...good, signatures: [{ keyid: KEYID, sig: "AAA" }] }],
  ];
  for (const [why, value] of refused) {
    it(`refuses ${why}`, () => {
      assert.throws(() => decode(value), { code: "core.dsse", exit: "invalid" });
    });
  }

  it("takes the good envelope that those were made from, and as many signatures as the limit", () => {
    assert.equal(Buffer.from(decode(good).payload).toString(), "hi");
    assert.equal(decode({ ...good, signatures: many(MAX_SIGNATURES) }).signatures.length, MAX_SIGNATURES);
  });

  it("refuses a member that stands twice, and an envelope over the limit", () => {
    const text = JSON.stringify(good);
    assert.throws(() => decodeEnvelope(Buffer.from(text.replace("{", '{"payload":"",')), MAX_BYTES), {
      code: "core.json",
    });
    assert.throws(() => decodeEnvelope(Buffer.from(text), text.length - 1), { code: "core.json" });
  });
});

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** With byte arrays as text, so that a Buffer equals an array. */
function plain({ payloadType, payload, signatures }: Envelope): unknown {
  return [payloadType, hex(payload), signatures.map(({ keyid, sig }) => [keyid, hex(sig)])];
}
