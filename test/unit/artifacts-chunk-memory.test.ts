import assert from "node:assert/strict";
import fc from "fast-check";
import { ChunkMemory, type Slot } from "../../src/artifacts/chunk-memory.ts";

const KIB = 1024;

describe("artifacts: memory for chunks", () => {
  it("uses memory again only when nobody reads it any more", () => {
    const memory = new ChunkMemory(512 * KIB, 1024 * KIB);
    const evicted: string[] = [];
    const kept = (name: string): Slot => {
      const slot = memory.take(256 * KIB);
      memory.keep(slot, () => evicted.push(name));
      return slot;
    };
    const first = kept("first");
    const second = kept("second");
    memory.release(second);
    const third = kept("third");
    assert.deepEqual(evicted, ["first"]);
    assert.notEqual(third.buffer, first.buffer); // somebody still sends it
    kept("fourth");
    assert.deepEqual(evicted, ["first", "second"]);
    assert.equal(memory.take(256 * KIB).buffer, second.buffer);
  });

  it("holds no more than its limit, whatever is taken, released and dropped", () => {
    const step = fc.record({
      act: fc.constantFrom("take", "keep", "release", "drop", "trim"),
      at: fc.nat(20),
      large: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const memory = new ChunkMemory(2 * 1024 * KIB, 4 * 1024 * KIB);
        const inUse: Slot[] = [];
        for (const { act, at, large } of steps) {
          const slot = inUse[at % Math.max(1, inUse.length)];
          if (act === "take") {
            const taken = memory.take(large ? 1024 * KIB : 256 * KIB);
            assert.ok(!inUse.some(({ buffer }) => buffer === taken.buffer));
            inUse.push(taken);
          } else if (act === "trim") memory.trim();
          else if (slot !== undefined && act === "keep") memory.keep(slot, () => undefined);
          else if (slot !== undefined && act === "drop") memory.drop(slot);
          else if (slot !== undefined) {
            memory.release(slot);
            inUse.splice(inUse.indexOf(slot), 1);
          }
          assert.ok(memory.heldBytes <= 4 * 1024 * KIB);
        }
      }),
      { numRuns: 200 },
    );
  });
});
