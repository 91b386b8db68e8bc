import assert from "node:assert/strict";
import fc from "fast-check";
import { hasNodeIdForm, nodeIdOf } from "#identity";

describe("node id", () => {
  it("of any key has the form by which one is told from other text", () => {
    const key = fc.uint8Array({ minLength: 32, maxLength: 32 });
    fc.assert(fc.property(key, (bytes) => hasNodeIdForm(nodeIdOf(bytes))));
    for (const byte of [0, 255]) assert.ok(hasNodeIdForm(nodeIdOf(new Uint8Array(32).fill(byte))));
  });

  it("has no other form: not shorter, longer, or with a character that looks like another", () => {
    const id = nodeIdOf(new Uint8Array(32).fill(7));
    for (const text of [id.slice(0, -1), `${id}1`, ` ${id}`, `${id}\n`, `${id.slice(0, -1)}0`, `${id.slice(0, -1)}é`]) {
      assert.equal(hasNodeIdForm(text), false, text);
    }
  });
});
