import { errorMessage, faultCode, type Log } from "#core";
import type { BlobFile } from "./store/blob-file.ts";

/** Bytes that wait for the disk, over all blobs of a node. */
export type DiskQueue = { queuedBytes: number };

/** Writes the chunks of one blob, and makes it whole when the last is written. */
export class ChunkWriter {
  readonly #blob: BlobFile;
  readonly #disk: DiskQueue;
  readonly #log: Log;
  readonly #done = Promise.withResolvers<void>();
  #writing = 0;
  #settled = false;

  constructor(blob: BlobFile, disk: DiskQueue, log: Log) {
    this.#blob = blob;
    this.#disk = disk;
    this.#log = log;
    this.#done.promise.catch(() => undefined); // whoever waits for it sees it
    this.completeWhenWritten();
  }

  /** Resolves when the blob is whole and durable; rejects when it cannot become so. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  /** Writes a verified chunk; returns whether that went well. */
  async write(chunk: number, bytes: Uint8Array): Promise<boolean> {
    this.#disk.queuedBytes += bytes.length;
    this.#writing += 1;
    try {
      await this.#blob.write(chunk, [bytes]);
      return true;
    } catch (error) {
      this.fail(error);
      return false;
    } finally {
      this.#disk.queuedBytes -= bytes.length;
      this.#writing -= 1;
      this.completeWhenWritten();
    }
  }

  completeWhenWritten(): void {
    if (this.#writing > 0 || !this.#blob.have.full || this.#settled) return;
    this.#settled = true;
    this.#blob.complete().then(this.#done.resolve, this.#done.reject);
  }

  /** The blob cannot be finished here, for example because the disk is full; what is here stays. */
  fail(error: unknown): void {
    if (this.#settled) return;
    this.#settled = true;
    const reason = errorMessage(error);
    this.#log.warn("a blob cannot be finished", { root: this.#blob.ref.root, code: faultCode(error), reason });
    this.#done.reject(error);
  }

  /** Nobody waits any more. */
  stop(reason: unknown): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#done.reject(reason);
  }
}
