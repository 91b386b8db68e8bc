import assert from "node:assert/strict";
import type { LinkView, NodeView, RouteView } from "#api";
import { applyChanges, emptyFleet, type Fleet, type PairView, takeChanges } from "../../src/view/page/fleet.ts";
import { NO_SITE, pictureOf } from "../../src/view/page/picture.ts";
import { search } from "../../src/view/page/search.ts";
import { emphasisOf } from "../../src/view/page/selection.ts";
import { bytesText, shareText } from "../../src/view/page/words.ts";
import { nodeView } from "../support/memory-handlers.ts";

const route = (name: string): RouteView => ({ name, labels: {}, nodeId: name, site: "", cost: 5, hops: 2, via: "b" });
const link = (name: string, state: LinkView["state"]): LinkView => ({
  name,
  labels: {},
  nodeId: name,
  site: "",
  state,
});
const pair = (a: string, b: string, there: number | null, back = there): PairView => ({
  name: `${a}/${b}`,
  ends: [a, b],
  costs: [there, back],
});
const put = <V extends { name: string }>(into: Map<string, V>, ...views: V[]): void => {
  for (const view of views) into.set(view.name, view);
};

describe("the picture of a fleet", () => {
  let fleet: Fleet;
  beforeEach(() => {
    fleet = emptyFleet();
  });

  it("says of each node how it is reached", () => {
    const states: NodeView["state"][] = ["self", "connected", "connected", "known", "known", "pending", "revoked"];
    put(fleet.nodes, ...states.map((state, i) => ({ ...nodeView(`n${i}`), state })));
    put(fleet.links, link("n1", "up"), link("n2", "suspect"));
    put(fleet.routes, route("n3"));
    const standings = [...pictureOf(fleet).nodes.values()].map(({ standing }) => standing);
    assert.deepEqual(standings, ["self", "linked", "suspect", "reached", "away", "pending", "revoked"]);
  });

  it("puts links between two sites into one line, with their number and the lowest cost that counts", () => {
    put(fleet.nodes, nodeView("a", "x"), nodeView("b", "x"), nodeView("c", "y"), nodeView("d", ""));
    put(fleet.pairs, pair("a", "b", 1), pair("a", "c", 330, 320), pair("c", "b", 340), pair("b", "d", null));
    const { bundles, inner, neighbours, sites } = pictureOf(fleet);
    assert.deepEqual(
      bundles.map(({ sites, count, cheapest }) => [sites.join(), count, cheapest]),
      [
        ["x,y", 2, 320],
        [`${NO_SITE},x`, 1, undefined],
      ],
    );
    assert.deepEqual(
      inner.map(({ name }) => name),
      ["a/b"],
    );
    assert.deepEqual(
      neighbours.get("b")?.map(({ name }) => name),
      ["a/b", "c/b", "b/d"],
    );
    assert.deepEqual(sites.get("x"), ["a", "b"]);
  });

  it("leaves out links of nodes that are no members", () => {
    put(fleet.nodes, nodeView("a"));
    put(fleet.pairs, pair("a", "stranger", 1));
    assert.equal(pictureOf(fleet).neighbours.size, 0);
  });

  it("finds by name, serial and node id, what begins with it first", () => {
    put(fleet.nodes, nodeView("old-cam"), nodeView("cam-10"), nodeView("cam-2"), { ...nodeView("x"), serial: "CAM7" });
    const names = (text: string): string[] => search(fleet, pictureOf(fleet), text).map(({ name }) => name);
    assert.deepEqual(names("Cam"), ["cam-2", "cam-10", "old-cam", "x"]);
    assert.deepEqual(names("12D3KooWold"), ["old-cam"]);
    assert.deepEqual(names("berl"), ["berlin"]);
    assert.deepEqual(names(" "), []);
  });

  it("shows how much of an artifact each node has", () => {
    const copy = { site: "", wanted: true, bytesFromSite: 0, bytesFromWan: 0 };
    const artifact = {
      sizeBytes: 200,
      nodes: [
        { ...copy, node: "a", state: "complete", bytes: 200 },
        { ...copy, node: "b", state: "transferring", bytes: 50 },
        { ...copy, node: "c", state: "failed", bytes: 0 },
        { ...copy, node: "d", state: "unknown", bytes: 0, wanted: false },
      ],
    } as unknown as Parameters<typeof emphasisOf>[1]["artifact"] & object;
    const { halos } = emphasisOf({ kind: "artifact", name: "m" }, { artifact });
    assert.deepEqual(
      [...halos].map(([node, { share, isGood }]) => [node, share, isGood]),
      [
        ["a", 1, true],
        ["b", 0.25, true],
        ["c", 0, false],
      ],
    );
  });

  it("says sizes in three digits, and never 100 % of what is not whole", () => {
    assert.deepEqual([0, 999, 1_000, 12_345_678, 999_999].map(bytesText), [
      "0 B",
      "999 B",
      "1.00 kB",
      "12.3 MB",
      "1.00 MB",
    ]);
    assert.deepEqual([shareText(999, 1_000), shareText(5, 5), shareText(0, 0)], ["99 %", "100 %", "100 %"]);
  });
});

describe("changes of a fleet", () => {
  it("take a page from any state to the one that is, and are empty when nothing changed", () => {
    const [now, sent, page] = [emptyFleet(), emptyFleet(), emptyFleet()];
    const step = (): object => {
      const changes = takeChanges(sent, now);
      applyChanges(page, JSON.parse(JSON.stringify(changes)) as typeof changes);
      assert.deepEqual(page, now);
      return changes;
    };
    put(now.nodes, nodeView("a"), nodeView("b"));
    put(now.pairs, pair("a", "b", 1));
    step();
    assert.deepEqual(step(), {});
    now.nodes.delete("a");
    now.pairs.delete("a/b");
    put(now.nodes, nodeView("b", "paris"), nodeView("c"));
    const changes = step() as { nodes: { set: { name: string }[]; gone: string[] } };
    assert.deepEqual([changes.nodes.set.map(({ name }) => name), changes.nodes.gone], [["b", "c"], ["a"]]);
  });
});
