import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeCbor } from "#core";
import { statementId, tagOf } from "../../src/mesh/statement.ts";
import { type HeldStatement, lackedBy, StatementTable } from "../../src/mesh/statement-table.ts";

const held = (topic: string, origin: string, boot: number, seq: number, text = ""): HeldStatement => {
  const encoded = encodeCbor([topic, origin, boot, seq, text]);
  const id = statementId(encoded);
  return { topic, origin, boot, seq, tag: tagOf(id), encoded, id };
};
const statements = fc.uniqueArray(
  fc.record({
    topic: fc.constantFrom("a", "b"),
    origin: fc.nat(40),
    boot: fc.nat(2),
    seq: fc.nat(2),
    text: fc.constantFrom("", "other"),
  }),
  { selector: ({ topic, origin }) => `${topic} ${origin}`, maxLength: 60 },
);
const fill = (
  all: readonly { topic: string; origin: number; boot: number; seq: number; text: string }[],
): StatementTable => {
  const table = new StatementTable();
  for (const { topic, origin, boot, seq, text } of all) table.put(held(topic, `n${origin}`, boot, seq, text));
  return table;
};

describe("a table of statements", () => {
  it("has the same digest whatever the order in which they came, and another one after any change", () => {
    fc.assert(
      fc.property(statements, (all) => {
        const table = fill(all);
        assert.deepEqual(table.digest(), fill(all.toReversed()).digest());
        for (const [i, one] of all.entries()) {
          const others = fill(all.with(i, { ...one, seq: one.seq + 1 }));
          assert.equal(table.differing(others.digest()).length, 1);
          const other = fill(all.map((each) => (each === one ? { ...one, text: "third" } : each)));
          assert.equal(table.differing(other.digest()).length, 1, "the same number, another word");
        }
      }),
      { numRuns: 30 },
    );
  });

  it("is equal to another once each has what it lacked in the buckets that differed", () => {
    fc.assert(
      fc.property(statements, statements, (ours, theirs) => {
        const [a, b] = [fill(ours), fill(theirs)];
        const buckets = a.differing(b.digest());
        const [atA, atB] = [a.inBuckets(buckets), b.inBuckets(buckets)];
        for (const statement of lackedBy(atB, atA)) b.put(statement);
        for (const statement of lackedBy(atA, atB)) a.put(statement);
        assert.deepEqual(a.digest(), b.digest());
      }),
    );
  });

  it("knows a statement by its bytes as long as it is the newest", () => {
    const table = new StatementTable();
    table.put(held("a", "n1", 1, 1));
    assert.ok(table.has(held("a", "n1", 1, 1).id));
    table.put(held("a", "n1", 1, 2));
    assert.deepEqual([table.has(held("a", "n1", 1, 1).id), table.has(held("a", "n1", 1, 2).id)], [false, true]);
  });

  it("holds 16 topics of one origin, so that it does not shut out the others, and 4,096 statements", () => {
    const table = new StatementTable();
    const kept = Array.from({ length: 20 }, (_, i) => table.put(held(`t${i}`, "n0", 1, 1)));
    assert.equal(kept.filter(Boolean).length, 16);
    for (let i = 1; i < 5_000; i++) table.put(held("a", `n${i}`, 1, 1));
    assert.equal([...table.all()].length, 4_096);
    assert.ok(table.put(held("a", "n1", 1, 2)), "newer ones take the place of older ones");
  });

  it("has room again when it forgets an origin", () => {
    const table = new StatementTable();
    const empty = table.digest();
    for (let i = 0; i < 16; i++) table.put(held(`t${i}`, "n0", 1, 1));
    table.keepOnly((origin) => origin !== "n0");
    assert.deepEqual(table.digest(), empty);
    assert.ok(table.put(held("t17", "n0", 1, 1)));
  });
});
