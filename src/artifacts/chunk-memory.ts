/** Chunks kept for those who get them next, over all blobs of a node. What is read again comes from the system's cache. */
const MAX_KEPT_BYTES = 8 * 1024 * 1024;
/** Kept and free for the next: what is on its way to peers on loopback, at 450 MiB/s, takes 30 MiB and comes back. */
const MAX_HELD_BYTES = 32 * 1024 * 1024;

/** Memory for one chunk. */
export type Slot = {
  readonly buffer: Uint8Array;
  /** Who still fills or reads it. */
  users: number;
};

/**
 * The memory that chunks arrive in and are read into, shared by all swarms of a node. It is used again: new memory for each chunk makes the
 * garbage collector work harder than all the rest. What is in use is bounded elsewhere: by what is accepted, and by the windows of the links.
 *
 * A peer can acknowledge what it has not read yet, and then be sent what is put into that memory next, under hashes that do not fit. So what
 * shares memory must be open to the same peers: all members of the fleet may have every blob.
 */
export class ChunkMemory {
  readonly #maxKeptBytes: number;
  readonly #maxHeldBytes: number;
  /** What to call when they are evicted, the oldest first. */
  readonly #kept = new Map<Slot, () => void>();
  #keptBytes = 0;
  #free: Uint8Array[] = [];
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
  take(bytes: number): Slot {
    return { buffer: this.#reused(bytes) ?? Buffer.allocUnsafeSlow(bytes), users: 1 };
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
    if (slot.users === 0 && !this.#kept.has(slot)) this.#reclaim(slot.buffer);
  }

  /** Nobody needs to find what is in it any more. */
  drop(slot: Slot): void {
    const evicted = this.#kept.get(slot);
    if (evicted === undefined) return;
    this.#kept.delete(slot);
    this.#keptBytes -= slot.buffer.length;
    evicted();
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
