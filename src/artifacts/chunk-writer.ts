import { errorMessage, faultCode, type Log } from "#core";
import type { BlobFile } from "./store/blob-file.ts";

/** Chunks in one write: 4 MiB of small ones. */
const MAX_RUN = 16;

/** Bytes that wait for the disk, over all blobs of a node. */
export type DiskQueue = { queuedBytes: number };

type Waiting = { bytes: Uint8Array; written: (well: boolean) => void };

/**
 * Writes the chunks of one blob, and makes it whole when the last is written. One write at a time, because a file has one lock for all
 * writers; what comes meanwhile is written together where it belongs together.
 */
export class ChunkWriter {
  readonly #blob: BlobFile;
  readonly #disk: DiskQueue;
  readonly #log: Log;
  readonly #done = Promise.withResolvers<void>();
  readonly #waiting = new Map<number, Waiting>();
  #writing = false;
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

  /** Writes a verified chunk; resolves with whether that went well. */
  write(chunk: number, bytes: Uint8Array): Promise<boolean> {
    this.#disk.queuedBytes += bytes.length;
    return new Promise((written) => {
      this.#waiting.set(chunk, { bytes, written });
      if (!this.#writing) void this.#writeAll();
    });
  }

  async #writeAll(): Promise<void> {
    this.#writing = true;
    for (const chunk of this.#waiting.keys()) await this.#writeRun(chunk, this.#takeRun(chunk));
    this.#writing = false;
    this.completeWhenWritten();
  }

  /** A chunk and those behind it that wait, too. */
  #takeRun(first: number): Waiting[] {
    const run: Waiting[] = [];
    for (let chunk = first; run.length < MAX_RUN; chunk++) {
      const next = this.#waiting.get(chunk);
      if (next === undefined) break;
      this.#waiting.delete(chunk);
      run.push(next);
    }
    return run;
  }

  async #writeRun(first: number, run: readonly Waiting[]): Promise<void> {
    const chunks = run.map(({ bytes }) => bytes);
    let well = true;
    try {
      await this.#blob.write(first, chunks);
    } catch (error) {
      well = false;
      this.fail(error);
    }
    for (const { bytes, written } of run) {
      this.#disk.queuedBytes -= bytes.length;
      written(well);
    }
  }

  completeWhenWritten(): void {
    if (this.#writing || !this.#blob.have.full || this.#settled) return;
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
