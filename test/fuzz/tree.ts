import type { Random } from "#core";
import { pick } from "./target.ts";

/** A value of JSON, CBOR or bencode as it stands on the wire: a map keeps the order of its entries, and equal keys. */
export type Tree = null | undefined | boolean | number | bigint | string | Uint8Array | Tree[] | TreeMap;
export class TreeMap {
  readonly entries: [Tree, Tree][];
  constructor(entries: [Tree, Tree][]) {
    this.entries = entries;
  }
}

/** Values at which decoders break: ends of ranges, other types, names that every object has. */
const STRANGE: readonly Tree[] = [
  null,
  true,
  0,
  -0,
  1,
  -1,
  0.5,
  255,
  65_536,
  2 ** 31,
  2 ** 32,
  Number.MAX_SAFE_INTEGER,
  2n ** 53n,
  2n ** 64n - 1n,
  -(2n ** 63n),
  Number.NaN,
  Number.POSITIVE_INFINITY,
  1e308,
  "",
  "\0",
  "..",
  "/",
  "\u{feff}",
  "\u{1f4a9}",
  "\u{d800}",
  "__proto__",
  "constructor",
  "toString",
  "a".repeat(300),
  "9".repeat(400),
  "1970-01-01T00:00:00.000Z",
  "+275760-09-13T00:00:00.001Z",
  new Uint8Array(),
  new Uint8Array(32),
  new Uint8Array(33).fill(255),
];
/** Deeper than any decoder of ours goes. */
const DEEP = 80;
/** Copies of one value in a list: beyond most of the limits on lists. */
const MANY = [17, 65, 300, 5_000] as const;
/** A longer text is not doubled. */
const MAX_DOUBLED_CHARS = 10_000;
/** Values of one input that are looked at. */
const MAX_VALUES = 20_000;

/** Where a value stands: in a list, or as a key or value of a map. */
type Place = { get: () => Tree; set: (tree: Tree) => void; drop: () => void; double: () => void };

/** The tree with one change; `donors` lend it values of their own. */
export function mutateTree(random: Random, tree: Tree, donors: readonly Tree[]): Tree {
  const root: Tree[] = [structuredTree(tree)];
  const place = pick(random, placesIn(root));
  const old = place.get();
  switch (random.below(9)) {
    case 0:
      place.drop();
      break;
    case 1:
      place.double();
      break;
    case 2:
      place.set(strange(random));
      break;
    case 3:
      place.set(wrapped(random, old));
      break;
    case 4:
      place.set(lent(random, donors) ?? strange(random));
      break;
    case 5:
      if (old instanceof TreeMap) old.entries.push([pick(random, ["__proto__", "x", 1, "t"]), strange(random)]);
      else place.set(new TreeMap([["constructor", old]]));
      break;
    case 6:
      if (Array.isArray(old)) old.push(...Array.from({ length: pick(random, MANY) }, () => old[0] ?? 0));
      else place.set([old, old]);
      break;
    default:
      place.set(nudged(random, old));
  }
  return isSmall(root[0]) ? root[0] : tree;
}

/** Whether it has few enough values, counting those that stand in several places each time: copies of copies grow fast. */
function isSmall(tree: Tree): boolean {
  const open: Tree[] = [tree];
  for (let count = 0; count < MAX_VALUES; count++) {
    const node = open.pop();
    if (node === undefined && open.length === 0) return true;
    if (open.length > MAX_VALUES) return false;
    if (Array.isArray(node)) open.push(...node);
    else if (node instanceof TreeMap) for (const [key, value] of node.entries) open.push(key, value);
  }
  return false;
}

function placesIn(root: Tree[]): Place[] {
  const found: Place[] = [];
  const open: Tree[] = [root];
  for (let node = open.pop(); node !== undefined && found.length < MAX_VALUES; node = open.pop()) {
    if (Array.isArray(node)) {
      const list = node;
      for (const [at, value] of list.entries()) {
        found.push({
          get: () => list[at],
          set: (tree) => (list[at] = tree),
          drop: () => list.splice(at, 1),
          double: () => list.splice(at, 0, list[at]),
        });
        if (value !== undefined) open.push(value);
      }
    } else if (node instanceof TreeMap) {
      const { entries } = node;
      for (const [at, entry] of entries.entries()) {
        const whole = { drop: () => entries.splice(at, 1), double: () => entries.splice(at, 0, [...entry]) };
        found.push({ get: () => entry[0], set: (tree) => (entry[0] = tree), ...whole });
        found.push({ get: () => entry[1], set: (tree) => (entry[1] = tree), ...whole });
        if (entry[1] !== undefined) open.push(entry[1]);
      }
    }
  }
  return found;
}

function strange(random: Random): Tree {
  return pick(random, STRANGE);
}

function lent(random: Random, donors: readonly Tree[]): Tree {
  if (donors.length === 0) return undefined;
  return structuredTree(pick(random, placesIn([pick(random, donors)])).get());
}

/** A copy, so that a change here is none there. */
function structuredTree(tree: Tree): Tree {
  if (Array.isArray(tree)) return tree.map(structuredTree);
  if (!(tree instanceof TreeMap)) return tree;
  return new TreeMap(tree.entries.map(([key, value]) => [structuredTree(key), structuredTree(value)]));
}

function wrapped(random: Random, tree: Tree): Tree {
  let outer = tree;
  const depth = random.below(4) === 0 ? DEEP : 1;
  for (let at = 0; at < depth; at++) outer = random.below(2) === 0 ? [outer] : new TreeMap([["a", outer]]);
  return outer;
}

/** A value of the same type that is a little different. */
function nudged(random: Random, tree: Tree): Tree {
  if (typeof tree === "number") return tree + pick(random, [-1, 1, 0.5, 2 ** random.below(60)]);
  if (typeof tree === "bigint") return BigInt.asUintN(64, tree + 1n);
  if (typeof tree === "boolean") return !tree;
  if (typeof tree === "string") {
    const at = random.below(tree.length + 1);
    const put = pick(random, ["", "-", "é", "0", " ", "=", tree.slice(0, MAX_DOUBLED_CHARS)]);
    return tree.slice(0, at) + put + tree.slice(at + random.below(2));
  }
  if (tree instanceof Uint8Array) {
    if (random.below(2) === 0) return tree.subarray(0, random.below(tree.length + 1));
    const copy = Uint8Array.from(tree);
    if (copy.length > 0) copy[random.below(copy.length)] = random.below(256);
    return copy;
  }
  if (Array.isArray(tree)) return tree.toReversed();
  if (tree instanceof TreeMap) return new TreeMap(tree.entries.toReversed());
  return strange(random);
}
