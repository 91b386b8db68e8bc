import assert from "node:assert/strict";
import fc from "fast-check";
import { backupPath } from "../../src/routing/backup-path.ts";
import { LinkGraph } from "../../src/routing/link-graph.ts";
import { PathTree } from "../../src/routing/path-tree.ts";

/** Links as `a-b: cost`, the same in both directions unless `a>b` says another. Nodes in `ends` do not carry. */
function graphOf(links: Record<string, number>, ends = ""): LinkGraph {
  const listed = new Map<string, Map<string, number>>();
  const list = (from: string, to: string, cost: number): unknown =>
    listed.set(from, (listed.get(from) ?? new Map<string, number>()).set(to, cost));
  for (const [name, cost] of Object.entries(links)) {
    const [a = "", b = ""] = name.split(/[->]/u);
    list(a, b, cost);
    if (name.includes("-")) list(b, a, cost);
  }
  const graph = new LinkGraph();
  for (const [origin, costs] of listed) graph.set(origin, costs, !ends.includes(origin));
  return graph;
}

function treeOf(graph: LinkGraph, root = "a"): PathTree {
  return new PathTree(graph, graph.numberOf(root) ?? -1);
}

const way = (tree: PathTree, to: string): string => tree.to(to)?.nodes.join("") ?? "none";

describe("paths", () => {
  it("lead over what costs least, not over the fewest links", () => {
    const tree = treeOf(graphOf({ "a-b": 1, "b-c": 1, "a-c": 3 }));
    assert.deepEqual(tree.to("c"), { nodes: ["a", "b", "c"], cost: 2 });
  });

  it("count only links that both ends list", () => {
    assert.equal(way(treeOf(graphOf({ "a-b": 9, "a>c": 1, "b-c": 9 })), "c"), "abc");
  });

  it("take each link at the cost that it has in their direction", () => {
    const graph = graphOf({ "a>b": 1, "b>a": 50, "a-c": 10, "c-b": 10 });
    assert.equal(way(treeOf(graph, "a"), "b"), "ab");
    assert.equal(way(treeOf(graph, "b"), "a"), "bca");
  });

  it("begin and end at a node that does not carry, and never lead through it", () => {
    const graph = graphOf({ "a-b": 1, "b-c": 1, "a-d": 5, "d-c": 5 }, "b");
    assert.equal(way(treeOf(graph), "b"), "ab");
    assert.equal(way(treeOf(graph), "c"), "adc");
    assert.equal(way(treeOf(graph, "b"), "d"), "bad");
  });

  it("are none where nothing leads", () => assert.equal(way(treeOf(graphOf({ "a-b": 1, "c-d": 1 })), "d"), "none"));

  it("follow links that go, come back, and change, as if they were chosen anew each time", () => {
    const nodes = Array.from("abcdefgh");
    const step = fc.record({
      origin: fc.constantFrom(...nodes),
      links: fc.dictionary(fc.constantFrom(...nodes), fc.integer({ min: 1, max: 20 })),
      carries: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
        const graph = new LinkGraph();
        graph.set("a", new Map(), true);
        const tree = treeOf(graph);
        for (const { origin, links, carries } of steps) {
          tree.update(graph.set(origin, new Map(Object.entries(links)), carries));
          const fresh = treeOf(graph);
          for (const node of nodes) assert.equal(tree.to(node)?.cost, fresh.to(node)?.cost, node);
        }
        for (const node of nodes) assert.equal(costOf(graph, tree.to(node)?.nodes), tree.to(node)?.cost);
      }),
    );
  });

  it("know no names that only others tell of", () => {
    const graph = graphOf({ "a-b": 1 });
    for (let i = 0; i < 1_000; i++) graph.set("a", new Map([[`nobody-${i}`, 1]]), true);
    assert.equal(graph.size, 2);
  });

  it("are found by looking only at what hangs on the change", () => {
    const ring = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`n${i}-n${(i + 1) % 50}`, 1]));
    const graph = graphOf({ ...ring, "n25-end": 1 });
    const tree = treeOf(graph, "n0");
    const looked = tree.update(graph.set("end", new Map([["n25", 2]]), true));
    assert.ok(looked <= 2, `${looked} of 51 nodes`);
  });
});

function costOf(graph: LinkGraph, nodes: readonly string[] | undefined): number | undefined {
  return nodes?.slice(1).reduce((sum, to, i) => {
    const cost = graph.cost(graph.numberOf(nodes[i] ?? "") ?? -1, graph.numberOf(to) ?? -1);
    assert.ok(cost !== undefined, `${nodes.join()} leads over a link that is none`);
    return sum + cost;
  }, 0);
}

describe("backup path", () => {
  const backup = (graph: LinkGraph, to: string): string => {
    const path = treeOf(graph).to(to);
    return path === undefined ? "none" : (backupPath(graph, path)?.nodes.join("") ?? "none");
  };

  it("shares no node with the path, though another way would be cheaper", () => {
    assert.equal(backup(graphOf({ "a-b": 1, "b-c": 1, "b-d": 1, "d-c": 1, "a-e": 50, "e-c": 50 }), "c"), "aec");
  });

  it("shares as little as can be where all ways lead through one node", () => {
    assert.equal(backup(graphOf({ "a-b": 1, "a-d": 5, "d-b": 5, "b-c": 1 }), "c"), "adbc");
  });

  it("is none where there is only one way", () => assert.equal(backup(graphOf({ "a-b": 1, "b-c": 1 }), "c"), "none"));

  it("leads around a neighbour's own link", () =>
    assert.equal(backup(graphOf({ "a-b": 1, "b-c": 1, "a-c": 9 }), "c"), "ac"));

  it("never leads through a node that does not carry", () => {
    assert.equal(backup(graphOf({ "a-b": 1, "b-c": 1, "a-e": 5, "e-c": 5 }, "e"), "c"), "none");
  });
});
