import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, open, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { faultCode, Fault, SeededRandom, SILENT_LOG, SystemClock } from "#core";
import { type BlobRef, chunkBytesFor, Store } from "#artifacts";
import { ChunkMap } from "../../src/artifacts/chunk-map.ts";
import type { BlobFile } from "../../src/artifacts/store/blob-file.ts";

const KIB = 1024;
const deps = { clock: new SystemClock(), log: SILENT_LOG };
const signal = new AbortController().signal;

async function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (error: unknown) => faultCode(error) ?? String(error),
  );
}

describe("artifacts: store", () => {
  let dir: string;
  let content: Buffer;
  let ref: BlobRef;
  let map: ChunkMap;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "portolan-store-"));
    content = Buffer.from(new SeededRandom(7).bytes(1_000 * KIB + 5));
    await writeFile(join(dir, "file"), content);
    await using source = await Store.open(join(dir, "source"), deps);
    ref = await source.import(join(dir, "file"), { inPlace: false, signal });
    const known = (await source.get(ref.root))?.map;
    assert.ok(known);
    map = known;
  });

  afterEach(async () => rm(dir, { recursive: true }));

  /** A store with the first `chunks` chunks of the blob. */
  async function partial(name: string, chunks: number): Promise<{ store: Store; blob: BlobFile }> {
    const store = await Store.open(join(dir, name), deps);
    const blob = await store.create(ref);
    blob.setMap(map);
    for (let chunk = 0; chunk < chunks; chunk++) await blob.write(chunk, piecesOf(chunk));
    return { store, blob };
  }

  /** In uneven pieces, as they come off a stream. */
  function piecesOf(chunk: number): Uint8Array[] {
    const { chunkBytes } = ref;
    const bytes = content.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes);
    return [bytes.subarray(0, 1_000), bytes.subarray(1_000, 70_001), bytes.subarray(70_001)];
  }

  async function goodChunks(blob: BlobFile): Promise<number[]> {
    const chunks: number[] = [];
    for await (const { chunk, good } of blob.recheck(signal)) if (good) chunks.push(chunk);
    return chunks;
  }

  it("gives the same bytes back, chunk by chunk", async () => {
    await using store = await Store.open(join(dir, "source"), deps);
    const blob = await store.get(ref.root);
    assert.ok(blob?.have.full);
    const chunks: Uint8Array[] = [];
    for (let chunk = 0; chunk < blob.geometry.chunkCount; chunk++) chunks.push(await blob.read(chunk));
    assert.equal(Buffer.compare(Buffer.concat(chunks), content), 0);
  });

  it("continues after a stop with what it had, and is whole in the end", async () => {
    const { store } = await partial("half", 2);
    await store[Symbol.asyncDispose]();
    await using again = await Store.open(join(dir, "half"), deps);
    const blob = await again.create(ref);
    assert.equal(blob.have.count, 0, "nothing counts before it was read again");
    assert.deepEqual(await goodChunks(blob), [0, 1]);
    for (const chunk of [2, 3]) await blob.write(chunk, piecesOf(chunk));
    await blob.complete();
    assert.equal(again.stateOf(ref.root), "whole");
    assert.equal(Buffer.compare(await readFile(blob.path), content), 0);
  });

  it("trusts after a crash only what was made durable", async () => {
    const { store, blob } = await partial("half", 2);
    await blob.sync();
    await blob.write(2, piecesOf(2));
    await cp(join(dir, "half"), join(dir, "crashed"), { recursive: true });
    await store[Symbol.asyncDispose]();
    await using crashed = await Store.open(join(dir, "crashed"), deps);
    assert.deepEqual(await goodChunks(await crashed.create(ref)), [0, 1]);
  });

  it("takes no chunk that was damaged while it was away", async () => {
    const { store, blob } = await partial("half", 3);
    await store[Symbol.asyncDispose]();
    const file = await open(blob.path, "r+");
    await file.write(Buffer.from([1]), 0, 1, ref.chunkBytes + 77);
    await file.close();
    await using again = await Store.open(join(dir, "half"), deps);
    assert.deepEqual(await goodChunks(await again.create(ref)), [0, 2]);
  });

  it("is not complete while a chunk is missing", async () => {
    const { store, blob } = await partial("half", 3);
    assert.equal(await codeOf(blob.complete()), "artifacts.incomplete");
    assert.equal(store.stateOf(ref.root), "partial");
    await store[Symbol.asyncDispose]();
  });

  it("serves no damaged chunk of a whole blob, and goes on serving the others", async () => {
    await using store = await Store.open(join(dir, "source"), deps);
    const path = (await store.get(ref.root))?.path ?? "";
    const file = await open(path, "r+");
    await file.write(Buffer.from([1]), 0, 1, 77);
    await file.close();
    const blob = await store.get(ref.root);
    assert.ok(blob);
    assert.equal(await codeOf(blob.read(0)), "artifacts.damaged");
    assert.equal(blob.have.has(0), false);
    assert.equal(await codeOf(blob.read(1)), undefined);
  });

  it("hashes a file in place again when it was touched, and refuses it when it was changed", async () => {
    await using store = await Store.open(join(dir, "linked"), deps);
    const path = join(dir, "file");
    await store.import(path, { inPlace: true, signal });
    const blob = await store.get(ref.root);
    assert.equal(blob?.path, path);
    await utimes(path, 5, 5);
    assert.equal(await codeOf(blob.read(0)), undefined);
    content[1] = (content[1] ?? 0) ^ 1;
    await writeFile(path, content);
    assert.equal(await codeOf(blob.read(0)), "artifacts.source-changed");
  });

  it("forgets a file that is gone, and says when one in place was cut", async () => {
    const linked = await Store.open(join(dir, "linked"), deps);
    await linked.import(join(dir, "file"), { inPlace: true, signal });
    await linked[Symbol.asyncDispose]();
    await truncate(join(dir, "file"), 10);
    await using again = await Store.open(join(dir, "linked"), deps);
    assert.equal(await codeOf(again.get(ref.root)), "artifacts.source-changed");
    await rm(join(dir, "file"));
    assert.equal(await again.get(ref.root), undefined);
    assert.equal(again.stateOf(ref.root), undefined);
  });

  it("says how much is missing before it starts what does not fit", async () => {
    await using store = await Store.open(join(dir, "half"), deps);
    const sizeBytes = 1024 ** 4;
    const huge = { root: "ab".repeat(32), sizeBytes, chunkBytes: chunkBytesFor(sizeBytes) };
    const error = await store.create(huge).catch((caught: unknown) => caught);
    assert.ok(error instanceof Fault);
    assert.equal(error.code, "artifacts.disk-full");
    assert.equal(error.details["neededBytes"], sizeBytes);
    assert.equal(store.stateOf(huge.root), undefined);
  });

  it("keeps what it has when the disk fills up, and goes on when there is room", async function () {
    const disk = join(dir, "disk");
    await mkdir(disk);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=66m", "tmpfs", disk], { stdio: "ignore" });
    } catch {
      this.skip(); // needs root
    }
    try {
      await using store = await Store.open(join(disk, "store"), deps);
      const blob = await store.create(ref);
      blob.setMap(map);
      await blob.write(0, piecesOf(0));
      const filler = join(disk, "filler");
      const fill = await open(filler, "w");
      await assert.rejects(async () => {
        for (;;) await fill.write(Buffer.alloc(64 * KIB));
      });
      await fill.close();
      assert.equal(await codeOf(blob.write(1, piecesOf(1))), "artifacts.disk-full");
      assert.equal(blob.have.has(1), false);
      await rm(filler);
      await blob.write(1, piecesOf(1));
      assert.deepEqual([...blob.have.values()], [0, 1]);
    } finally {
      execFileSync("umount", [disk]);
    }
  });

  it("refuses a store of a newer version", async () => {
    const db = new DatabaseSync(join(dir, "source", "store.db"));
    db.exec("PRAGMA user_version = 99");
    db.close();
    assert.equal(await codeOf(Store.open(join(dir, "source"), deps)), "artifacts.newer-store");
  });

  it("keeps a blob once, however often it is taken in", async () => {
    await using store = await Store.open(join(dir, "source"), deps);
    await store.import(join(dir, "file"), { inPlace: false, signal });
    assert.equal(store.list().length, 1);
    const { usedBytes } = await store.usage();
    assert.ok(usedBytes < 2 * content.length);
    await store.remove(ref.root);
    assert.equal(store.list().length, 0);
    assert.equal((await stat(join(dir, "file"))).size, content.length);
  });
});
