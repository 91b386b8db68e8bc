import assert from "node:assert/strict";
import { type Random, SeededRandom, SystemRandom } from "#core";
import fc from "fast-check";

const draw = (random: Random): unknown[] => [random.unit(), random.below(1_000), [...random.bytes(9)], random.unit()];

describe("seeded random", () => {
  it("replays a run from its seed", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        assert.deepEqual(draw(new SeededRandom(seed)), draw(new SeededRandom(seed)));
      }),
    );
  });

  it("gives another run for another seed", () => {
    assert.notDeepEqual(draw(new SeededRandom(1)), draw(new SeededRandom(2)));
  });

  it("still gives the numbers that recorded seeds were found with", () => {
    const random = new SeededRandom(42);
    assert.deepEqual(
      Array.from({ length: 4 }, () => random.below(1_000_000)),
      [660_615, 126_880, 111_701, 814_939],
    );
  });

  it("spreads over its range", () => {
    const random = new SeededRandom(7);
    const counts = Array.from({ length: 10 }, () => 0);
    for (let i = 0; i < 10_000; i++) {
      const bucket = random.below(10);
      counts[bucket] = (counts[bucket] ?? 0) + 1;
    }
    // Chi-squared with 9 degrees of freedom: 27.9 is exceeded by chance once in 1,000; the seed is fixed.
    assert.ok(counts.reduce((sum, n) => sum + (n - 1_000) ** 2 / 1_000, 0) < 27.9, counts.join());
  });
});

for (const [name, random] of Object.entries({ seeded: new SeededRandom(3), system: new SystemRandom() })) {
  describe(`random contract: ${name}`, () => {
    it("stays in the half-open range", () => {
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 2 ** 32 }), (limit) => {
          const [unit, below] = [random.unit(), random.below(limit)];
          assert.ok(unit >= 0 && unit < 1);
          assert.ok(Number.isInteger(below) && below >= 0 && below < limit);
        }),
      );
    });

    it("gives as many bytes as asked for, and not twice the same", () => {
      assert.equal(random.bytes(0).length, 0);
      assert.equal(random.bytes(33).length, 33);
      assert.notDeepEqual(random.bytes(16), random.bytes(16));
    });
  });
}
