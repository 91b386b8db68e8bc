import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Ed25519Key } from "#core";
import { type NodeId, nodeIdOf, publicKeyOf } from "#identity";
import {
  type Behind,
  type BorderAdvertisement,
  leadsTo,
  MAX_INSIDE,
  MAX_LISTED,
  readBehind,
  readBorder,
  writeBehind,
  writeBorder,
} from "../../src/routing/area/border-state.ts";
import { newsBehind, newsOf } from "../../src/routing/area/border-teller.ts";
import { SiteGraph } from "../../src/routing/area/site-graph.ts";
import { testKey } from "../support/fleet.ts";

const sha = (text: string): Uint8Array => createHash("sha256").update(text).digest();
const [own = "", near = "", far = "", farther = ""] = [70, 71, 72, 73].map((seed) => nodeIdOf(testKey(seed).publicKey));
const isNear = (node: NodeId): boolean => node === own || node === near;
const terms = (latency: number) => ({ latency, loss: 0, load: 0, money: 420, penalty: 0 });
const wireLink = (peer: string): unknown[] => [publicKeyOf(peer), 5, 0, 0, 420, 0];
const others = Array.from({ length: MAX_LISTED + 5 }, (_, i) => nodeIdOf(new Ed25519Key(sha(`${i}`)).publicKey));

const border = (over: Partial<BorderAdvertisement> = {}): BorderAdvertisement => ({
  transit: true,
  links: new Map([[far, terms(5)]]),
  inside: new Map([[near, 100]]),
  ...over,
});
const but = (...nodes: NodeId[]): Behind => ({ except: new Set(nodes) });
const only = (...nodes: NodeId[]): Behind => ({ only: new Set(nodes) });

describe("routing: what a border tells", () => {
  it("is read as it was written", () => {
    for (const told of [border(), border({ transit: false })])
      assert.deepEqual(readBorder(writeBorder(told), isNear), told);
    for (const behind of [but(), but(near), only(), only(near)])
      assert.deepEqual(readBehind(writeBehind(behind)), behind);
  });

  it("says nothing of links inside its site, nor of ways inside others", () => {
    const inside = [
      [publicKeyOf(far), 1],
      [publicKeyOf(near), 2],
    ];
    const value = { transit: true, links: [wireLink(near), wireLink(far)], inside };
    const told = readBorder(value, isNear);
    assert.deepEqual([...(told?.links.keys() ?? [])], [far]);
    assert.deepEqual([...(told?.inside ?? [])], [[near, 2]]);
  });

  const good = { transit: true, links: [wireLink(far)], inside: [] };
  const rows: [string, unknown][] = [
    ["a way that costs less than nothing", { ...good, inside: [[publicKeyOf(near), -1]] }],
    ["a way to what is no node", { ...good, inside: [[near, 1]] }],
    ["a way to what is too long for a node", { ...good, inside: [[new Uint8Array(33), 1]] }],
    ["too many ways", { ...good, inside: Array.from({ length: MAX_INSIDE + 1 }, () => [publicKeyOf(near), 1]) }],
    ["no list", "nothing"],
    ["neither who is reached nor who is not", {}],
    ["too many nodes", { absent: Array.from({ length: MAX_LISTED + 1 }, () => publicKeyOf(near)) }],
    ["what is no node", { present: [near] }],
  ];
  for (const [what, value] of rows) {
    it(`makes no sense with ${what}`, () => {
      assert.equal(readBorder(value, isNear), undefined);
      assert.equal(readBehind(value), undefined);
    });
  }

  it("names the nearest borders, and as many members as a statement holds", () => {
    const many = new Map([[near, 7] as const, ...others.slice(0, MAX_INSIDE).map((other) => [other, 3] as const)]);
    const wire = writeBorder(border({ inside: many })) as { inside: [Uint8Array, number][] };
    assert.equal(wire.inside.length, MAX_INSIDE);
    assert.equal(
      wire.inside.some(([peer]) => nodeIdOf(peer) === near),
      false,
    );
    assert.equal((writeBehind({ except: new Set(others) }) as { absent: [] }).absent.length, MAX_LISTED);
  });

  it("says whom it leads to by the shorter of two lists", () => {
    assert.equal(leadsTo(but(near), near), false);
    assert.equal(leadsTo(but(near), own), true);
    assert.equal(leadsTo(only(near), near), true);
    assert.equal(leadsTo(only(near), own), false);
  });
});

describe("routing: what the fleet should hear of a border", () => {
  const told = border();
  const rows: [string, BorderAdvertisement, string | undefined][] = [
    ["nothing, when it says the same", border(), undefined],
    ["a link that went", border({ links: new Map() }), "gone"],
    ["a link that came", border({ links: new Map([...told.links, [farther, terms(1)]]) }), "came"],
    ["a link that went, though another came", border({ links: new Map([[farther, terms(1)]]) }), "gone"],
    ["that it does not reach another border any more", border({ inside: new Map() }), "gone"],
    ["that it carries no more", border({ transit: false }), "gone"],
    ["a way inside that got much dearer", border({ inside: new Map([[near, 131]]) }), "worse"],
    ["a way inside that got much cheaper", border({ inside: new Map([[near, 69]]) }), "better"],
    ["not that one swings", border({ inside: new Map([[near, 129]]) }), undefined],
    ["a link that got dearer, as it was told inside", border({ links: new Map([[far, terms(6)]]) }), "worse"],
    ["not that a penalty fell", border({ links: new Map([[far, { ...terms(5), penalty: 9 }]]) }), undefined],
  ];
  for (const [what, next, news] of rows) it(`is ${what}`, () => assert.equal(newsOf(told, next), news));
  it("is that it carries", () => assert.equal(newsOf(border({ transit: false }), told), "came"));

  const behind: [string, Behind, Behind, string | undefined][] = [
    ["nothing, when it reaches the same members", but(near), but(near), undefined],
    ["that it does not reach a member any more", but(), but(near), "gone"],
    ["that it reaches one again", but(near), but(), "came"],
    ["that it reaches but a few", but(), only(near), "gone"],
    ["that it reaches nearly all", only(near), but(), "came"],
    ["that it reaches one less of a few", only(near, own), only(near), "gone"],
  ];
  for (const [what, before, after, news] of behind)
    it(`is ${what}`, () => assert.equal(newsBehind(before, after), news));
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
