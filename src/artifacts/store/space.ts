import { stat } from "node:fs/promises";
import type { BlobRef } from "../chunk-map.ts";
import type { BlobTable } from "./blob-table.ts";
import { diskOf, noRoom, roomOf, type StoreLimits, type StoreRoom } from "./room.ts";
import { RoomPromises } from "./room-promises.ts";
import { blobPath } from "./salvage.ts";

export type SpaceOptions = {
  limits?: StoreLimits;
  /** Asked when this many bytes are missing for something; it may remove what can be spared. */
  makeRoom?: (missingBytes: number) => Promise<void>;
};

/** Keeps account of the room in a store: what is used, what was promised, what is left. */
export class StoreSpace {
  readonly #dir: string;
  readonly #table: BlobTable;
  readonly #options: SpaceOptions;
  readonly #promises = new RoomPromises();

  constructor(dir: string, table: BlobTable, options: SpaceOptions) {
    this.#dir = dir;
    this.#table = table;
    this.#options = options;
  }

  /** What the store holds and may hold. */
  async room(): Promise<StoreRoom> {
    let usedBytes = this.#table.wholeBytes();
    let dueBytes = 0;
    const coming = new Map(this.#table.partial().map(({ root, sizeBytes }) => [root, sizeBytes]));
    for (const [root, sizeBytes] of this.#promises.all()) if (this.#isMissing(root)) coming.set(root, sizeBytes);
    for (const [root, sizeBytes] of coming) {
      const found = await stat(root.startsWith("/") ? root : blobPath(this.#dir, root)).catch(() => undefined);
      const hereBytes = Math.min(sizeBytes, (found?.blocks ?? 0) * 512);
      usedBytes += hereBytes;
      dueBytes += sizeBytes - hereBytes;
    }
    return roomOf(await diskOf(this.#dir), { usedBytes, dueBytes }, this.#options.limits ?? {});
  }

  /**
   * Promises room for blobs that are to come, until it is disposed of; those that are here, or have room, need none. In place of a root
   * there may be the path of a file that is being made. Throws Fault `artifacts.no-room` (exit `conflict`), saying the need and the room.
   */
  async promise(refs: readonly Pick<BlobRef, "root" | "sizeBytes">[], what: string): Promise<Disposable> {
    const missing = refs.filter(({ root }) => this.#isMissing(root));
    const neededBytes = this.#promises.lackOf(missing);
    if (neededBytes > 0) await this.#require(neededBytes, what);
    return this.#promises.make(missing);
  }

  /** Does `work` with the room for these blobs promised. Throws as `promise` and `work` do. */
  async withRoom<T>(refs: readonly BlobRef[], what: string, work: () => Promise<T>): Promise<T> {
    const promise = await this.promise(refs, what);
    try {
      return await work();
    } finally {
      promise[Symbol.dispose]();
    }
  }

  /** Whether everything that was promised room still has it; what can be spared may go for that. */
  async holdsPromises(): Promise<boolean> {
    const lackBytes = await this.#lackBytes();
    if (lackBytes <= 0) return true;
    await this.#options.makeRoom?.(lackBytes);
    return (await this.#lackBytes()) <= 0;
  }

  async #lackBytes(): Promise<number> {
    const { usedBytes, dueBytes, limitBytes } = await this.room();
    return usedBytes + dueBytes - limitBytes;
  }

  #isMissing(root: string): boolean {
    return this.#table.stateOf(root) === undefined;
  }

  async #require(neededBytes: number, what: string): Promise<void> {
    let room = await this.room();
    if (neededBytes > room.roomBytes && this.#options.makeRoom !== undefined) {
      await this.#options.makeRoom(neededBytes - room.roomBytes);
      room = await this.room();
    }
    if (neededBytes > room.roomBytes) throw noRoom(what, this.#dir, neededBytes, room);
  }
}
