import { createHash } from "node:crypto";
import type { SignedDocument } from "./document.ts";

/** Groups that two nodes compare before they list documents. */
export const SUMMARY_BUCKETS = 256;
/** What one bucket's digest is cut to on the wire. */
const BUCKET_DIGEST_BYTES = 8;

/** A digest over a set of documents that is kept up to date one by one: each bucket is the XOR of its documents' hashes. */
export class DocumentSummary {
  #buckets = emptyBuckets();

  /** Puts a document in, or takes it out: the same step twice changes nothing. */
  toggle(document: SignedDocument): void {
    const bucket = this.#buckets[bucketOf(document.id)] as Buffer;
    const hash = hashOf(document);
    for (let i = 0; i < bucket.length; i++) bucket[i] = (bucket[i] as number) ^ (hash[i] as number);
  }

  clear(): void {
    this.#buckets = emptyBuckets();
  }

  /** SHA-256 over all buckets: equal on two nodes that know the same. */
  digest(): Uint8Array {
    return createHash("sha256").update(Buffer.concat(this.#buckets)).digest();
  }

  /** One value per bucket, to find out which part differs. */
  bucketDigests(): Uint8Array[] {
    return this.#buckets.map((bucket) => bucket.subarray(0, BUCKET_DIGEST_BYTES));
  }
}

/** The bucket that an id falls into. */
export function bucketOf(id: string): number {
  return createHash("sha256").update(id).digest()[0] as number;
}

function hashOf({ id, body, digest }: SignedDocument): Buffer {
  return createHash("sha256").update(`${id}\n${body.version}\n${digest}`).digest();
}

function emptyBuckets(): Buffer[] {
  return Array.from({ length: SUMMARY_BUCKETS }, () => Buffer.alloc(32));
}
