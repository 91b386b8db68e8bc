import { decodeCbor, encodeCbor } from "#core";
import { nodeIdOf } from "../../../src/identity/node-id.ts";
import { totalOf } from "../../../src/routing/link-cost.ts";
import { leadsTo, readBorder, writeBorder } from "../../../src/routing/area/border-state.ts";
import { newsIn } from "../../../src/routing/area/border-teller.ts";
import { LinkGraph } from "../../../src/routing/link-graph.ts";
import { readAdvertisement, writeAdvertisement } from "../../../src/routing/link-state.ts";
import { PathTree } from "../../../src/routing/path-tree.ts";
import { testKey } from "../../support/fleet.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const NODES = [60, 61, 62, 63].map((seed) => nodeIdOf(testKey(seed).publicKey));
const [A, B, C, D] = NODES;
const link = (peer: string | undefined, latency: number): unknown[] => [peer, latency, 0, 0, 420, 25];

/** What four nodes tell of their links, one after the other: `[which of them, what]…`. */
export const ROUTING_TARGET: FuzzTarget = {
  name: "link-state",
  covers: ["src/routing/link-state.ts#readAdvertisement", "src/routing/link-state.ts"],
  grammar: "cbor",
  maxBytes: 8 * 1024,
  seeds: () =>
    [
      [
        [0, { transit: true, links: [link(B, 5), link(C, 90)] }],
        [1, { transit: true, links: [link(A, 5), link(C, 7)] }],
        [2, { transit: false, links: [link(A, 90), link(B, 7)] }],
      ],
      [
        [3, { transit: true, links: [link(D, 0), link(A, 1)] }],
        [0, { transit: true, links: [[...link(D, 1), "later"]], area: "later" }],
        [3, { transit: true, links: [] }],
      ],
    ].map(encodeCbor),
  refuses: ["core.cbor"],
  prepare: () => (input) => {
    const said = decodeCbor(input, 32 * 1024);
    const graph = new LinkGraph();
    graph.set(NODES[0] ?? "", new Map(), true);
    const tree = new PathTree(graph, 0);
    let read = 0;
    for (const one of Array.isArray(said) ? (said as unknown[]) : []) {
      const [who, what] = Array.isArray(one) ? (one as unknown[]) : [];
      const origin = NODES[typeof who === "number" ? who : 0];
      const told = readAdvertisement(what);
      if (told === undefined || origin === undefined) continue;
      read += 1;
      const again = readAdvertisement(writeAdvertisement(told));
      mustHold(again?.links.size === told.links.size, "written and read again, there are other links");
      tree.update(
        graph.set(origin, new Map([...told.links].map(([peer, terms]) => [peer, totalOf(terms)])), told.transit),
      );
    }
    const anew = new PathTree(graph, 0);
    for (const node of NODES)
      mustHold(tree.to(node)?.cost === anew.to(node)?.cost, "a path is not what it would be anew");
    return `${read} read, ${NODES.filter((node) => tree.to(node) !== undefined).length} reached`;
  },
};

const isOfOne = (node: string): boolean => node === A || node === B;

/** What a border of the site of the first two nodes tells, before and after. */
export const BORDERS_TARGET: FuzzTarget = {
  name: "borders",
  covers: ["src/routing/area/border-state.ts#readBorder"],
  grammar: "cbor",
  maxBytes: 8 * 1024,
  seeds: () =>
    [
      [
        { transit: true, links: [link(C, 5), link(D, 90)], inside: [[B, 11]], absent: [] },
        { transit: true, links: [link(C, 5)], inside: [[B, 31]], absent: [B] },
      ],
      [
        { transit: false, links: [link(C, 0)], inside: [], present: [] },
        { transit: true, links: [link(B, 1), link(C, 1)], inside: [[C, 4, "later"]], present: [B, C], area: "later" },
      ],
    ].map(encodeCbor),
  refuses: ["core.cbor"],
  prepare: () => (input) => {
    const said = decodeCbor(input, 32 * 1024);
    const [before, after] = (Array.isArray(said) ? (said as unknown[]) : []).map((one) => readBorder(one, isOfOne));
    for (const told of [before, after]) {
      if (told === undefined) continue;
      mustHold(!told.links.keys().some(isOfOne), "a link to the own site");
      mustHold(told.inside.keys().every(isOfOne), "a way inside to another site");
      const again = readBorder(writeBorder(told), isOfOne);
      mustHold(
        again !== undefined && newsIn(told, again) === undefined,
        "written and read again, it says something else",
      );
    }
    return `${newsIn(before, after)} ${NODES.filter((node) => after !== undefined && leadsTo(after, node)).length}`;
  },
};
