import type { Clock } from "#core";
import { Bitset } from "../bitset.ts";
import type { Geometry } from "../chunk-map.ts";

/** Written bytes after which they are made durable; what a power cut costs at most, and it should stay below 64 MiB. */
const SYNC_BYTES = 48 * 1024 * 1024;
/** The same in time, for slow transfers: what a thin link brought in a second is dearer than a flush. */
const SYNC_MS = 1_000;

/** Which chunks of a blob on its way are on the disk for sure, and when the others should be made so. */
export class DurableChunks {
  readonly #geometry: Geometry;
  readonly #clock: Clock;
  readonly #durable: Bitset;
  #unsynced: number[] = [];
  #unsyncedBytes = 0;
  #syncedAtMs: number;
  #syncing: Promise<void> | undefined;

  constructor(geometry: Geometry, durable: Bitset | undefined, clock: Clock) {
    this.#geometry = geometry;
    this.#clock = clock;
    this.#durable = durable ?? new Bitset(geometry.chunkCount);
    this.#syncedAtMs = clock.nowMs();
  }

  values(): Iterable<number> {
    return this.#durable.values();
  }

  toBytes(): Uint8Array {
    return this.#durable.toBytes();
  }

  /** A chunk that is durable already. */
  add(chunk: number): void {
    this.#durable.add(chunk);
  }

  /** A chunk is no longer what it was. */
  delete(chunk: number): void {
    this.#durable.delete(chunk);
  }

  clear(): void {
    this.#durable.clear();
  }

  /** A chunk was written and is not durable yet. */
  wrote(chunk: number): void {
    this.#unsynced.push(chunk);
    this.#unsyncedBytes += this.#geometry.bytesOf(chunk);
  }

  /** Runs `sync` when enough was written or time has passed, one at a time. A failure shows at the next sync that is waited for. */
  syncWhenDue(sync: () => Promise<void>): void {
    const late = this.#clock.nowMs() - this.#syncedAtMs >= SYNC_MS;
    if (this.#syncing !== undefined || (this.#unsyncedBytes < SYNC_BYTES && !late)) return;
    this.#syncing = sync().finally(() => {
      this.#syncing = undefined;
    });
    this.#syncing.catch(() => undefined);
  }

  /** Resolves when no sync is running. */
  async settled(): Promise<void> {
    await this.#syncing?.catch(() => undefined);
  }

  /** Has `flush` make what was written durable; then those that are still `here` count. False when there was nothing to do. */
  async sync(flush: () => Promise<void>, here: (chunk: number) => boolean): Promise<boolean> {
    const chunks = this.#unsynced;
    if (chunks.length === 0) return false;
    this.#unsynced = [];
    this.#unsyncedBytes = 0;
    this.#syncedAtMs = this.#clock.nowMs();
    try {
      await flush();
    } catch (error) {
      this.#unsynced.push(...chunks);
      throw error;
    }
    for (const chunk of chunks) if (here(chunk)) this.#durable.add(chunk);
    return true;
  }
}
