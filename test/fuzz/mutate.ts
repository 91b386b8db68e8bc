import type { Random } from "#core";
import * as notations from "./notation.ts";
import { type Grammar, pick } from "./target.ts";
import { mutateTree, type Tree } from "./tree.ts";

/** Longest input: beyond most of the limits in bytes, and small enough for thousands a second. */
export const MAX_INPUT_BYTES = 256 * 1024;
/** Changes made to one input, one after the other. */
const MAX_CHANGES = 4;
/** Inputs whose parts are lent to others at one change. */
const DONORS = 3;

/** A new input: one of the corpus, changed a few times. */
export function mutate(random: Random, grammar: Grammar, corpus: readonly Uint8Array[]): Uint8Array {
  const notation = grammar === "bytes" || grammar === "text" ? undefined : notations[grammar];
  let input = pick(random, corpus);
  const tree = notation?.read(input);
  const changes = 1 + random.below(MAX_CHANGES);
  if (notation !== undefined && tree !== undefined && random.below(5) > 0) {
    const donors = Array.from({ length: DONORS }, () => notation.read(pick(random, corpus)));
    let changed: Tree = tree;
    for (let at = 0; at < changes; at++) changed = mutateTree(random, changed, donors);
    input = notation.write(random, changed);
    if (random.below(10) > 0) return input.subarray(0, MAX_INPUT_BYTES);
  }
  for (let at = 0; at < changes; at++) {
    const asText = grammar === "text" || (grammar === "json" && random.below(2) === 0);
    input = asText ? mutateText(random, input, corpus) : mutateBytes(random, input, corpus);
  }
  return input.subarray(0, MAX_INPUT_BYTES);
}

const WORDS: readonly Uint8Array[] = [
  ..."\0|\r\n|\n|\t| |,|;|:|=|/|..|-|[|]|{|}|\"|'|\\|*|&a |*a|!!|<<: |? |#|%|+|-1|0|00|1e999|0x10|99999999999999999999|null|true|__proto__|constructor|\u{feff}|\u{2028}|é|K|K"
    .split("|")
    .map((word) => Buffer.from(word)),
  Buffer.of(0xff),
  Buffer.of(0xc3),
  Buffer.from("eda080", "hex"),
];

/** Words moved, doubled, left out, or replaced by strange ones. */
function mutateText(random: Random, input: Uint8Array, corpus: readonly Uint8Array[]): Uint8Array {
  if (random.below(4) === 0) return mutateBytes(random, input, corpus);
  const words = Buffer.from(input)
    .toString("latin1")
    .split(/(?<=[^A-Za-z0-9])|(?=[^A-Za-z0-9])/u);
  const at = random.below(words.length);
  const other = random.below(words.length);
  switch (random.below(5)) {
    case 0:
      words.splice(at, 1 + random.below(3));
      break;
    case 1:
      words.splice(at, 0, ...words.slice(other, other + 1 + random.below(8)));
      break;
    case 2:
      [words[at], words[other]] = [words[other] ?? "", words[at] ?? ""];
      break;
    case 3:
      words[at] = (words[at] ?? "").slice(0, 100).repeat(pick(random, [2, 3, 64, 2_000]));
      break;
    default:
      words.splice(at, random.below(2), Buffer.from(pick(random, WORDS)).toString("latin1"));
  }
  return Buffer.from(words.join("").slice(0, MAX_INPUT_BYTES), "latin1");
}

/** Numbers as lengths and counts have them, at the ends of their ranges. */
const NUMBERS = [0, 1, 7, 127, 128, 255, 256, 32_767, 65_535, 65_536, 2 ** 20, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];

function mutateBytes(random: Random, input: Uint8Array, corpus: readonly Uint8Array[]): Uint8Array {
  const at = random.below(input.length + 1);
  const length = random.below(Math.min(input.length - at, 2 ** random.below(10)) + 1);
  const [before, part, after] = [input.subarray(0, at), input.subarray(at, at + length), input.subarray(at + length)];
  switch (random.below(8)) {
    case 0:
      return Buffer.concat([before, after]);
    case 1:
      return Buffer.concat([before, part, part, after]);
    case 2:
      return before;
    case 3:
      return Buffer.concat([before, random.bytes(1 + random.below(8)), after]);
    case 4: {
      const other = pick(random, corpus);
      return Buffer.concat([before, other.subarray(random.below(other.length + 1))]);
    }
    case 5: {
      const number = Buffer.alloc(pick(random, [1, 2, 4]));
      const value = pick(random, NUMBERS) % 256 ** number.length;
      if (random.below(2) === 0) number.writeUIntBE(value, 0, number.length);
      else number.writeUIntLE(value, 0, number.length);
      return Buffer.concat([before, number, input.subarray(at + number.length)]);
    }
    case 6: {
      const times = Math.min(2 ** random.below(14), Math.floor(MAX_INPUT_BYTES / (part.length + 1)));
      return Buffer.concat([before, ...Array.from({ length: times }, () => part), after]);
    }
    default: {
      const copy = Uint8Array.from(input);
      const where = random.below(Math.max(1, copy.length));
      if (copy.length > 0) copy[where] = (copy[where] ?? 0) ^ (1 << random.below(8));
      return copy;
    }
  }
}
