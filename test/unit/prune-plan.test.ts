import assert from "node:assert/strict";
import fc from "fast-check";
import { type Holding, planPrune } from "../../src/daemon/prune-plan.ts";

const sizes: Record<string, number> = { a: 100, b: 200, c: 400, shared: 1_000 };
const sizeOf = (root: string): number => sizes[root] ?? 0;
const held = (name: string, usedMs: number, more: Partial<Holding> = {}): Holding => ({
  name,
  roots: [name],
  gone: false,
  usedMs,
  ...more,
});
const names = (holdings: readonly Holding[], needed: number): string[] =>
  planPrune(holdings, sizeOf, needed).remove.map(({ holding }) => holding.name);

describe("prune plan", () => {
  it("takes the least recently used first, and no more than is needed", () => {
    const all = [held("a", 3), held("b", 1), held("c", 2)];
    assert.deepEqual(names(all, 1), ["b"]);
    assert.deepEqual(names(all, 201), ["b", "c"]);
    assert.deepEqual(names(all, Number.POSITIVE_INFINITY), ["b", "c", "a"]);
    assert.deepEqual(names(all, 0), []);
  });

  it("takes what is gone before all else", () => {
    assert.deepEqual(names([held("a", 1), held("b", 9, { gone: true })], 1), ["b"]);
  });

  it("leaves what has a reason to stay, and says which", () => {
    const plan = planPrune([held("a", 1, { keep: "pinned" }), held("b", 2)], sizeOf, Number.POSITIVE_INFINITY);
    assert.deepEqual(
      plan.kept.map(({ holding, keep }) => [holding.name, keep]),
      [["a", "pinned"]],
    );
    assert.equal(plan.freesBytes, 200);
  });

  it("counts a shared blob once the last that holds it goes, and never while something that stays holds it", () => {
    const first = held("a", 1, { roots: ["a", "shared"] });
    const second = held("b", 2, { roots: ["b", "shared"] });
    const plan = planPrune([first, second], sizeOf, Number.POSITIVE_INFINITY);
    assert.deepEqual(
      plan.remove.map(({ freesBytes }) => freesBytes),
      [100, 1_200],
    );
    const kept = planPrune([first, { ...second, keep: "in use" }], sizeOf, Number.POSITIVE_INFINITY);
    assert.equal(kept.freesBytes, 100);
  });

  it("never removes what must stay, frees what it says, and stops as soon as that is enough", () => {
    const holding = fc.record({
      name: fc.string(),
      roots: fc.array(fc.constantFrom(...Object.keys(sizes)), { maxLength: 4 }),
      gone: fc.boolean(),
      usedMs: fc.nat(),
      keep: fc.constantFrom("pinned" as const, undefined),
    });
    const toHolding = ({ keep, ...rest }: { keep: "pinned" | undefined } & Holding): Holding =>
      keep === undefined ? rest : { ...rest, keep };
    fc.assert(
      fc.property(fc.array(holding), fc.nat(3_000), (drawn, needed) => {
        const all = drawn.map((one) => toHolding(one as Holding & { keep: "pinned" | undefined }));
        const { remove, freesBytes } = planPrune(all, sizeOf, needed);
        const gone = new Set(remove.map(({ holding }) => holding));
        assert.ok([...gone].every(({ keep }) => keep === undefined));
        const left = new Set(all.filter((one) => !gone.has(one)).flatMap(({ roots }) => roots));
        const freed = new Set([...gone].flatMap(({ roots }) => roots).filter((root) => !left.has(root)));
        assert.equal(
          freesBytes,
          [...freed].reduce((sum, root) => sum + sizeOf(root), 0),
        );
        const last = remove.at(-1);
        if (last !== undefined) assert.ok(freesBytes - last.freesBytes < needed);
        else assert.ok(needed === 0 || all.every(({ keep }) => keep !== undefined));
      }),
    );
  });
});
