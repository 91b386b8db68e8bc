import { type Fault, parseJson } from "#core";
import {
  canonicalBlob,
  canonicalEntry,
  type Listing,
  ListingBuilder,
  MAX_LISTING_BYTES,
  notAListing,
} from "./listing.ts";

/** One entry at most: two texts of 1,024 characters, each of which may take six bytes, and its numbers. */
const MAX_ELEMENT_BYTES = 16 * 1024;
/** Elements that are read in one turn of the event loop: 2 to 5 ms. */
const ELEMENTS_PER_TURN = 500;

const HEAD = Buffer.from('{"blobs":[');
const MIDDLE = Buffer.from('],"entries":[');
const END = Buffer.from("]}");
const [OPEN, CLOSE, COMMA, QUOTE, BACKSLASH] = [0x7b, 0x7d, 0x2c, 0x22, 0x5c];

/**
 * Reads an encoded listing element by element, and lets others have their turn in between: one of 64 MiB takes seconds. Each element must be
 * the very bytes that encoding it again gives, and nothing but one comma stands between two, so that the whole is in the one form.
 *
 * Throws Fault `artifacts.listing` or `core.json` (exit `invalid`).
 */
export async function decodeListing(bytes: Uint8Array): Promise<Listing> {
  if (bytes.length > MAX_LISTING_BYTES) throw notAListing(`${bytes.length} bytes is over the limit`);
  const built = new ListingBuilder();
  const cursor = new Cursor(bytes);
  cursor.take(HEAD);
  await cursor.elements((element) => canonicalBlob(built.addBlob(element)));
  cursor.take(MIDDLE);
  await cursor.elements((element) => canonicalEntry(built.addEntry(element)));
  cursor.take(END);
  cursor.end();
  return built.listing;
}

/** A place in an encoded listing. */
class Cursor {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Passes over what must stand here. */
  take(expected: Uint8Array): void {
    const found = this.#bytes.subarray(this.#at, this.#at + expected.length);
    if (Buffer.compare(found, expected) !== 0) throw otherForm();
    this.#at += expected.length;
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw otherForm();
  }

  /** Reads objects up to what is none. `take` says how each is written in the one form. */
  async elements(take: (element: unknown) => unknown): Promise<void> {
    if (this.#bytes[this.#at] !== OPEN) return;
    for (let count = 1; ; count++) {
      const element = this.#element();
      const form = Buffer.from(JSON.stringify(take(parseJson(element, MAX_ELEMENT_BYTES))));
      if (Buffer.compare(form, element) !== 0) throw otherForm();
      if (this.#bytes[this.#at] !== COMMA) return;
      this.#at += 1;
      if (count % ELEMENTS_PER_TURN === 0) await nextTurn();
    }
  }

  /** The bytes up to the brace that closes the object that begins here; there are no objects inside of it. */
  #element(): Uint8Array {
    const start = this.#at;
    let inText = false;
    for (let at = start; at < this.#bytes.length && at < start + MAX_ELEMENT_BYTES; at++) {
      const byte = this.#bytes[at];
      if (byte === QUOTE) inText = !inText;
      else if (byte === BACKSLASH) at += 1;
      else if (byte === CLOSE && !inText) {
        this.#at = at + 1;
        return this.#bytes.subarray(start, this.#at);
      }
    }
    throw otherForm();
  }
}

function otherForm(): Fault {
  return notAListing("not in the one form that it may have");
}

/** Whatever else waits for the event loop goes first. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
