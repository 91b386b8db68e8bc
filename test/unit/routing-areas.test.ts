import assert from "node:assert/strict";
import type { NodeId } from "#identity";
import { nodeIdOf } from "#identity";
import {
  type BorderAdvertisement,
  leadsTo,
  MAX_INSIDE,
  MAX_LISTED,
  readBorder,
  writeBorder,
} from "../../src/routing/area/border-state.ts";
import { newsIn } from "../../src/routing/area/border-teller.ts";
import { SiteGraph } from "../../src/routing/area/site-graph.ts";
import { testKey } from "../support/fleet.ts";

const [own = "", near = "", far = "", farther = ""] = [70, 71, 72, 73].map((seed) => nodeIdOf(testKey(seed).publicKey));
const isNear = (node: NodeId): boolean => node === own || node === near;
const terms = (latency: number) => ({ latency, loss: 0, load: 0, money: 420, penalty: 0 });
const wireLink = (peer: string): unknown[] => [peer, 5, 0, 0, 420, 0];

const border = (over: Partial<BorderAdvertisement> = {}): BorderAdvertisement => ({
  transit: true,
  links: new Map([[far, terms(5)]]),
  inside: new Map([[near, 100]]),
  members: { except: new Set() },
  ...over,
});

describe("routing: what a border tells", () => {
  it("is read as it was written", () => {
    for (const told of [border(), border({ members: { only: new Set([near]) } }), border({ transit: false })])
      assert.deepEqual(readBorder(writeBorder(told), isNear), told);
  });

  it("says nothing of links inside its site, nor of ways inside others", () => {
    const value = {
      transit: true,
      links: [wireLink(near), wireLink(far)],
      inside: [
        [far, 1],
        [near, 2],
      ],
      absent: [],
    };
    const told = readBorder(value, isNear);
    assert.deepEqual([...(told?.links.keys() ?? [])], [far]);
    assert.deepEqual([...(told?.inside ?? [])], [[near, 2]]);
  });

  const good = { transit: true, links: [wireLink(far)], inside: [], absent: [] };
  const { absent: _, ...unlisted } = good;
  const rows: [string, unknown][] = [
    ["neither who is reached nor who is not", unlisted],
    ["both", { ...good, present: [] }],
    ["a way that costs less than nothing", { ...good, inside: [[near, -1]] }],
    ["a way to what is no node", { ...good, inside: [["near", 1]] }],
    ["too many ways", { ...good, inside: Array.from({ length: MAX_INSIDE + 1 }, () => [near, 1]) }],
    ["too many nodes", { ...good, absent: Array.from({ length: MAX_LISTED + 1 }, () => near) }],
    ["no list", "nothing"],
  ];
  for (const [what, value] of rows) {
    it(`makes no sense with ${what}`, () => assert.equal(readBorder(value, isNear), undefined));
  }

  it("names the nearest borders, and as many members as a statement holds", () => {
    const many = new Map([[near, 7] as const, ...Array.from({ length: MAX_INSIDE }, (_, i) => [`x${i}`, 3] as const)]);
    const wire = writeBorder(border({ inside: many })) as { inside: [string, number][] };
    assert.equal(wire.inside.length, MAX_INSIDE);
    assert.equal(
      wire.inside.some(([peer]) => peer === near),
      false,
    );
    const listed = new Set(Array.from({ length: MAX_LISTED + 5 }, (_, i) => `x${i}`));
    assert.equal((writeBorder(border({ members: { except: listed } })) as { absent: [] }).absent.length, MAX_LISTED);
  });

  it("says whom it leads to by the shorter of two lists", () => {
    assert.equal(leadsTo(border({ members: { except: new Set([near]) } }), near), false);
    assert.equal(leadsTo(border({ members: { except: new Set([near]) } }), own), true);
    assert.equal(leadsTo(border({ members: { only: new Set([near]) } }), near), true);
    assert.equal(leadsTo(border({ members: { only: new Set([near]) } }), own), false);
  });
});

describe("routing: what the fleet should hear of a border", () => {
  const told = border();
  const rows: [string, BorderAdvertisement | undefined, BorderAdvertisement | undefined, string | undefined][] = [
    ["nothing, when it says the same", told, border(), undefined],
    ["nothing, when it was no border and is none", undefined, undefined, undefined],
    ["that it is one", undefined, told, "came"],
    ["that it is none any more", told, undefined, "gone"],
    ["a link that went", told, border({ links: new Map() }), "gone"],
    ["a link that came", told, border({ links: new Map([...told.links, [farther, terms(1)]]) }), "came"],
    ["a link that went, though another came", told, border({ links: new Map([[farther, terms(1)]]) }), "gone"],
    ["that it does not reach another border any more", told, border({ inside: new Map() }), "gone"],
    ["that it does not reach a member any more", told, border({ members: { except: new Set([near]) } }), "gone"],
    ["that it reaches one again", border({ members: { except: new Set([near]) } }), told, "came"],
    ["that it reaches but a few", told, border({ members: { only: new Set([near]) } }), "gone"],
    ["that it reaches nearly all", border({ members: { only: new Set([near]) } }), told, "came"],
    ["that it carries no more", told, border({ transit: false }), "gone"],
    ["a way inside that got much dearer", told, border({ inside: new Map([[near, 131]]) }), "worse"],
    ["a way inside that got much cheaper", told, border({ inside: new Map([[near, 69]]) }), "better"],
    ["not that one swings", told, border({ inside: new Map([[near, 129]]) }), undefined],
    ["a link that got dearer, as it was told inside", told, border({ links: new Map([[far, terms(6)]]) }), "worse"],
    ["not that a penalty fell", told, border({ links: new Map([[far, { ...terms(5), penalty: 9 }]]) }), undefined],
  ];
  for (const [what, before, after, news] of rows) it(`is ${what}`, () => assert.equal(newsIn(before, after), news));
});

describe("routing: the links inside a site", () => {
  it("say whom a node reaches there, and who that is no longer", () => {
    const site = new SiteGraph("a");
    const links = (peers: string): Map<string, number> => new Map(peers.split("").map((peer) => [peer, 2]));
    site.set("a", links("b"), true);
    site.set("b", links("ac"), true);
    site.set("c", links("b"), true);
    assert.deepEqual(site.settle(), new Set("bc"));
    assert.deepEqual(site.pathTo("c"), { nodes: ["a", "b", "c"], cost: 4 });
    assert.equal(site.pathTo("a"), undefined);
    site.set("b", links("ac"), false);
    assert.deepEqual(site.settle(), new Set("c"));
    assert.deepEqual(site.reached, new Set("ab"));
    assert.deepEqual(site.settle(), new Set());
  });
});
