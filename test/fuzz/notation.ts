import { decode, rfc8949EncodeOptions, encode } from "cborg";
import type { Random } from "#core";
import { decodeBencode } from "../../src/artifacts/torrent/bencode.ts";
import { pick } from "./target.ts";
import { type Tree, TreeMap } from "./tree.ts";

/** How a tree is read from bytes and written to them. `read`: undefined for bytes that are not of this notation. */
export type Notation = {
  read: (bytes: Uint8Array) => Tree;
  /** Now and then in another way than the canonical one, where the notation has several. */
  write: (random: Random, tree: Tree) => Uint8Array;
};

/** JSON with duplicate keys, and with numbers as they come. */
export const json: Notation = {
  read: (bytes) => attempt(() => fromValue(JSON.parse(Buffer.from(bytes).toString()))),
  write: (random, tree) => {
    const text = jsonText(tree);
    return Buffer.from(random.below(20) === 0 ? ` ${text}\n` : text);
  },
};

/** RFC 8949; every so often a head that is too long, or a length that is left open. */
export const cbor: Notation = {
  read: (bytes) => attempt(() => fromValue(decode(bytes, { useMaps: true, rejectDuplicateMapKeys: false }))),
  write: (random, tree) => {
    const out: Uint8Array[] = [];
    writeCbor(random, out, tree, random.below(8) === 0 ? 16 : Number.POSITIVE_INFINITY);
    return Buffer.concat(out);
  },
};

/** BEP 3, its keys sorted as the encoder does, or not. */
export const bencode: Notation = {
  read: (bytes) => attempt(() => fromValue(decodeBencode(bytes))),
  write: (random, tree) => Buffer.from(bencodeText(random, tree), "latin1"),
};

function attempt(read: () => Tree): Tree {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function fromValue(value: unknown): Tree {
  if (Array.isArray(value)) return value.map(fromValue);
  if (value instanceof Uint8Array || value === null || typeof value !== "object") return value as Tree;
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return new TreeMap(entries.map(([key, one]) => [fromValue(key), fromValue(one)]));
}

function jsonText(tree: Tree): string {
  if (Array.isArray(tree)) return `[${tree.map(jsonText).join(",")}]`;
  if (tree instanceof TreeMap) {
    return `{${tree.entries.map(([key, value]) => `${jsonText(keyText(key))}:${jsonText(value)}`).join(",")}}`;
  }
  if (typeof tree === "bigint") return tree.toString();
  if (tree instanceof Uint8Array) return JSON.stringify(Buffer.from(tree).toString("base64"));
  if (Object.is(tree, -0)) return "-0";
  return JSON.stringify(tree) ?? "null";
}

function keyText(key: Tree): string {
  return typeof key === "string" ? key : jsonText(key);
}

/** `oddity`: one value in so many is written in a way that is not the canonical one. */
function writeCbor(random: Random, out: Uint8Array[], tree: Tree, oddity: number): void {
  const odd = Number.isFinite(oddity) && random.below(oddity) === 0;
  if (Array.isArray(tree)) {
    out.push(odd ? Buffer.of(0x9f) : head(4, tree.length));
    for (const one of tree) writeCbor(random, out, one, oddity);
    if (odd) out.push(Buffer.of(0xff));
  } else if (tree instanceof TreeMap) {
    out.push(odd ? Buffer.of(0xbf) : head(5, tree.entries.length));
    for (const [key, value] of tree.entries) {
      writeCbor(random, out, key, oddity);
      writeCbor(random, out, value, oddity);
    }
    if (odd) out.push(Buffer.of(0xff));
  } else if (odd) {
    out.push(Buffer.from(pick(random, ["c101", "f97e00", "1800", "3818", "6261", "5f4100ff", "f8ff", "1c"]), "hex"));
  } else {
    out.push(encode(tree ?? null, rfc8949EncodeOptions));
  }
}

function head(major: number, count: number): Uint8Array {
  if (count < 24) return Buffer.of((major << 5) | count);
  if (count < 256) return Buffer.of((major << 5) | 24, count);
  const wide = Buffer.alloc(3);
  wide[0] = (major << 5) | 25;
  wide.writeUInt16BE(Math.min(count, 65_535), 1);
  return wide;
}

function bencodeText(random: Random, tree: Tree): string {
  if (Array.isArray(tree)) return `l${tree.map((one) => bencodeText(random, one)).join("")}e`;
  if (tree instanceof TreeMap) {
    const entries = tree.entries.map(([key, value]): [string, Tree] => [latin1(key), value]);
    const ordered = random.below(8) === 0 ? entries : entries.toSorted(([a], [b]) => (a < b ? -1 : 1));
    return `d${ordered.map(([key, value]) => `${key.length}:${key}${bencodeText(random, value)}`).join("")}e`;
  }
  if (typeof tree === "number" || typeof tree === "bigint") return `i${tree}e`;
  const text = latin1(tree);
  return `${text.length}:${text}`;
}

function latin1(tree: Tree): string {
  if (tree instanceof Uint8Array) return Buffer.from(tree).toString("latin1");
  return Buffer.from(typeof tree === "string" ? tree : jsonText(tree)).toString("latin1");
}
