import { open } from "node:fs/promises";
import { callbackify } from "node:util";
import { Fault } from "#core";

/** A range of a file. */
export type Segment = { path: string; offset: number; sizeBytes: number };

type Done = (error: Error | null) => void;
type Got = (error: Error | null, bytes?: Uint8Array) => void;
/** A part of one piece, as webtorrent asks for it; absent or null: all of it. */
type Part = { offset?: number; length?: number } | null;

/**
 * The content of one torrent as ranges of files, one after the other: webtorrent's port for storage (abstract-chunk-store). What
 * files the torrent says it has does not matter here, so no name that a stranger chose reaches the file system.
 */
export class SegmentStore {
  readonly chunkLength: number;
  readonly #segments: readonly Segment[];
  readonly #sizeBytes: number;

  /** Called by webtorrent; `segments` are the torrent's `storeOpts`. */
  constructor(chunkLength: number, { segments }: { segments: readonly Segment[] }) {
    this.chunkLength = chunkLength;
    this.#segments = segments;
    this.#sizeBytes = segments.reduce((sum, segment) => sum + segment.sizeBytes, 0);
  }

  get(index: number, part: Part | Got, callback?: Got): void {
    const done = typeof part === "function" ? part : callback;
    const { offset = 0, length } = typeof part === "function" ? {} : (part ?? {});
    const start = index * this.chunkLength + offset;
    const whole = Math.min(this.chunkLength, this.#sizeBytes - index * this.chunkLength);
    callbackify(() => this.#read(start, length ?? whole - offset))(done ?? ignore);
  }

  put(index: number, bytes: Uint8Array, callback: Done = ignore): void {
    callbackify(() => this.#write(index * this.chunkLength, bytes))(callback);
  }

  close(callback?: Done): void {
    callback?.(null); // files are open only while they are read or written
  }

  destroy(callback?: Done): void {
    callback?.(null); // they belong to somebody else
  }

  async #read(start: number, length: number): Promise<Uint8Array> {
    const bytes = Buffer.allocUnsafeSlow(length);
    for (const { segment, from, at, count } of this.#partsOf(start, length)) {
      await using file = await open(segment.path, "r");
      const { bytesRead } = await file.read(bytes, at, count, from);
      if (bytesRead !== count) throw new Fault("artifacts.torrent-read", `${segment.path} is shorter than it was`);
    }
    return bytes;
  }

  async #write(start: number, bytes: Uint8Array): Promise<void> {
    for (const { segment, from, at, count } of this.#partsOf(start, bytes.length)) {
      await using file = await open(segment.path, "r+");
      const { bytesWritten } = await file.write(bytes, at, count, from);
      if (bytesWritten !== count) throw new Fault("artifacts.torrent-write", `${segment.path} was not written in full`);
    }
  }

  /** Where `length` bytes of the content from `start` on are: `count` bytes at `from` in a file, at `at` of the range. */
  #partsOf(start: number, length: number): { segment: Segment; from: number; at: number; count: number }[] {
    if (start < 0 || start + length > this.#sizeBytes)
      throw new Fault("artifacts.torrent-range", "outside the content");
    const parts = [];
    let position = 0;
    for (const segment of this.#segments) {
      const first = Math.max(start, position);
      const end = Math.min(start + length, position + segment.sizeBytes);
      if (first < end) {
        parts.push({ segment, from: segment.offset + first - position, at: first - start, count: end - first });
      }
      position += segment.sizeBytes;
    }
    return parts;
  }
}

function ignore(): void {
  // whoever does not listen does not mind
}
