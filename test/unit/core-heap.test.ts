import assert from "node:assert/strict";
import { MinHeap } from "#core";
import fc from "fast-check";

describe("heap", () => {
  it("gives back what was put in, in order", () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), (keys) => {
        const heap = new MinHeap();
        for (const [i, key] of keys.entries()) heap.push(key, i);
        assert.equal(heap.least, keys.length === 0 ? undefined : Math.min(...keys));
        const out = keys.map(() => heap.pop());
        assert.deepEqual(
          out.map((item) => item?.key),
          keys.toSorted((a, b) => a - b),
        );
        assert.equal(new Set(out.map((item) => item?.value)).size, keys.length);
        assert.equal(heap.pop(), undefined);
      }),
    );
  });
});
