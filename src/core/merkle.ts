import { createHash } from "node:crypto";

/** SHA-256 output. */
export const HASH_BYTES = 32;

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

/** RFC 6962 §2.1 leaf hash: SHA-256(0x00 ‖ data), over data in any number of pieces. */
export function leafHash(...pieces: readonly Uint8Array[]): Uint8Array {
  const hash = createHash("sha256").update(LEAF);
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
}

/** RFC 6962 §2.1 interior node: SHA-256(0x01 ‖ left ‖ right). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return createHash("sha256").update(NODE).update(left).update(right).digest();
}

/** The RFC 6962 root over leaf (or equal-height interior) hashes, in order; of none: SHA-256 of nothing. */
export function merkleRoot(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length === 0) return createHash("sha256").digest();
  // Pairing neighbours level by level and lifting an odd last one equals the recursive split at the largest power of two.
  let level = hashes;
  while (level.length > 1) {
    const next: Uint8Array[] = [];
    for (let i = 0; i + 1 < level.length; i += 2) {
      next.push(nodeHash(level[i] as Uint8Array, level[i + 1] as Uint8Array));
    }
    if (level.length % 2 === 1) next.push(level.at(-1) as Uint8Array);
    level = next;
  }
  return level[0] as Uint8Array;
}

/** The sibling hashes that prove leaf `index` of `hashes`, from the leaf up (RFC 6962 §2.1.1). */
export function auditPath(hashes: readonly Uint8Array[], index: number): Uint8Array[] {
  const path: Uint8Array[] = [];
  let level = hashes;
  let at = index;
  while (level.length > 1) {
    const sibling = at % 2 === 0 ? level[at + 1] : level[at - 1];
    if (sibling !== undefined) path.push(sibling);
    const next: Uint8Array[] = [];
    for (let i = 0; i < level.length; i += 2) {
      const right = level[i + 1];
      next.push(right === undefined ? (level[i] as Uint8Array) : nodeHash(level[i] as Uint8Array, right));
    }
    level = next;
    at >>= 1;
  }
  return path;
}

/** Whether `path` leads from `leaf` at `index` of `size` leaves to `root` (RFC 9162 §2.1.3.2). */
export function verifyAuditPath(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!Number.isSafeInteger(index) || index < 0 || index >= size) return false;
  let at = index;
  let last = size - 1;
  let hash = leaf;
  for (const sibling of path) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(sibling, hash);
      while (at % 2 === 0 && at !== 0) {
        at = Math.floor(at / 2);
        last = Math.floor(last / 2);
      }
    } else {
      hash = nodeHash(hash, sibling);
    }
    at = Math.floor(at / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && Buffer.compare(hash, root) === 0;
}
