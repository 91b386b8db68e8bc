import assert from "node:assert/strict";
import type { Spec } from "#identity";
import { totalOf, withAdmin } from "../../src/routing/link-cost.ts";
import { graphUnder, type LinkMap } from "../../src/routing/link-map.ts";
import { type LinkPolicy, NO_POLICY, policyOf } from "../../src/routing/link-policy.ts";
import { PathTree } from "../../src/routing/path-tree.ts";
import { routeChanges } from "../../src/routing/route-changes.ts";
import { untakenWays } from "../../src/routing/untaken-ways.ts";

/** Nodes are single letters; an end of a rule is the letters that it means. */
const rules = (spec: Spec<"Topology">): LinkPolicy => policyOf(spec, (end, node) => end.includes(node));
const NEVER = Number.POSITIVE_INFINITY;
const SOUND = { latency: 0, loss: 0, load: 0, money: 0, penalty: 0 };

describe("the policy of a topology", () => {
  const cases: Record<string, [Spec<"Topology">, Record<string, number>]> = {
    "adds nothing where nobody said anything": [{}, { ab: 0 }],
    "adds a cost in both directions": [{ links: [{ from: "a", to: "b", cost: 50 }] }, { ab: 50, ba: 50, ac: 0 }],
    "adds it in one direction": [{ links: [{ from: "a", to: "b", cost: 50, oneWay: true }] }, { ab: 50, ba: 0 }],
    "takes away what is preferred": [{ links: [{ from: "a", to: "b", prefer: 40 }] }, { ab: -40, ba: -40 }],
    forbids: [{ links: [{ from: "ab", to: "cd", forbid: true }] }, { ac: NEVER, da: NEVER, ab: 0, cd: 0 }],
    "goes by the first rule that fits, so that exceptions stand before what they are from": [
      {
        links: [
          { from: "a", to: "c", cost: 0 },
          { from: "ab", to: "cd", forbid: true },
          { from: "a", to: "bcd", cost: 9 },
        ],
      },
      { ac: 0, ad: NEVER, bc: NEVER, ab: 9 },
    ],
  };
  for (const [what, [spec, admin]] of Object.entries(cases)) {
    it(what, () => {
      const policy = rules(spec);
      for (const [pair, expected] of Object.entries(admin))
        assert.equal(policy.admin(pair.charAt(0), pair.charAt(1)), expected, pair);
    });
  }

  it("says who must not carry, by the first rule that fits", () => {
    const policy = rules({
      transit: [
        { node: "a", carry: true },
        { node: "ab", carry: false },
      ],
    });
    assert.deepEqual(
      Array.from("abc").map((node) => policy.mayCarry(node)),
      [true, false, true],
    );
  });

  it("asks once for each node which ends mean it, however many links there are", () => {
    let asked = 0;
    const policy = policyOf({ links: [{ from: "*", to: "a", cost: 1 }] }, (end, node) => {
      asked += 1;
      return end === "*" || end === node;
    });
    const nodes = Array.from("abcdefgh");
    for (let i = 0; i < 10; i++) for (const from of nodes) for (const to of nodes) policy.admin(from, to);
    assert.equal(asked, 2 * nodes.length);
  });

  it("leaves a link a cost of 1, however much it is preferred, and its terms still add up", () => {
    const terms = withAdmin({ ...SOUND, latency: 20, money: 420 }, -10_000);
    assert.equal(totalOf(terms), 1);
    assert.equal(terms.admin, -440);
  });
});

/** Links as `ab: cost` in both directions, or `a>b: cost` as only `a` tells; nodes in `idle` do not carry, links in `suspect` go unanswered. */
function mapOf(links: Record<string, number>, { idle = "", suspect = "" } = {}): LinkMap {
  const map = new Map<string, { transit: boolean; links: Map<string, typeof SOUND> }>();
  const tell = (from: string, to: string, cost: number): void => {
    for (const node of [from, to]) {
      if (!map.has(node)) map.set(node, { transit: !idle.includes(node), links: new Map() });
    }
    const loss = suspect === `${from}${to}` ? NEVER : 0;
    map.get(from)?.links.set(to, { ...SOUND, latency: cost - 1, loss });
  };
  for (const [name, cost] of Object.entries(links)) {
    const [from, to] = [name.charAt(0), name.charAt(name.length - 1)];
    tell(from, to, cost);
    if (!name.includes(">")) tell(to, from, cost);
  }
  return map;
}

const way = (policy: LinkPolicy, map: LinkMap, to: string): string => {
  const graph = graphUnder(policy, map);
  return new PathTree(graph, graph.numberOf("a") ?? -1).to(to)?.nodes.join("") ?? "none";
};

describe("paths under a topology", () => {
  const square = mapOf({ ab: 1, bd: 1, ac: 10, cd: 10 });

  it("go the other way around a cost that was added, or over what is preferred", () => {
    assert.equal(way(NO_POLICY, square, "d"), "abd");
    assert.equal(way(rules({ links: [{ from: "a", to: "b", cost: 100 }] }), square, "d"), "acd");
    assert.equal(
      way(
        rules({
          links: [
            { from: "c", to: "ad", prefer: 1_000 },
            { from: "a", to: "b", cost: 1 },
          ],
        }),
        square,
        "d",
      ),
      "acd",
    );
  });

  it("never lead over a link that is forbidden", () => {
    assert.equal(way(rules({ links: [{ from: "b", to: "d", forbid: true }] }), square, "d"), "acd");
    assert.equal(way(rules({ links: [{ from: "bc", to: "d", forbid: true }] }), square, "d"), "none");
  });

  it("never lead through a node that must not carry, and still end at it", () => {
    const policy = rules({ transit: [{ node: "b", carry: false }] });
    assert.equal(way(policy, square, "d"), "acd");
    assert.equal(way(policy, square, "b"), "ab");
    assert.equal(graphUnder(policy, square).costAlong(["a", "b", "d"]), undefined);
    assert.equal(graphUnder(policy, square).costAlong(["a", "b"]), 1);
  });

  it("do not lead through a node that does not carry by itself, whatever the topology allows", () => {
    const map = mapOf({ ab: 1, bd: 1, ac: 10, cd: 10 }, { idle: "b" });
    assert.equal(way(rules({ transit: [{ node: "b", carry: true }] }), map, "d"), "acd");
  });
});

describe("what a topology would change", () => {
  const text = (spec: Spec<"Topology">, map: LinkMap, from = "a"): string[] =>
    routeChanges(graphUnder(NO_POLICY, map), graphUnder(rules(spec), map), from).map(({ to, before, after }) => {
      const [was, is] = [before, after].map((path) =>
        path === undefined ? "none" : `${path.nodes.join("")} ${path.cost}`,
      );
      return `${to}: ${was} → ${is}`;
    });

  it("names other ways, other costs and ways that would be gone, and nothing else", () => {
    const map = mapOf({ ab: 1, bd: 1, ac: 10, cd: 10, de: 1 });
    assert.deepEqual(text({ links: [{ from: "b", to: "d", cost: 4 }] }, map), [
      "d: abd 2 → abd 6",
      "e: abde 3 → abde 7",
    ]);
    assert.deepEqual(text({ links: [{ from: "b", to: "d", cost: 100 }] }, map), [
      "d: abd 2 → acd 20",
      "e: abde 3 → acde 21",
    ]);
    assert.deepEqual(text({ links: [{ from: "d", to: "e", forbid: true }] }, map), ["e: abde 3 → none"]);
    assert.deepEqual(text({ links: [{ from: "c", to: "d", cost: 5 }] }, map), []);
  });

  it("counts a way as the same when another one only comes to cost as much", () => {
    const map = mapOf({ ab: 2, bd: 3, ac: 2, cd: 2 });
    assert.deepEqual(text({ links: [{ from: "b", to: "d", prefer: 1 }] }, map), []);
  });
});

describe("ways that are not taken", () => {
  const why = (map: LinkMap, policy: LinkPolicy = NO_POLICY): string[] => {
    const graph = graphUnder(policy, map);
    const cost = new PathTree(graph, graph.numberOf("a") ?? -1).to("d")?.cost ?? NEVER;
    return untakenWays({ policy, map }, "a", "d", cost).map(
      ({ why: reason, path, at }) =>
        `${reason} ${path.nodes.join("")} ${path.cost}: ${at.map((ends) => ends.join("-")).join(" ")}`,
    );
  };
  const links = { ab: 1, bd: 1, ac: 10, cd: 10 };

  it("are none where the cheapest one is taken", () => assert.deepEqual(why(mapOf(links)), []));

  it("are told with the link that is forbidden", () =>
    assert.deepEqual(why(mapOf(links), rules({ links: [{ from: "b", to: "d", forbid: true }] })), [
      "forbidden abd 2: b-d",
    ]));

  it("are told with the node that does not carry, by itself or by the topology", () => {
    assert.deepEqual(why(mapOf(links, { idle: "b" })), ["no-transit abd 2: b"]);
    assert.deepEqual(why(mapOf(links), rules({ transit: [{ node: "b", carry: false }] })), ["no-transit abd 2: b"]);
  });

  it("are told with the link that only one end tells of", () =>
    assert.deepEqual(why(mapOf({ ab: 1, "b>d": 1, ac: 10, cd: 10 })), ["one-end abd 2: b-d"]));

  it("are told with the link that goes unanswered", () =>
    assert.deepEqual(why(mapOf(links, { suspect: "ab" })), ["suspect abd 2: a-b"]));

  it("are told also where no way is left, the cheapest first", () => {
    const map = mapOf({ ...links, ae: 3, ed: 3 }, { idle: "ce" });
    assert.deepEqual(why(map, rules({ links: [{ from: "b", to: "d", forbid: true }] })), [
      "forbidden abd 2: b-d",
      "no-transit aed 6: e",
    ]);
  });
});
