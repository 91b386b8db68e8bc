import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { faultCode } from "#core";
import { judge, mutate } from "../mutants/mutate.ts";
import { MUTANTS } from "../mutants/mutants.ts";

const read = (file: string): string => readFileSync(join(import.meta.dirname, "..", "..", file), "utf8");

describe("mutants", () => {
  for (const mutant of MUTANTS) {
    it(`can switch off "${mutant.name}", and names a test that there is`, () => {
      const source = read(mutant.file);
      assert.notEqual(mutate(source, mutant), source);
      const [head = ""] = mutant.title.split(" (seed"); // titles of a table end in what differs
      assert.ok(read(mutant.test).includes(head), `${mutant.test} has no "${mutant.title}"`);
    });
  }

  const [mutant] = MUTANTS;
  assert.ok(mutant);

  it("says so when the text is gone, or stands twice", () => {
    for (const source of ["", `${mutant.from} ${mutant.from}`]) {
      assert.throws(
        () => mutate(source, mutant),
        (error) => faultCode(error) === "mutants.stale",
      );
    }
  });

  it("counts only a test that is green without the change and red with it", () => {
    const { title } = mutant;
    const green = { passes: [{ title }], failures: [] };
    const red = { passes: [], failures: [{ title }] };
    const other = { passes: [{ title: "another" }], failures: [{ title: "yet another" }] };
    assert.equal(judge(mutant, green, red), undefined);
    assert.match(judge(mutant, green, green) ?? "", /does not notice/u);
    assert.match(judge(mutant, green, other) ?? "", /does not notice/u);
    assert.match(judge(mutant, red, red) ?? "", /not green/u);
    assert.match(judge(mutant, other, red) ?? "", /not green/u);
    assert.match(judge(mutant, undefined, red) ?? "", /not green/u);
    assert.match(judge(mutant, green, undefined) ?? "", /no end/u);
  });
});
