/** Chunks kept in memory for those who get them next, over all blobs of a node. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;

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
  readonly #maxBytes: number;
  /** The oldest is first. */
  readonly #kept = new Set<Slot>();
  #keptBytes = 0;
  #free: Uint8Array[] = [];
  #freeBytes = 0;

  constructor(maxBytes = MAX_KEPT_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes that are held: in chunks, and for those to come. */
  get heldBytes(): number {
    return this.#keptBytes + this.#freeBytes;
  }

  /** Memory of this size with one user. What was in the oldest is evicted for it. */
  take(bytes: number, evicted: () => void): Slot {
    for (const oldest of this.#kept) {
      if (this.#keptBytes + bytes <= this.#maxBytes) break;
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
    if (this.heldBytes + buffer.length > this.#maxBytes) return;
    this.#free.push(buffer);
    this.#freeBytes += buffer.length;
  }

  /** A free one of this size; the others make room when there is none. */
  #reused(bytes: number): Uint8Array | undefined {
    const at = this.#free.findLastIndex(({ length }) => length === bytes);
    if (at >= 0) {
      this.#freeBytes -= bytes;
      return this.#free.splice(at, 1)[0];
    }
    while (this.#freeBytes > 0 && this.heldBytes + bytes > this.#maxBytes) {
      this.#freeBytes -= this.#free.shift()?.length ?? 0;
    }
    return undefined;
  }
}
