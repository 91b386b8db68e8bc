import { HASH_BYTES } from "#core";
import type { NodeId } from "#identity";
import { type BlobRef, ChunkMap } from "./chunk-map.ts";
import { MAX_MAP_HASHES } from "./wire.ts";

/** A peer has this long for each part of a map; then another is asked. */
const PART_MS = 5_000;

/** Gets the chunk hashes of a blob from its peers, one peer at a time, until they lead to the root. */
export class MapFetch {
  readonly #ref: BlobRef;
  readonly #chunkCount: number;
  readonly #bytes: Buffer;
  readonly #failed = new Set<NodeId>();
  #from: NodeId | undefined;
  #next = 0;
  #dueMs = 0;

  constructor(ref: BlobRef) {
    this.#ref = ref;
    this.#chunkCount = Math.ceil(ref.sizeBytes / ref.chunkBytes);
    this.#bytes = Buffer.alloc(this.#chunkCount * HASH_BYTES);
  }

  /** Whom to ask for what now; `undefined` while an answer is due or nobody is left. */
  ask(peers: Iterable<NodeId>, nowMs: number): { peer: NodeId; first: number; count: number } | undefined {
    const all = [...peers];
    if (this.#from !== undefined) {
      if (nowMs < this.#dueMs && all.includes(this.#from)) return undefined;
      this.#giveUp(this.#from);
    }
    const peer = all.find((one) => !this.#failed.has(one));
    if (peer === undefined) {
      this.#failed.clear(); // a peer that had none may have it by the next time
      return undefined;
    }
    this.#from = peer;
    this.#next = 0;
    return this.#request(peer, nowMs);
  }

  #request(peer: NodeId, nowMs: number): { peer: NodeId; first: number; count: number } {
    this.#dueMs = nowMs + PART_MS;
    return { peer, first: this.#next, count: Math.min(MAX_MAP_HASHES, this.#chunkCount - this.#next) };
  }

  #giveUp(peer: NodeId): void {
    this.#failed.add(peer);
    this.#from = undefined;
  }

  /**
   * Takes a part. `wrong`: the peer's map does not lead to the root, which only a liar can bring about, because the peer had to
   * verify it first; `map`: done; otherwise the next request, or nothing when the peer had none.
   */
  take(
    peer: NodeId,
    first: number,
    payload: readonly Uint8Array[],
    nowMs: number,
  ): { map: ChunkMap } | { wrong: true } | { request: { peer: NodeId; first: number; count: number } } | undefined {
    if (peer !== this.#from || first !== this.#next) return undefined;
    const bytes = Buffer.concat(payload);
    const expected = Math.min(MAX_MAP_HASHES, this.#chunkCount - this.#next) * HASH_BYTES;
    if (bytes.length !== expected) {
      this.#giveUp(peer);
      return undefined;
    }
    this.#bytes.set(bytes, this.#next * HASH_BYTES);
    this.#next += expected / HASH_BYTES;
    if (this.#next < this.#chunkCount) return { request: this.#request(peer, nowMs) };
    const map = ChunkMap.verify(this.#ref, this.#bytes);
    if (map !== undefined) return { map };
    this.#giveUp(peer);
    return { wrong: true };
  }
}
