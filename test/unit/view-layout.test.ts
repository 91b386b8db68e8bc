import assert from "node:assert/strict";
import { hexagonAt, inNaturalOrder, layOut, NODE_GAP } from "../../src/view/page/layout.ts";

/** 1,000 nodes in sites of differing sizes: the first has 4, each next one 2 more, the last what is left. */
function thousand(): Map<string, string[]> {
  return new Map(
    Array.from({ length: 30 }, (_, site) => {
      const count = site === 29 ? 72 : 4 + 2 * site;
      return [`site-${site + 1}`, Array.from({ length: count }, (_, node) => `n${site + 1}-${node + 1}`)];
    }),
  );
}

describe("layout of the chart", () => {
  it("puts 1,000 nodes of 30 sites where none overlap, nor do their sites", () => {
    const { nodes, sites } = layOut(thousand());
    assert.equal(nodes.size, 1_000);
    const points = [...nodes.values()];
    let least = Number.POSITIVE_INFINITY;
    for (const [i, a] of points.entries())
      for (const b of points.slice(i + 1)) least = Math.min(least, Math.hypot(a.x - b.x, a.y - b.y));
    assert.ok(least > NODE_GAP * 0.999, `${least}`);
    const discs = [...sites.values()];
    for (const [i, a] of discs.entries())
      for (const b of discs.slice(i + 1)) assert.ok(Math.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius);
  });

  it("keeps each node within its site", () => {
    const given = thousand();
    const { nodes, sites } = layOut(given);
    for (const [site, names] of given) {
      const disc = sites.get(site) ?? assert.fail();
      for (const name of names) {
        const { x, y } = nodes.get(name) ?? assert.fail();
        assert.ok(Math.hypot(x - disc.x, y - disc.y) + NODE_GAP / 2 <= disc.radius);
      }
    }
  });

  it("is the same whatever order things come in", () => {
    const given = thousand();
    const turned = new Map([...given].toReversed().map(([site, names]) => [site, names.toReversed()]));
    const [one, other] = [layOut(given), layOut(turned)];
    for (const [name, point] of one.nodes) assert.deepEqual(other.nodes.get(name), point);
  });

  it("moves a node by one place at most when one more comes, and those of other sites not at all", () => {
    const before = thousand();
    const site = "site-20"; // 42 nodes: the spiral's turn has room
    const after = new Map(before).set(site, [...(before.get(site) ?? []), "n20-0"]);
    const [one, other] = [layOut(before), layOut(after)];
    for (const [name, a] of one.nodes) {
      const b = other.nodes.get(name) ?? assert.fail();
      const moved = Math.hypot(a.x - b.x, a.y - b.y);
      assert.ok(moved <= (name.startsWith("n20-") ? NODE_GAP * 1.001 : 0), `${name} by ${moved}`);
    }
  });

  it("puts places that follow each other on the spiral side by side", () => {
    const seen = new Set<string>();
    for (let place = 0; place < 400; place += 1) {
      const [a, b] = [hexagonAt(place), hexagonAt(place + 1)];
      assert.ok(Math.abs(Math.hypot(a.x - b.x, a.y - b.y) - 1) < 1e-9, `${place}`);
      seen.add(`${a.x.toFixed(3)},${a.y.toFixed(3)}`);
    }
    assert.equal(seen.size, 400);
  });

  it("takes no site, one, two, and one of 500 beside one of 1", () => {
    assert.equal(layOut(new Map()).nodes.size, 0);
    assert.deepEqual([...layOut(new Map([["a", ["x"]]])).nodes.values()], [{ x: 0, y: 0 }]);
    for (const counts of [
      [1, 1],
      [500, 1],
      [1, 1, 300],
    ]) {
      const given = new Map(counts.map((count, i) => [`s${i}`, Array.from({ length: count }, (_, j) => `${i}-${j}`)]));
      const [a, b] = [...layOut(given).sites.values()];
      assert.ok(a !== undefined && b !== undefined && Math.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius);
    }
  });

  it("sorts cam-2 before cam-10", () => {
    assert.deepEqual(["cam-10", "cam-2", "cam-1"].toSorted(inNaturalOrder), ["cam-1", "cam-2", "cam-10"]);
  });
});
