/** Chunks kept for those who get them next, over all blobs of a node. What is read again comes from the system's cache. */
const MAX_KEPT_BYTES = 8 * 1024 * 1024;
/** Kept and free for the next: what is on its way to peers on loopback, at 450 MiB/s, takes 30 MiB and comes back. */
const MAX_HELD_BYTES = 32 * 1024 * 1024;

/** Memory for one chunk. */
export type Slot = {
  readonly buffer: Uint8Array;
  /** Who still reads or fills it. */
  users: number;
  /** Called when it is needed for another chunk, or dropped: what is in it is not to be found any more. */
  readonly evicted: () => void;
};

/**
 * The memory that chunks are read into, shared by all swarms of a node. It is used again: new memory for each chunk makes the garbage
 * collector work harder than all the rest. What is evicted while in use comes back once it is released; the windows of the links bound that.
 */
export class ChunkMemory {
  readonly #maxKeptBytes: number;
  readonly #maxHeldBytes: number;
  /** The oldest is first. */
  readonly #kept = new Set<Slot>();
  #keptBytes = 0;
  #free: Uint8Array[] = [];
  #freeBytes = 0;

  constructor(maxKeptBytes = MAX_KEPT_BYTES, maxHeldBytes = MAX_HELD_BYTES) {
    this.#maxKeptBytes = maxKeptBytes;
    this.#maxHeldBytes = maxHeldBytes;
  }

  /** Bytes that are held: in chunks, and for those to come. */
  get heldBytes(): number {
    return this.#keptBytes + this.#freeBytes;
  }

  /** Memory of this size with one user. What was in the oldest is evicted for it. */
  take(bytes: number, evicted: () => void): Slot {
    for (const oldest of this.#kept) {
      if (this.#keptBytes + bytes <= this.#maxKeptBytes) break;
      this.drop(oldest);
    }
    const slot: Slot = { buffer: this.#reused(bytes) ?? Buffer.allocUnsafeSlow(bytes), users: 1, evicted };
    this.#kept.add(slot);
    this.#keptBytes += bytes;
    return slot;
  }

  /** One user less. */
  release(slot: Slot): void {
    slot.users -= 1;
    if (slot.users === 0 && !this.#kept.has(slot)) this.#reclaim(slot.buffer);
  }

  /** Nobody needs to find what is in it any more. */
  drop(slot: Slot): void {
    if (!this.#kept.delete(slot)) return;
    this.#keptBytes -= slot.buffer.length;
    slot.evicted();
    if (slot.users === 0) this.#reclaim(slot.buffer);
  }

  /** Gives what is free back to the system. */
  trim(): void {
    this.#free = [];
    this.#freeBytes = 0;
  }

  #reclaim(buffer: Uint8Array): void {
    if (this.heldBytes + buffer.length > this.#maxHeldBytes) return;
    this.#free.push(buffer);
    this.#freeBytes += buffer.length;
  }

  /** A free one of this size; others make room when there is none. */
  #reused(bytes: number): Uint8Array | undefined {
    const at = this.#free.findLastIndex(({ length }) => length === bytes);
    if (at >= 0) {
      this.#freeBytes -= bytes;
      return this.#free.splice(at, 1)[0];
    }
    while (this.#freeBytes > 0 && this.heldBytes + bytes > this.#maxHeldBytes) {
      this.#freeBytes -= this.#free.shift()?.length ?? 0;
    }
    return undefined;
  }
}
