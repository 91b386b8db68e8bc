import assert from "node:assert/strict";
import { LinkGraph } from "../../src/routing/link-graph.ts";
import { TellPace } from "../../src/routing/tell-pace.ts";

describe("routing: when a node tells of its links again", () => {
  it("is at once what was never told, and after the usual wait what was told once", () => {
    const pace = new TellPace();
    assert.ok(pace.nextMs(2_000, 0) <= 0);
    pace.told(100);
    assert.equal(pace.nextMs(2_000, 150), 2_100);
  });

  it("takes twice as long each time while there is always something, up to a bound", () => {
    const pace = new TellPace();
    const gaps: number[] = [];
    let nowMs = 0;
    for (let i = 0; i < 6; i++) {
      pace.told(nowMs);
      const nextMs = pace.nextMs(2_000, nowMs);
      gaps.push(nextMs - nowMs);
      nowMs += 2_000; // told of for another reason meanwhile
    }
    assert.deepEqual(gaps, [2_000, 4_000, 8_000, 16_000, 32_000, 32_000]);
  });

  it("takes half as long again with each half minute of calm", () => {
    const pace = new TellPace();
    for (let i = 0; i < 4; i++) pace.told(0);
    assert.deepEqual(
      [0, 30_000, 60_000, 90_000, 900_000].map((nowMs) => pace.nextMs(2_000, nowMs)),
      [16_000, 8_000, 4_000, 2_000, 2_000],
    );
    pace.told(900_000);
    assert.equal(pace.nextMs(2_000, 900_000), 902_000);
  });
});

describe("routing: whom a node reaches without some links", () => {
  it("goes over nodes that carry, and not over what is left out", () => {
    const graph = new LinkGraph();
    const links = (...peers: string[]): Map<string, number> => new Map(peers.map((peer) => [peer, 1]));
    graph.set("a", links("b", "c"), true);
    graph.set("b", links("a", "d"), true);
    graph.set("c", links("a", "e"), false);
    graph.set("d", links("b"), true);
    graph.set("e", links("c"), true);
    graph.set("a", links("b", "c"), true); // again: who was named first is known by now
    graph.set("c", links("a", "e"), false);
    const from = graph.numberOf("a") ?? -1;
    const reached = (leftOut: string): string =>
      [...graph.reached(from, (_from, to) => graph.nodeAt(to) === leftOut)]
        .map((number) => graph.nodeAt(number))
        .toSorted()
        .join("");
    assert.equal(reached(""), "abcd", "c carries nothing to e");
    assert.equal(reached("b"), "ac");
  });
});
