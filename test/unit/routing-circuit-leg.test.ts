import assert from "node:assert/strict";
import { encodeCbor } from "#core";
import { nodeIdOf, type NodeId } from "#identity";
import type { Session } from "#mesh";
import {
  headOf,
  MAX_DETOUR,
  MAX_HEAD_BYTES,
  MAX_HOPS,
  type Open,
  type Opening,
  OPEN_LIFETIME_MS,
  readOpen,
  signOpen,
  type Via,
} from "../../src/routing/circuit/circuit-open.ts";
import { legOf, stepTo } from "../../src/routing/circuit/leg.ts";
import { testKey } from "../support/fleet.ts";

const everybody = (): boolean => true;

/** An opening from `s` along `path`, with a detour such as `1: d e`. Names stand for node ids. */
function opening(path: string, detour?: string): Opening {
  const open: Open = {
    fleet: "fleet",
    circuit: new Uint8Array(16),
    source: "s",
    path: path.split(" "),
    expires: 0,
    epoch: 0,
    received: 0,
  };
  const [to, nodes] = detour?.split(": ") ?? [];
  const via = nodes === undefined ? undefined : { to: Number(to), nodes: nodes.split(" ") };
  return { signed: { open: new Uint8Array(), sig: new Uint8Array() }, open, via };
}

describe("routing: where a node is on the way of a circuit's opening", () => {
  const rows: { at: string; path: string; detour?: string; from: string; next: string | undefined; inside?: true }[] = [
    { at: "g", path: "g h t", from: "s", next: "h" },
    { at: "h", path: "g h t", from: "g", next: "t" },
    { at: "t", path: "g h t", from: "h", next: undefined },
    { at: "d", path: "g h t", detour: "0: d e", from: "s", next: "e", inside: true },
    { at: "e", path: "g h t", detour: "0: d e", from: "d", next: "g", inside: true },
    { at: "g", path: "g h t", detour: "0: d e", from: "e", next: "h" },
    { at: "d", path: "g h t", detour: "1: d", from: "g", next: "h", inside: true },
    { at: "h", path: "g h t", detour: "1: d", from: "d", next: "t" },
    { at: "e", path: "g h t", detour: "2: d e f", from: "d", next: "f", inside: true },
    { at: "f", path: "g h t", detour: "2: d e f", from: "e", next: "t", inside: true },
    { at: "t", path: "g h t", detour: "2: d e f", from: "f", next: undefined },
    { at: "t", path: "t", detour: "0: d", from: "d", next: undefined },
  ];
  for (const { at, path, detour, from, next, inside = false } of rows) {
    it(`is at ${at} of ${path}${detour === undefined ? "" : `, by ${detour}`}`, () =>
      assert.deepEqual(legOf(opening(path, detour), at, everybody), { from, next, isInside: inside }));
  }

  const refused: { what: string; at: string; path?: string; detour?: string; far?: string; reason: RegExp }[] = [
    { what: "a node that is not on the path", at: "x", reason: /not next/u },
    { what: "the source", at: "s", reason: /not next/u },
    { what: "the source of a detour", at: "s", detour: "0: d", reason: /not next/u },
    { what: "a node of the path before the detour", at: "g", detour: "1: d", reason: /not next/u },
    { what: "a node of the path behind the detour", at: "t", detour: "1: d", reason: /not next/u },
    { what: "a node in no detour", at: "x", detour: "1: d", reason: /not next/u },
    { what: "a place beyond the path", at: "d", detour: "3: d", reason: /does not lead/u },
    { what: "a node twice", at: "d", detour: "1: d e d", reason: /node twice/u },
    { what: "a detour over the source", at: "d", detour: "1: d s", reason: /node twice/u },
    { what: "a detour over the node before it", at: "d", detour: "1: d g", reason: /node twice/u },
    { what: "a detour over the node behind it", at: "d", detour: "1: d h", reason: /node twice/u },
    { what: "a detour over the target", at: "d", detour: "1: d t", reason: /node twice/u },
    { what: "a detour over a far node", at: "d", detour: "1: d e", far: "e", reason: /leaves this node's site/u },
    { what: "a detour from a far node", at: "d", detour: "1: d e", far: "g", reason: /leaves this node's site/u },
    { what: "a detour from a far source", at: "d", detour: "0: d e", far: "s", reason: /leaves this node's site/u },
    { what: "a detour to a far node", at: "d", detour: "1: d e", far: "h", reason: /leaves this node's site/u },
    { what: "a detour from afar at its end", at: "h", detour: "1: d e", far: "g", reason: /leaves this node's site/u },
  ];
  for (const { what, at, path = "g h t", detour, far, reason } of refused) {
    it(`refuses ${what}`, () =>
      assert.throws(() => legOf(opening(path, detour), at, (node) => node !== far), {
        code: "routing.circuit-open",
        exit: "denied",
        message: reason,
      }));
  }

  it("takes no part in a detour that leaves its site", () => {
    for (const far of ["g", "d", "e", "h"])
      assert.throws(() => legOf(opening("g h t", "1: d e"), "d", (node) => node !== far), {
        code: "routing.circuit-open",
      });
  });

  it("does not ask who is near where there is no detour, nor of those that are not on it", () => {
    assert.equal(legOf(opening("g h t"), "h", () => false).next, "t");
    assert.equal(legOf(opening("g h t", "0: d"), "d", (node) => "sdg".includes(node)).next, "g");
  });
});

describe("routing: the link that a circuit's opening takes next", () => {
  /** Neighbours of `g`; `?` behind one that is suspect, `!` behind one that is forbidden. */
  const step = (neighbours: string, detour: string | undefined) => {
    let avoided = "";
    const session = (node: NodeId) =>
      neighbours.includes(node) ? ({ suspect: () => neighbours.includes(`${node}?`) } as Session) : undefined;
    const deps = {
      host: { session },
      mayUse: () => !neighbours.includes("h!"),
      detour: (_: NodeId, avoid: ReadonlySet<NodeId>) => {
        avoided = [...avoid].join(" ");
        return detour?.split(" ");
      },
    };
    return { ...stepTo("h", opening("g h t").open, deps), avoided };
  };

  const rows: { what: string; neighbours: string; detour: string | undefined; to: string; via?: Via; asks?: false }[] =
    [
      { what: "is its link, though a detour is known", neighbours: "h d", detour: "d e", to: "h", asks: false },
      {
        what: "is a detour where there is no link",
        neighbours: "d",
        detour: "d e",
        to: "d",
        via: { to: 1, nodes: ["d", "e"] },
      },
      {
        what: "is a detour where the link is suspect",
        neighbours: "h? d",
        detour: "d",
        to: "d",
        via: { to: 1, nodes: ["d"] },
      },
      {
        what: "is a detour where the link is forbidden",
        neighbours: "h! d",
        detour: "d",
        to: "d",
        via: { to: 1, nodes: ["d"] },
      },
      { what: "is its link where no detour is known", neighbours: "h?", detour: undefined, to: "h" },
    ];
  for (const { what, neighbours, detour, to, via, asks = true } of rows) {
    it(what, () => assert.deepEqual(step(neighbours, detour), { to, via, avoided: asks ? "s g h t" : "" }));
  }
});

describe("routing: the head of a circuit's stream", () => {
  const [key, ...ids] = Array.from({ length: 1 + MAX_HOPS + MAX_DETOUR + 1 }, (_, n) => testKey(100 + n));
  const nodes = ids.map(({ publicKey }) => nodeIdOf(publicKey));
  const SOURCE = key ?? testKey(100);
  const open: Open = {
    fleet: "f".repeat(64),
    circuit: new Uint8Array(16),
    source: nodeIdOf(SOURCE.publicKey),
    path: nodes.slice(0, MAX_HOPS),
    expires: OPEN_LIFETIME_MS,
    epoch: 0xffff_ffff,
    received: Number.MAX_SAFE_INTEGER,
  };
  const between = nodes.slice(MAX_HOPS);
  const read = (head: unknown): Opening => readOpen(head, { fleet: open.fleet, nowMs: 0 });

  it("has room for the longest path and the longest detour", () => {
    const head = headOf(signOpen(SOURCE, open), { to: MAX_HOPS - 1, nodes: between.slice(0, MAX_DETOUR) });
    assert.ok(encodeCbor(head).length <= MAX_HEAD_BYTES / 2, `${encodeCbor(head).length} bytes`);
    const { signed, open: same, via } = read(head);
    assert.deepEqual(same, open);
    assert.deepEqual(headOf(signed, via), head);
  });

  const bad: Record<string, unknown> = {
    "more than four nodes": { to: 0, nodes: between },
    "no node": { to: 0, nodes: [] },
    "what is no node": { to: 0, nodes: ["hello"] },
    "a place before the path": { to: -1, nodes: between.slice(0, 1) },
    "half a place": { to: 0.5, nodes: between.slice(0, 1) },
    "a place beyond all paths": { to: MAX_HOPS, nodes: between.slice(0, 1) },
    "more members than it has": { to: 0, nodes: between.slice(0, 1), cost: 1 },
    "no place": { nodes: between.slice(0, 1) },
    "a list alone": between.slice(0, 1),
    null: null,
  };
  for (const [what, via] of Object.entries(bad)) {
    it(`is refused with a detour of ${what}`, () =>
      assert.throws(() => read(headOf(signOpen(SOURCE, open), via as Via)), { code: "routing.circuit-open" }));
  }
});
