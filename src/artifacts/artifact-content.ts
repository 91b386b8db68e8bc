import { Fault } from "#core";
import { z } from "zod";
import { type BlobRef, chunkBytesFor, isBlobRef } from "./chunk-map.ts";
import { blobRefOf, encodeListing, type Listing, parseListing } from "./listing.ts";

/** Listings up to this size stand in the document itself, which may have 64 KiB; larger ones are a blob of their own. */
export const MAX_INLINE_BYTES = 32 * 1024;

/** The spec of an Artifact document: what is signed. Docs: docs/spec/artifact.md. */
export type ArtifactContent = {
  mediaType: string;
  /** Of all files together. */
  sizeBytes: number;
  /** How many files. */
  files: number;
  directory: boolean;
  /** Of a file: its blob. Of a directory: the encoded listing. */
  root: string;
  chunkBytes: number;
  content: Record<string, unknown>;
};

/** How the rest of an artifact's content is found. */
export type ContentPlan =
  | { type: "file"; blob: BlobRef; name: string; mode: number }
  | { type: "inline"; listing: Listing }
  | { type: "listed"; listing: BlobRef };

const content = z.union([
  z.strictObject({ name: z.string().min(1).max(255), mode: z.int().min(0).max(0o777) }),
  z.strictObject({ listing: z.unknown() }),
  z.strictObject({ listingBytes: z.int().min(1) }),
]);

/** The content of one file. */
export function fileContent(blob: BlobRef, name: string, mode: number, mediaType: string): ArtifactContent {
  const { root, sizeBytes, chunkBytes } = blob;
  return { mediaType, sizeBytes, files: 1, directory: false, root, chunkBytes, content: { name, mode } };
}

/** The content of a directory; `inline` tells whether its listing need not be stored as a blob. */
export function directoryContent(listing: Listing, mediaType: string): { content: ArtifactContent; inline: boolean } {
  const bytes = encodeListing(listing);
  const inline = JSON.stringify(listing).length <= MAX_INLINE_BYTES;
  const { root, chunkBytes } = blobRefOf(bytes);
  const sizes = listing.entries.map((entry) => ("blob" in entry ? entry.sizeBytes : 0));
  const sizeBytes = sizes.reduce((sum, size) => sum + size, 0);
  const files = listing.entries.filter((entry) => "blob" in entry).length;
  const where = inline ? { listing } : { listingBytes: bytes.length };
  return { inline, content: { mediaType, sizeBytes, files, directory: true, root, chunkBytes, content: where } };
}

/** Reads what a document says. Throws Fault `artifacts.content` or `artifacts.listing` (exit `invalid`). */
export function planContent(spec: ArtifactContent): ContentPlan {
  const result = content.safeParse(spec.content);
  if (!result.success) throw refuse("its content is in no form that this version knows");
  const { data } = result;
  if ("name" in data) {
    const blob = { root: spec.root, sizeBytes: spec.sizeBytes, chunkBytes: spec.chunkBytes };
    if (!isBlobRef(blob) || spec.directory) throw refuse("its root, size and chunk size do not fit together");
    return { type: "file", blob, name: data.name, mode: data.mode };
  }
  if ("listing" in data) {
    const listing = parseListing(data.listing);
    if (blobRefOf(encodeListing(listing)).root !== spec.root) throw refuse("its root is not that of its listing");
    return { type: "inline", listing };
  }
  const sizeBytes = data.listingBytes;
  const listing = { root: spec.root, sizeBytes, chunkBytes: chunkBytesFor(sizeBytes) };
  if (!isBlobRef(listing)) throw refuse("its listing is no blob");
  return { type: "listed", listing };
}

/** Roots of the blobs that are fetched first: who serves those has the others. */
export function firstRoots(plan: ContentPlan): string[] {
  if (plan.type === "file") return [plan.blob.root];
  return plan.type === "listed" ? [plan.listing.root] : plan.listing.blobs.map(({ root }) => root);
}

function refuse(why: string): Fault {
  return new Fault("artifacts.content", `the artifact cannot be read: ${why}`, {
    exit: "invalid",
    fix: "Publish it again, or update this node.",
  });
}
