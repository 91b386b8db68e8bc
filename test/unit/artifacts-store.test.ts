import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  cp,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  statfs,
  truncate,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { faultCode, Fault, SeededRandom, SILENT_LOG, SystemClock } from "#core";
import { type BlobRef, chunkBytesFor, materialise, Store } from "#artifacts";
import { fileContent } from "../../src/artifacts/artifact-content.ts";
import { ChunkMap } from "../../src/artifacts/chunk-map.ts";
import { blobRefOf } from "../../src/artifacts/listing.ts";
import { FilePool } from "../../src/artifacts/store/file-pool.ts";
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

async function overwrite(path: string, offset: number): Promise<void> {
  await using file = await open(path, "r+");
  await file.write(Buffer.from([1]), 0, 1, offset);
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

  /** A folder on a disk of this size (as in `mount -o size=`); `undefined`, and a line that says so, where this system does not allow it. */
  async function smallDisk(size: string): Promise<string | undefined> {
    const disk = join(dir, "disk");
    await mkdir(disk);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", disk], { stdio: "ignore" });
      return disk;
    } catch {
      console.log("      skipped: mounting a small disk needs root");
      return undefined;
    }
  }

  /** A folder on a file system of 512 MiB whose files can share blocks; `undefined`, and a line that says so, where none can be made. */
  async function sharingDisk(): Promise<string | undefined> {
    const [disk, image] = [join(dir, "sharing"), join(dir, "image")];
    await mkdir(disk);
    await writeFile(image, "");
    await truncate(image, 512 * 1024 * KIB);
    for (const type of ["xfs", "btrfs"]) {
      try {
        execFileSync(`mkfs.${type}`, ["-q", image], { stdio: "ignore" });
        execFileSync("mount", ["-o", "loop", image, disk], { stdio: "ignore" });
        return disk;
      } catch {
        // not installed, not known to this kernel, or not allowed
      }
    }
    console.log("      skipped: a file system that shares blocks needs root, and mkfs.xfs or mkfs.btrfs");
    return undefined;
  }

  /** In uneven pieces, as they come off a stream. */
  function piecesOf(chunk: number): Uint8Array[] {
    const { chunkBytes } = ref;
    const bytes = content.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes);
    return [bytes.subarray(0, 1_000), bytes.subarray(1_000, 70_001), bytes.subarray(70_001)];
  }

  /** Chunks found good among those that a crash left. */
  async function found(blob: BlobFile): Promise<number[]> {
    const chunks: number[] = [];
    const leftovers = await blob.findLeftovers(signal);
    for await (const { chunk, good } of blob.recheck(leftovers, signal)) if (good) chunks.push(chunk);
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
    assert.deepEqual([...blob.have.values()], [0, 1], "what is durable is known, without reading it");
    for (const chunk of [2, 3]) await blob.write(chunk, piecesOf(chunk));
    await blob.complete();
    assert.equal(again.stateOf(ref.root), "whole");
    assert.equal(Buffer.compare(await readFile(blob.path), content), 0);
  });

  it("knows after a crash what was durable, and reads again only what was written after that", async () => {
    const { store, blob } = await partial("half", 2);
    await blob.sync();
    await blob.write(2, piecesOf(2));
    await cp(join(dir, "half"), join(dir, "crashed"), { recursive: true });
    await store[Symbol.asyncDispose]();
    await using crashed = await Store.open(join(dir, "crashed"), deps);
    const again = await crashed.create(ref);
    assert.deepEqual([...again.have.values()], [0, 1]);
    assert.deepEqual(await again.findLeftovers(signal), [2]);
    assert.deepEqual(await again.findLeftovers(signal), [], "they are looked for once");
  });

  it("takes of what a crash left only what is good", async () => {
    const { store, blob } = await partial("half", 1);
    await blob.sync();
    for (const chunk of [1, 2]) await blob.write(chunk, piecesOf(chunk));
    await cp(join(dir, "half"), join(dir, "crashed"), { recursive: true });
    await store[Symbol.asyncDispose]();
    await overwrite(join(dir, "crashed", "blobs", ref.root.slice(0, 2), ref.root), ref.chunkBytes + 77);
    await using crashed = await Store.open(join(dir, "crashed"), deps);
    const again = await crashed.create(ref);
    assert.deepEqual(await found(again), [2]);
    assert.deepEqual([...again.have.values()], [0, 2]);
  });

  it("gives no chunk that was damaged while it was away, and wants it again", async () => {
    const { store, blob } = await partial("half", 3);
    await store[Symbol.asyncDispose]();
    await overwrite(blob.path, ref.chunkBytes + 77);
    {
      await using again = await Store.open(join(dir, "half"), deps);
      const half = await again.create(ref);
      assert.equal(await codeOf(half.read(1)), "artifacts.damaged");
      assert.deepEqual([...half.have.values()], [0, 2]);
    }
    await using later = await Store.open(join(dir, "half"), deps);
    assert.deepEqual([...(await later.create(ref)).have.values()], [0, 2], "also after the next start");
  });

  it("is not complete while a chunk is missing", async () => {
    const { store, blob } = await partial("half", 3);
    assert.equal(await codeOf(blob.complete()), "artifacts.incomplete");
    assert.equal(store.stateOf(ref.root), "partial");
    await store[Symbol.asyncDispose]();
  });

  it("takes a damaged chunk of a whole blob for missing, and is whole again with that chunk", async () => {
    const damaged: string[] = [];
    await using store = await Store.open(join(dir, "source"), deps, { onDamaged: (root) => damaged.push(root) });
    await overwrite((await store.get(ref.root))?.path ?? "", 77);
    const blob = await store.get(ref.root);
    assert.ok(blob);
    assert.equal(await codeOf(blob.read(0)), "artifacts.damaged");
    assert.deepEqual([...blob.have.values()], [1, 2, 3]);
    assert.deepEqual(damaged, [ref.root]);
    assert.equal(store.stateOf(ref.root), "partial");
    await blob.write(0, piecesOf(0));
    await blob.complete();
    assert.equal(store.stateOf(ref.root), "whole");
    await blob.checkAll(signal);
  });

  it("keeps what is left of a file that was cut", async () => {
    const path = join(dir, "source", "blobs", ref.root.slice(0, 2), ref.root);
    await truncate(path, 2 * ref.chunkBytes + 1);
    const damaged: string[] = [];
    await using store = await Store.open(join(dir, "source"), deps, { onDamaged: (root) => damaged.push(root) });
    const blob = await store.get(ref.root);
    assert.deepEqual([...(blob?.have.values() ?? [])], [0, 1]);
    assert.deepEqual(damaged, [ref.root]);
    for (const chunk of [2, 3]) await blob?.write(chunk, piecesOf(chunk));
    await blob?.complete();
    assert.equal(Buffer.compare(await readFile(path), content), 0);
  });

  it("finds out at its start, or at the next read, that a file is gone", async () => {
    const path = join(dir, "source", "blobs", ref.root.slice(0, 2), ref.root);
    {
      await using store = await Store.open(join(dir, "source"), deps);
      const blob = await store.get(ref.root);
      await rm(path);
      assert.equal(await codeOf(blob?.read(0) ?? Promise.resolve()), "artifacts.damaged");
      assert.equal(store.stateOf(ref.root), undefined);
      await store.import(join(dir, "file"), { inPlace: false, signal });
    }
    await rm(path);
    await using store = await Store.open(join(dir, "source"), deps);
    assert.deepEqual(store.list(), []);
  });

  it("makes a damaged database anew from the files", async () => {
    const { store } = await partial("half", 3);
    await store[Symbol.asyncDispose]();
    const blobs = join(dir, "half", "blobs");
    for (const name of ["source", "half"]) await writeFile(join(dir, name, "store.db"), "not a database");
    await using whole = await Store.open(join(dir, "source"), deps);
    assert.equal(whole.stateOf(ref.root), "whole");
    await (await whole.get(ref.root))?.checkAll(signal);
    await using half = await Store.open(join(dir, "half"), deps);
    assert.equal(half.stateOf(ref.root), undefined);
    const blob = await half.create(ref);
    blob.setMap(map);
    assert.deepEqual(await found(blob), [0, 1, 2], "the part of a blob that was there counts");
    await half.remove(ref.root);
    assert.equal((await readdir(join(blobs, ref.root.slice(0, 2)))).length, 0);
  });

  it("says what to do where it may not write", async function () {
    const disk = await smallDisk("8m");
    if (disk === undefined) return this.skip();
    try {
      await (await Store.open(join(disk, "store"), deps))[Symbol.asyncDispose]();
      execFileSync("mount", ["-o", "remount,ro", disk]);
      assert.equal(await codeOf(Store.open(join(disk, "store"), deps)), "artifacts.read-only");
    } finally {
      execFileSync("umount", [disk]);
    }
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

  it("refuses a file in place that is cut while it is open, and forgets one that was cut or removed meanwhile", async () => {
    const damaged: string[] = [];
    {
      await using linked = await Store.open(join(dir, "linked"), deps, { onDamaged: (_, what) => damaged.push(what) });
      await linked.import(join(dir, "file"), { inPlace: true, signal });
      const blob = await linked.get(ref.root);
      assert.ok(blob);
      await truncate(join(dir, "file"), 10);
      assert.equal(await codeOf(blob.read(0)), "artifacts.source-changed");
      assert.equal(linked.stateOf(ref.root), undefined);
      assert.deepEqual(damaged, ["source"]);
      await writeFile(join(dir, "file"), content);
      await linked.import(join(dir, "file"), { inPlace: true, signal });
    }
    await truncate(join(dir, "file"), 10);
    await using again = await Store.open(join(dir, "linked"), deps);
    assert.equal(await again.get(ref.root), undefined);
    assert.deepEqual(again.list(), []);
  });

  it("keeps few files open, and goes on reading those it closed", async () => {
    const files = new FilePool(3);
    const paths = Array.from({ length: 10 }, (_, i) => join(dir, `open-${i}`));
    for (const path of paths) await writeFile(path, path);
    const read = (path: string): Promise<string> =>
      files.use(path, "r", async (handle) => (await handle.readFile()).toString());
    for (const path of [...paths, ...paths]) {
      assert.equal(await read(path), path);
      assert.ok(files.size <= 3);
    }
    const used = files.use(paths[0] ?? "", "r", async (handle) => {
      for (const path of paths.slice(1)) await read(path);
      return (await handle.stat()).isFile(); // in use, so it is still open
    });
    assert.equal(await used, true);
    await files[Symbol.asyncDispose]();
    assert.equal(files.size, 0);
  });

  it("promises the same room once, and asks for more before it refuses", async () => {
    const asked: number[] = [];
    const limits = { quotaBytes: 3 * content.length, reserveBytes: 0 };
    const makeRoom = async (bytes: number): Promise<void> => {
      asked.push(bytes);
      if (asked.length === 2) await store.remove(ref.root);
    };
    await using store = await Store.open(join(dir, "source"), deps, { limits, makeRoom });
    const others = [1, 2, 3].map((n) => ({ ...ref, root: String(n).repeat(64) }));
    const [first, second, third] = others as [BlobRef, BlobRef, BlobRef];
    {
      const two = await store.space.promise([first, second], "two");
      const again = await store.space.promise([second], "one of them");
      assert.equal((await store.space.room()).roomBytes, 0);
      const refused = await store.create(third).catch((error: unknown) => error);
      assert.ok(refused instanceof Fault);
      assert.equal(refused.code, "artifacts.no-room");
      assert.deepEqual(asked, [content.length]);
      await store.create(third);
      assert.equal((await store.space.room()).roomBytes, 0, "a blob that is begun has its room");
      for (const promise of [two, again]) promise[Symbol.dispose]();
    }
    assert.equal((await store.space.room()).dueBytes, content.length);
  });

  it("shares the blocks of what it takes in and writes out where the file system can", async function () {
    const disk = await sharingDisk();
    if (disk === undefined) return this.skip();
    try {
      const sizeBytes = 64 * 1024 * KIB;
      await writeFile(join(disk, "file"), new SeededRandom(5).bytes(sizeBytes), { flush: true });
      await using store = await Store.open(join(disk, "store"), deps);
      const usedBytes = async (): Promise<number> => {
        execFileSync("sync", ["-f", disk]);
        const { bsize, bfree, blocks } = await statfs(disk);
        return (blocks - bfree) * bsize;
      };
      const before = await usedBytes();
      const blob = await store.import(join(disk, "file"), { inPlace: false, signal });
      const spec = fileContent(blob, "file", 0o644, "application/octet-stream");
      await materialise(store, spec, join(disk, "out"), { force: false, signal });
      assert.ok((await usedBytes()) - before < sizeBytes / 50, "the bytes are there three times, on the disk once");
      await overwrite(join(disk, "out"), 5);
      await (await store.get(blob.root))?.checkAll(signal); // what is written to one is not seen in another
    } finally {
      execFileSync("umount", [disk]);
    }
  });

  it("says how much is missing before it starts what does not fit", async () => {
    await using store = await Store.open(join(dir, "half"), deps);
    const sizeBytes = 1024 ** 4;
    const huge = { root: "ab".repeat(32), sizeBytes, chunkBytes: chunkBytesFor(sizeBytes) };
    const error = await store.create(huge).catch((caught: unknown) => caught);
    assert.ok(error instanceof Fault);
    assert.equal(error.code, "artifacts.no-room");
    assert.equal(error.details["neededBytes"], sizeBytes);
    assert.equal(store.stateOf(huge.root), undefined);
  });

  it("keeps what it has when the disk fills up, and goes on when there is room", async function () {
    const disk = await smallDisk("66m");
    if (disk === undefined) return this.skip();
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

  it("hashes a large file on threads as it would on its own, by copying and in place", async () => {
    const sizeBytes = 41 * 1024 * KIB + 3; // more than one range for each thread, and no whole number of anything
    const large = Buffer.alloc(sizeBytes);
    for (let at = 0; at < sizeBytes; at += 4_099) large.writeUInt32LE(at, Math.min(at, sizeBytes - 4));
    await writeFile(join(dir, "large"), large);
    const expected = blobRefOf(large);
    await using store = await Store.open(join(dir, "source"), deps);
    for (const inPlace of [true, false]) {
      let seen = 0;
      const onBytes = (bytes: number): void => void (seen += bytes);
      assert.deepEqual(await store.import(join(dir, "large"), { inPlace, signal, onBytes }), expected);
      assert.equal(seen, sizeBytes);
      const blob = await store.get(expected.root);
      assert.ok(blob);
      assert.equal(blob.state, inPlace ? "linked" : "whole");
      for (let chunk = 0; chunk < blob.geometry.chunkCount; chunk++) {
        const { chunkBytes } = expected;
        assert.deepEqual(await blob.read(chunk), large.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes));
      }
      await store.remove(expected.root);
    }
  });

  it("refuses a file of more than 1 TiB before it reads it", async () => {
    await writeFile(join(dir, "huge"), "");
    await truncate(join(dir, "huge"), 1024 ** 4 + 1);
    await using store = await Store.open(join(dir, "source"), deps);
    assert.equal(await codeOf(store.import(join(dir, "huge"), { inPlace: true, signal })), "artifacts.too-large");
  });

  it("leaves nothing of a large file when taking it in is stopped", async () => {
    await writeFile(join(dir, "large"), Buffer.alloc(64 * 1024 * KIB, 1));
    await using store = await Store.open(join(dir, "source"), deps);
    const stop = new AbortController();
    const onBytes = (): void => stop.abort(new Fault("test.stopped", "enough"));
    const options = { inPlace: false, signal: stop.signal, onBytes };
    assert.equal(await codeOf(store.import(join(dir, "large"), options)), "test.stopped");
    assert.deepEqual(await readdir(join(dir, "source", "importing")), []);
    assert.equal(store.list().length, 1);
  });

  it("keeps a blob once, however often it is taken in", async () => {
    await using store = await Store.open(join(dir, "source"), deps);
    await store.import(join(dir, "file"), { inPlace: false, signal });
    assert.equal(store.list().length, 1);
    const { usedBytes } = await store.space.room();
    assert.ok(usedBytes < 2 * content.length);
    await store.remove(ref.root);
    assert.equal(store.list().length, 0);
    assert.equal((await stat(join(dir, "file"))).size, content.length);
  });
});
