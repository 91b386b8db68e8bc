import { Fault, merkleRoot } from "#core";
import { z } from "zod";
import { type BlobRef, chunkBytesFor, chunkHash, isBlobRef } from "./chunk-map.ts";

/** Entries of one artifact: a directory with more is refused when it is published. */
export const MAX_ENTRIES = 200_000;
/** Room for all entries at 300 bytes each; it is held in memory while the artifact is written out. */
export const MAX_LISTING_BYTES = 64 * 1024 * 1024;
/** Of one path, in UTF-16 units; Linux allows 4,096 bytes for a whole one. */
const MAX_PATH_CHARS = 1_024;

const blob = z.strictObject({ root: z.string().regex(/^[0-9a-f]{64}$/u), sizeBytes: z.int().min(0) });
const path = z.string().min(1).max(MAX_PATH_CHARS).refine(isInnerPath, "not a path inside the artifact");
const mode = z.int().min(0).max(0o777);

const entry = z.union([
  /** A file: `sizeBytes` of blob number `blob` from `offset` on. */
  z.strictObject({ path, mode, sizeBytes: z.int().min(0), blob: z.int().min(0), offset: z.int().min(0) }),
  /** A symbolic link that stays inside. */
  z.strictObject({ path, link: z.string().min(1).max(MAX_PATH_CHARS) }),
  /** A directory without entries. */
  z.strictObject({ path, empty: z.literal(true) }),
]);

const whole = z.strictObject({
  blobs: z.array(z.unknown()).max(MAX_ENTRIES),
  entries: z.array(z.unknown()).max(MAX_ENTRIES),
});

export type Entry = z.infer<typeof entry>;
/** What a directory holds: blobs with the bytes, and entries that say which file is where in them, sorted by path. */
export type Listing = { blobs: ListedBlob[]; entries: Entry[] };
type ListedBlob = z.infer<typeof blob>;

/** Checks what somebody else wrote. Throws Fault `artifacts.listing` (exit `invalid`), its message saying where. */
export function parseListing(value: unknown): Listing {
  const found = check(whole, value, "");
  const built = new ListingBuilder();
  for (const one of found.blobs) built.addBlob(one);
  for (const one of found.entries) built.addEntry(one);
  return built.listing;
}

/**
 * Takes a listing one by one, blobs first, so that it ends at the first that is wrong: a schema of the whole looks at all 200,000 and
 * describes each. What it takes is a listing so far. Throws Fault `artifacts.listing` (exit `invalid`).
 */
export class ListingBuilder {
  readonly listing: Listing = { blobs: [], entries: [] };
  readonly #leaves = new Set<string>();
  #last = "";

  addBlob(value: unknown): ListedBlob {
    const { blobs } = this.listing;
    const one = check(blob, value, `blobs.${blobs.length}.`);
    if (blobs.length >= MAX_ENTRIES) throw notAListing(`more than ${MAX_ENTRIES} blobs`);
    if (!isBlobRef(refOf(one))) throw notAListing(`blob ${blobs.length} cannot be that large`);
    blobs.push(one);
    return one;
  }

  addEntry(value: unknown): Entry {
    const { entries } = this.listing;
    const one = check(entry, value, `entries.${entries.length}.`);
    if (entries.length >= MAX_ENTRIES) throw notAListing(`more than ${MAX_ENTRIES} entries`);
    const problem = this.#problemOf(one);
    if (problem !== undefined) throw notAListing(problem);
    this.#last = one.path;
    this.#leaves.add(one.path);
    entries.push(one);
    return one;
  }

  #problemOf(one: Entry): string | undefined {
    if (one.path <= this.#last) return `"${one.path}" stands twice or out of order`;
    // A path sorts behind each of those above it, so a file in the way has come already.
    if (parentsOf(one.path).some((parent) => this.#leaves.has(parent))) {
      return `"${one.path}" is below something that is no directory`;
    }
    if ("link" in one && !isInnerLink(one.path, one.link)) return `the link "${one.path}" leads outside`;
    const within = "blob" in one ? this.listing.blobs[one.blob] : undefined;
    const isOutside = "blob" in one && (within === undefined || one.offset + one.sizeBytes > within.sizeBytes);
    return isOutside ? `"${one.path}" is outside of its blob` : undefined;
  }
}

function check<S extends z.ZodType>(schema: S, value: unknown, where: string): z.infer<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw notAListing(`${where}${issue?.path.join(".") ?? ""} ${issue?.message ?? ""}`);
}

/** Fault `artifacts.listing`. */
export function notAListing(why: string): Fault {
  return new Fault("artifacts.listing", `not a listing: ${why}`, { exit: "invalid" });
}

/** The one form in which a listing is stored, sent and hashed: JSON without spaces, members in this order. */
export function encodeListing({ blobs, entries }: Listing): Uint8Array {
  return Buffer.from(JSON.stringify({ blobs: blobs.map(canonicalBlob), entries: entries.map(canonicalEntry) }));
}

/** A blob with its members in the order in which they are written. */
export function canonicalBlob({ root, sizeBytes }: ListedBlob): ListedBlob {
  return { root, sizeBytes };
}

/** An entry with its members in the order in which they are written. */
export function canonicalEntry(one: Entry): Entry {
  if ("link" in one) return { path: one.path, link: one.link };
  if ("empty" in one) return { path: one.path, empty: true };
  return { path: one.path, mode: one.mode, sizeBytes: one.sizeBytes, blob: one.blob, offset: one.offset };
}

/** Name, size and chunk size of a blob with these bytes. */
export function blobRefOf(bytes: Uint8Array): BlobRef {
  const chunkBytes = chunkBytesFor(bytes.length);
  const hashes: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += chunkBytes) hashes.push(chunkHash(bytes.subarray(at, at + chunkBytes)));
  return { root: Buffer.from(merkleRoot(hashes)).toString("hex"), sizeBytes: bytes.length, chunkBytes };
}

/** A blob of a listing with its chunk size, which follows from its size. */
export function refOf({ root, sizeBytes }: Listing["blobs"][number]): BlobRef {
  return { root, sizeBytes, chunkBytes: chunkBytesFor(sizeBytes) };
}

/** Relative, normalised, without `..`, `.`, empty parts or NUL. */
export function isInnerPath(text: string): boolean {
  return !text.includes("\0") && text.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

/**
 * Whether a link at `path` to `target` cannot lead out of the artifact: relative, `..` only in front, and no more of them
 * than there are directories above. Further links on the way obey the same rule, so they do not lead out either.
 */
export function isInnerLink(path: string, target: string): boolean {
  const parts = target.split("/");
  const up = parts.findIndex((part) => part !== "..");
  const rest = up < 0 ? [] : parts.slice(up);
  const climbs = up < 0 ? parts.length : up;
  return climbs < path.split("/").length && (rest.length === 0 || isInnerPath(rest.join("/")));
}

/** The directories above a path, from the top. */
export function parentsOf(path: string): string[] {
  const parts = path.split("/").slice(0, -1);
  return parts.map((_, at) => parts.slice(0, at + 1).join("/"));
}
