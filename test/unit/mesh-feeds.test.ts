import assert from "node:assert/strict";
import fc from "fast-check";
import { SeededRandom } from "#core";
import { Feeds } from "../../src/mesh/feeds.ts";

type Neighbour = { nodeId: string; site: string };
const neighbours = (here: number, elsewhere: number): Neighbour[] => [
  ...Array.from({ length: here }, (_, i) => ({ nodeId: `h${i}`, site: "berlin" })),
  ...Array.from({ length: elsewhere }, (_, i) => ({ nodeId: `e${i}`, site: "porto" })),
];
const shares = (feeds: Feeds): [here: number, elsewhere: number] => {
  const all = [...feeds.all()];
  return [all.filter((id) => id.startsWith("h")).length, all.filter((id) => id.startsWith("e")).length];
};

describe("feeds", () => {
  const table: readonly [here: number, elsewhere: number, wanted: [number, number]][] = [
    [12, 4, [2, 1]],
    [1, 7, [1, 2]],
    [0, 7, [0, 3]],
    [4, 2, [4, 2]],
    [12, 0, [3, 0]],
    [1, 1, [1, 1]],
  ];
  for (const [here, elsewhere, wanted] of table) {
    it(`are ${wanted.join(" here and ")} elsewhere of ${here} and ${elsewhere} neighbours`, () => {
      const feeds = new Feeds(new SeededRandom(1));
      feeds.fill(neighbours(here, elsewhere), "berlin");
      assert.deepEqual(shares(feeds), wanted);
    });
  }

  it("give way to the first neighbour of another site, which may be all that joins two sites", () => {
    const feeds = new Feeds(new SeededRandom(1));
    feeds.fill(neighbours(12, 0), "berlin");
    const { picked, dropped } = feeds.fill(neighbours(12, 1), "berlin");
    assert.deepEqual([picked, dropped.length, shares(feeds)], [["e0"], 1, [2, 1]]);
  });

  it("are three again when there are more neighbours than a few", () => {
    const feeds = new Feeds(new SeededRandom(1));
    feeds.fill(neighbours(5, 1), "berlin");
    const { picked, dropped } = feeds.fill(neighbours(12, 1), "berlin");
    assert.deepEqual([picked, dropped.length, shares(feeds)], [[], 3, [2, 1]]);
  });

  it("are turned over within their share, and kept where there is no other", () => {
    const feeds = new Feeds(new SeededRandom(1));
    feeds.fill(neighbours(12, 1), "berlin");
    for (let i = 0; i < 50; i++) {
      const { picked, dropped } = feeds.turn(neighbours(12, 1), "berlin");
      assert.deepEqual([picked.length, dropped.length, shares(feeds)], [1, 1, [2, 1]]);
    }
    const few = new Feeds(new SeededRandom(1));
    few.fill(neighbours(2, 1), "berlin");
    assert.deepEqual(few.turn(neighbours(2, 1), "berlin"), { picked: [], dropped: [] });
  });

  it("are three of a node's own choice, or all of a few, however many others ask for it", () => {
    const event = fc.record({
      type: fc.constantFrom("fill" as const, "turn" as const, "down" as const, "ask" as const, "stop" as const),
      here: fc.nat(8),
      elsewhere: fc.nat(4),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), fc.nat(), (events, seed) => {
        const feeds = new Feeds(new SeededRandom(seed));
        const picked = new Set<string>();
        let up = neighbours(8, 4);
        for (const { type, here, elsewhere } of events) {
          if (type === "ask" || type === "stop") feeds.pickedBy(`h${here}`, type === "ask");
          if (type === "down") {
            const next = neighbours(here, elsewhere);
            for (const { nodeId } of up.filter((one) => !next.some(({ nodeId }) => nodeId === one.nodeId))) {
              feeds.down(nodeId);
              picked.delete(nodeId);
            }
            up = next;
          }
          if (type === "fill" || type === "turn") {
            const change = type === "fill" ? feeds.fill(up, "berlin") : feeds.turn(up, "berlin");
            for (const id of change.dropped) assert.ok(picked.delete(id), "dropped what was not picked");
            for (const id of change.picked) picked.add(id);
          }
          if (type === "fill") assert.equal(picked.size, up.length <= 6 ? up.length : 3);
          for (const id of picked) assert.ok(feeds.all().has(id) && up.some(({ nodeId }) => nodeId === id));
        }
      }),
    );
  });
});
