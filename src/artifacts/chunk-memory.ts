/** Chunks kept for those who get them next, over all blobs of a node. What is read again comes from the system's cache. */
const MAX_KEPT_BYTES = 8 * 1024 * 1024;
/** Kept and free for the next: what is on its way to peers on loopback, at 450 MiB/s, takes 30 MiB and comes back. */
const MAX_HELD_BYTES = 32 * 1024 * 1024;

/** Memory for one chunk. */
export type Slot = {
  readonly buffer: Uint8Array;
  /** What it is used for: one blob. */
  readonly owner: object;
  /** Who still fills or reads it. */
  users: number;
  /** It was sent to a peer, whose word that it has it may be a lie: what is put in later might go to it, and so has to be of the same blob. */
  sent: boolean;
};

/** Memory that nobody uses; with an owner when it is of use to that one only. */
type Free = { buffer: Uint8Array; owner: object | undefined };

/**
 * The memory that chunks arrive in and are read into, shared by all swarms of a node. It is used again: new memory for each chunk makes the
 * garbage collector work harder than all the rest. What is in use is bounded elsewhere: by what is accepted, and by the windows of the links.
 */
export class ChunkMemory {
  readonly #maxKeptBytes: number;
  readonly #maxHeldBytes: number;
  /** What to call when they are evicted, the oldest first. */
  readonly #kept = new Map<Slot, () => void>();
  #keptBytes = 0;
  #free: Free[] = [];
  #freeBytes = 0;

  constructor(maxKeptBytes = MAX_KEPT_BYTES, maxHeldBytes = MAX_HELD_BYTES) {
    this.#maxKeptBytes = maxKeptBytes;
    this.#maxHeldBytes = maxHeldBytes;
  }

  /** Bytes that are kept, and free for chunks to come. */
  get heldBytes(): number {
    return this.#keptBytes + this.#freeBytes;
  }

  /** Memory of this size for one user. */
  take(bytes: number, owner: object): Slot {
    const free = this.#reused(bytes, owner);
    const buffer = free?.buffer ?? Buffer.allocUnsafeSlow(bytes);
    return { buffer, owner, users: 1, sent: free?.owner !== undefined };
  }

  /** Keeps what is in it until others need the room: then it is not to be found any more, and `evicted` is called. */
  keep(slot: Slot, evicted: () => void): void {
    if (this.#kept.has(slot)) return;
    for (const oldest of this.#kept.keys()) {
      if (this.#keptBytes + slot.buffer.length <= this.#maxKeptBytes) break;
      this.drop(oldest);
    }
    this.#kept.set(slot, evicted);
    this.#keptBytes += slot.buffer.length;
  }

  /** One user less. */
  release(slot: Slot): void {
    slot.users -= 1;
    if (slot.users === 0 && !this.#kept.has(slot)) this.#reclaim(slot);
  }

  /** Nobody needs to find what is in it any more. */
  drop(slot: Slot): void {
    const evicted = this.#kept.get(slot);
    if (evicted === undefined) return;
    this.#kept.delete(slot);
    this.#keptBytes -= slot.buffer.length;
    evicted();
    if (slot.users === 0) this.#reclaim(slot);
  }

  /** Gives what is free back to the system. */
  trim(): void {
    this.#free = [];
    this.#freeBytes = 0;
  }

  #reclaim({ buffer, owner, sent }: Slot): void {
    if (this.heldBytes + buffer.length > this.#maxHeldBytes) return;
    this.#free.push({ buffer, owner: sent ? owner : undefined });
    this.#freeBytes += buffer.length;
  }

  /** One of this size that the owner may have; others make room when there is none. */
  #reused(bytes: number, wanted: object): Free | undefined {
    const fits = ({ buffer, owner }: Free): boolean => buffer.length === bytes && (owner ?? wanted) === wanted;
    const at = this.#free.findLastIndex(fits);
    if (at >= 0) {
      this.#freeBytes -= bytes;
      return this.#free.splice(at, 1)[0];
    }
    while (this.#freeBytes > 0 && this.heldBytes + bytes > this.#maxHeldBytes) {
      this.#freeBytes -= this.#free.shift()?.buffer.length ?? 0;
    }
    return undefined;
  }
}
