import type { Random } from "#core";

/** How valid input is built, so that mutations get past the first check. `text` is bytes with words in them. */
export type Grammar = "bytes" | "text" | "json" | "cbor" | "bencode";

/** Takes one input. Returns a few words about what it was, throws as the decoder does, or `Wrong` when what came out is wrong. */
export type Eat = (input: Uint8Array) => string | Promise<string>;

/** A decoder of bytes that a peer, a person or a file gives, as the fuzzer sees it. */
export type FuzzTarget = {
  /** As one types it, and the folder of its inputs in test/corpus. */
  name: string;
  /** Decoders of src that it feeds, as `file#export`; a file alone for one that exports none. */
  covers: readonly string[];
  grammar: Grammar;
  /** Longest input, where the decoder is fed larger ones in pieces; default `MAX_INPUT_BYTES`. */
  maxBytes?: number;
  /** Valid inputs to start from; the same in every run. */
  seeds: () => readonly Uint8Array[];
  /** Codes of the Faults with which input may be refused. */
  refuses: readonly string[];
  /** What eats; it may keep state from input to input, for that is where refused input must leave no trace. */
  prepare: () => Eat | Promise<Eat>;
};

/** The decoder took the input and made something wrong of it, or of its own state. */
export class Wrong extends Error {}

/** Throws `Wrong` unless it holds. */
export function mustHold(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Wrong(what);
}

/** Throws `Wrong` when encoding again what was decoded does not give the same bytes. */
export function mustReturn(again: Uint8Array, input: Uint8Array): void {
  mustHold(Buffer.compare(again, input) === 0, "decoding and encoding again gives other bytes");
}

/** One of a list, which is not empty. */
export function pick<T>(random: Random, list: readonly T[]): T {
  return list[random.below(list.length)] as T;
}
