import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Connection } from "@libp2p/interface";
import { framesOf, send } from "./foreign-peer.ts";

/** What an Artifact document signs of a single file: docs/spec/artifact.md. */
export type ForeignBlob = { root: string; sizeBytes: number; chunkBytes: number };

/** What a fetch came to. `cells`: how many were verified, each on its own. */
export type Fetched = { content: Buffer; cells: number; frames: number };

const CELL_BYTES = 32 * 1024;
const HASH_BYTES = 32;
/** Hashes that may be asked for at once. */
const MAP_PART = 8_192;
/** Message codes: docs/spec/swarm.md. */
const [JOIN, LEAVE, STATUS, OFFER, ACCEPT, DECLINE, CELLS, ACK, MAP_WANT, MAP] = [
  0, 1, 2, 6, 7, 8, 13, 14, 15, 16,
] as const;
const [WANTS_NOTHING, WANTS] = [0, 1] as const;
/** Reason to decline: I have it. */
const HAVE = 0;

/** Fetches a blob from one holder as docs/spec/swarm.md has it, into memory. Rejects at the first byte that does not verify. */
export async function fetchBlob(connection: Connection, blob: ForeignBlob): Promise<Fetched> {
  const stream = await connection.newStream(["/portolan/swarm/1"]);
  const fetch = new BlobFetch(blob, (fields) => send(stream, fields));
  const frames = framesOf(stream);
  fetch.start();
  while (!fetch.whole) {
    const { value: frame } = await frames.next();
    assert.ok(frame, "the holder ended the stream");
    fetch.take(frame.header as unknown[], Buffer.concat(frame.payload));
  }
  await stream.close();
  return fetch.result;
}

/** One blob on one stream. My number for it is 0; so is the holder's if it has no other swarm on this stream. */
class BlobFetch {
  readonly #blob: ForeignBlob;
  readonly #say: (fields: unknown[]) => void;
  readonly #chunkCount: number;
  readonly #have = new Set<number>();
  /** Of chunks that are arriving: the hashes of all cells, and the next cell that is due. */
  readonly #arriving = new Map<number, { hashes: Buffer[] | undefined; next: number }>();
  readonly #map: Buffer[] = [];
  readonly result: Fetched;

  constructor(blob: ForeignBlob, say: (fields: unknown[]) => void) {
    this.#blob = blob;
    this.#say = say;
    this.#chunkCount = Math.ceil(blob.sizeBytes / blob.chunkBytes);
    this.result = { content: Buffer.alloc(blob.sizeBytes), cells: 0, frames: 0 };
  }

  get whole(): boolean {
    return this.#have.size === this.#chunkCount;
  }

  start(): void {
    const root = new Uint8Array(Buffer.from(this.#blob.root, "hex"));
    this.#say([JOIN, 0, root, this.#blob.sizeBytes, WANTS_NOTHING, []]); // offers make no sense before the map is here
  }

  /** Takes one message of the holder. */
  take([code, ...fields]: unknown[], payload: Buffer): void {
    const [, chunk, first, count, hashed] = fields as number[];
    if (code === JOIN) this.#askMap();
    else if (code === LEAVE) assert.fail("the holder does not have it");
    else if (code === MAP) this.#takeMap(payload);
    else if (code === OFFER) this.#answer(chunk as number);
    else if (code === CELLS) this.#takeCells(chunk as number, first as number, count as number, hashed === 1, payload);
    // all else says what others have and want, which is nothing to one who only takes
  }

  #askMap(): void {
    const first = this.#map.length;
    this.#say([MAP_WANT, 0, first, Math.min(MAP_PART, this.#chunkCount - first)]);
  }

  #takeMap(payload: Buffer): void {
    assert.ok(payload.length > 0, "the holder has no map");
    this.#map.push(...split(payload, HASH_BYTES));
    if (this.#map.length < this.#chunkCount) return this.#askMap();
    assert.equal(merkleRoot(this.#map).toString("hex"), this.#blob.root, "the chunk hashes do not lead to the root");
    this.#say([STATUS, 0, WANTS, []]);
  }

  #answer(chunk: number): void {
    if (this.#have.has(chunk) || this.#arriving.has(chunk)) return this.#say([DECLINE, 0, chunk, HAVE]);
    this.#arriving.set(chunk, { hashes: undefined, next: 0 });
    this.#say([ACCEPT, 0, chunk]);
  }

  #takeCells(chunk: number, first: number, count: number, hashed: boolean, payload: Buffer): void {
    const arrival = this.#arriving.get(chunk);
    assert.ok(arrival && arrival.next === first, `cells of chunk ${chunk} that are not due`);
    const cellCount = Math.ceil(this.#bytesOf(chunk) / CELL_BYTES);
    const hashBytes = hashed ? cellCount * HASH_BYTES : 0;
    const cells = split(payload.subarray(hashBytes), CELL_BYTES);
    assert.equal(cells.length, count);
    const own = cells.map((cell) => leafHash(cell));
    if (first === 0)
      arrival.hashes = this.#verified(chunk, hashed ? split(payload.subarray(0, hashBytes), HASH_BYTES) : own);
    for (const [at, hash] of own.entries())
      assert.deepEqual(hash, arrival.hashes?.[first + at], `cell ${first + at} of chunk ${chunk}`);
    payload.copy(this.result.content, chunk * this.#blob.chunkBytes + first * CELL_BYTES, hashBytes);
    this.result.cells += count;
    this.result.frames += 1;
    arrival.next += count;
    if (arrival.next === cellCount) this.#finish(chunk);
    this.#say([ACK, payload.length]);
  }

  /** Cell hashes that lead to the chunk's hash in the map. */
  #verified(chunk: number, hashes: Buffer[]): Buffer[] {
    assert.deepEqual(merkleRoot(hashes), this.#map[chunk], `the cell hashes of chunk ${chunk}`);
    return hashes;
  }

  #finish(chunk: number): void {
    this.#arriving.delete(chunk);
    this.#have.add(chunk);
  }

  #bytesOf(chunk: number): number {
    return Math.min(this.#blob.chunkBytes, this.#blob.sizeBytes - chunk * this.#blob.chunkBytes);
  }
}

function split(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
}

function leafHash(cell: Buffer): Buffer {
  return createHash("sha256")
    .update(Buffer.from([0]))
    .update(cell)
    .digest();
}

/** RFC 6962 §2.1 over leaf (or equal-height interior) hashes, by its own definition: split at the largest power of two. */
function merkleRoot(hashes: readonly Buffer[]): Buffer {
  const [only] = hashes;
  if (only === undefined) return createHash("sha256").digest();
  if (hashes.length === 1) return only;
  const left = 2 ** Math.floor(Math.log2(hashes.length - 1));
  const sides = [merkleRoot(hashes.slice(0, left)), merkleRoot(hashes.slice(left))];
  return createHash("sha256")
    .update(Buffer.concat([Buffer.from([1]), ...sides]))
    .digest();
}
