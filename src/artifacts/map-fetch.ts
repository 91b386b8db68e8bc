import { HASH_BYTES } from "#core";
import type { NodeId } from "#identity";
import { type BlobRef, ChunkMap } from "./chunk-map.ts";
import { MAX_MAP_HASHES } from "./wire.ts";

/** A peer has this long for each part of a map; then it is asked no more. */
const PART_MS = 5_000;
/** Beside a peer that takes longer than this for a part, and than four times what it took for any part before, a second one is asked. */
const SLOW_MS = 500;
const SLOW_FACTOR = 4;
/** Peers that are asked at once: each fills a map of its own, because only a whole map shows whether it is right. */
const MAX_ASKED = 2;

/** Part of a map that a peer is to send. */
export type MapRequest = { peer: NodeId; first: number; count: number };

/** What came from one peer so far. */
type Attempt = { bytes: Buffer; next: number; askedMs: number; slowestMs: number };

/** Gets the chunk hashes of a blob from its peers: from one, and from a second when that one is slow. The first map that leads to the root counts. */
export class MapFetch {
  readonly #ref: BlobRef;
  readonly #chunkCount: number;
  readonly #asked = new Map<NodeId, Attempt>();
  readonly #failed = new Set<NodeId>();

  constructor(ref: BlobRef) {
    this.#ref = ref;
    this.#chunkCount = Math.ceil(ref.sizeBytes / ref.chunkBytes);
  }

  /** Whom to ask for what now; `undefined` while an answer is due or nobody is left. */
  ask(peers: Iterable<NodeId>, nowMs: number): MapRequest | undefined {
    const all = [...peers];
    for (const [peer, { askedMs }] of this.#asked) {
      if (nowMs - askedMs >= PART_MS || !all.includes(peer)) this.#giveUp(peer);
    }
    const waiting = [...this.#asked.values()];
    if (waiting.length >= MAX_ASKED || waiting.some((attempt) => !isSlow(attempt, nowMs))) return undefined;
    const peer = all.find((one) => !this.#failed.has(one) && !this.#asked.has(one));
    if (peer === undefined) {
      if (waiting.length === 0) this.#failed.clear(); // a peer that had none may have it by the next time
      return undefined;
    }
    const bytes = Buffer.alloc(this.#chunkCount * HASH_BYTES);
    const attempt = { bytes, next: 0, askedMs: nowMs, slowestMs: 0 };
    this.#asked.set(peer, attempt);
    return this.#request(peer, attempt);
  }

  #request(peer: NodeId, { next }: Attempt): MapRequest {
    return { peer, first: next, count: Math.min(MAX_MAP_HASHES, this.#chunkCount - next) };
  }

  #giveUp(peer: NodeId): void {
    this.#asked.delete(peer);
    this.#failed.add(peer);
  }

  /**
   * Takes a part. `wrong`: the peer's map does not lead to the root, which only a liar can bring about, because the peer had to
   * verify it first; `map`: done; otherwise the next request, or nothing when the peer had none or was not asked.
   */
  take(
    peer: NodeId,
    first: number,
    payload: readonly Uint8Array[],
    nowMs: number,
  ): { map: ChunkMap } | { wrong: true } | { request: MapRequest } | undefined {
    const attempt = this.#asked.get(peer);
    if (attempt === undefined || first !== attempt.next) return undefined;
    const part = Buffer.concat(payload);
    const { count } = this.#request(peer, attempt);
    if (part.length !== count * HASH_BYTES) {
      this.#giveUp(peer);
      return undefined;
    }
    attempt.bytes.set(part, attempt.next * HASH_BYTES);
    attempt.next += count;
    attempt.slowestMs = Math.max(attempt.slowestMs, nowMs - attempt.askedMs);
    attempt.askedMs = nowMs;
    if (attempt.next < this.#chunkCount) return { request: this.#request(peer, attempt) };
    const map = ChunkMap.verify(this.#ref, attempt.bytes);
    if (map !== undefined) return { map };
    this.#giveUp(peer);
    return { wrong: true };
  }
}

function isSlow({ askedMs, slowestMs }: Attempt, nowMs: number): boolean {
  return nowMs - askedMs >= Math.max(SLOW_MS, SLOW_FACTOR * slowestMs);
}
