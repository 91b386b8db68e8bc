import { decodeCbor, encodeCbor } from "#core";
import { nodeIdOf, publicKeyOf } from "../../../src/identity/node-id.ts";
import { totalOf } from "../../../src/routing/link-cost.ts";
import {
  leadsTo,
  NOBODY,
  readBehind,
  readBorder,
  writeBehind,
  writeBorder,
} from "../../../src/routing/area/border-state.ts";
import { newsBehind, newsOf } from "../../../src/routing/area/border-teller.ts";
import { LinkGraph } from "../../../src/routing/link-graph.ts";
import { readAdvertisement, writeAdvertisement } from "../../../src/routing/link-state.ts";
import { PathTree } from "../../../src/routing/path-tree.ts";
import { testKey } from "../../support/fleet.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const NODES = [60, 61, 62, 63].map((seed) => nodeIdOf(testKey(seed).publicKey));
const [A, B] = NODES;
const KEYS = NODES.map(publicKeyOf);
const link = (node: number, latency: number): unknown[] => [KEYS[node], latency, 0, 0, 420, 25];

/** What four nodes tell of their links, one after the other: `[which of them, what]…`. */
export const ROUTING_TARGET: FuzzTarget = {
  name: "link-state",
  covers: ["src/routing/link-state.ts#readAdvertisement", "src/routing/link-state.ts"],
  grammar: "cbor",
  maxBytes: 8 * 1024,
  seeds: () =>
    [
      [
        [0, { transit: true, links: [link(1, 5), link(2, 90)] }],
        [1, { transit: true, links: [link(0, 5), link(2, 7)] }],
        [2, { transit: false, links: [link(0, 90), link(1, 7)] }],
      ],
      [
        [3, { transit: true, links: [link(3, 0), link(0, 1)] }],
        [0, { transit: true, links: [[...link(3, 1), "later"]], area: "later" }],
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

/** What a border of the site of the first two nodes tells, of links and of members, as often as there is. */
export const BORDERS_TARGET: FuzzTarget = {
  name: "borders",
  covers: ["src/routing/area/border-state.ts#readBorder", "src/routing/area/border-state.ts#readBehind"],
  grammar: "cbor",
  maxBytes: 8 * 1024,
  seeds: () =>
    [
      [{ transit: true, links: [link(2, 5), link(3, 90)], inside: [[KEYS[1], 11]] }, { absent: [] }],
      [
        { transit: false, links: [link(1, 1), link(2, 0)], inside: [[KEYS[2], 4, "later"]], area: "later" },
        { present: [KEYS[1]] },
      ],
    ].map(encodeCbor),
  refuses: ["core.cbor"],
  prepare: () => (input) => {
    const said = decodeCbor(input, 32 * 1024);
    let [read, led] = [0, 0];
    for (const one of Array.isArray(said) ? (said as unknown[]) : []) {
      const [told, behind] = [readBorder(one, isOfOne), readBehind(one)];
      if (told !== undefined) {
        read += 1;
        mustHold(!told.links.keys().some(isOfOne), "a link to the own site");
        mustHold(told.inside.keys().every(isOfOne), "a way inside another site");
        const again = readBorder(writeBorder(told), isOfOne);
        mustHold(
          again !== undefined && newsOf(told, again) === undefined,
          "written and read again, it says something else",
        );
      }
      if (behind === undefined) continue;
      led += NODES.filter((node) => leadsTo(behind, node)).length;
      const again = readBehind(writeBehind(behind)) ?? NOBODY;
      mustHold(newsBehind(behind, again) === undefined, "written and read again, it leads to others");
    }
    return `${read} read, ${led} led to`;
  },
};
