import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { SystemRandom } from "#core";
import { PieceHash } from "../../src/artifacts/torrent/piece-hash.ts";
import { SegmentStore } from "../../src/artifacts/torrent/segment-store.ts";

const random = (length: number): Buffer => Buffer.from(new SystemRandom().bytes(length));

describe("artifacts: content of a torrent", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "portolan-segments-"));
  });
  afterEach(() => rm(dir, { recursive: true }));

  it("hashes pieces the same however the bytes come", () => {
    const content = random(100_000);
    const expected = [0, 1, 2].map((at) =>
      createHash("sha1")
        .update(content.subarray(at * 40_000, (at + 1) * 40_000))
        .digest(),
    );
    fc.assert(
      fc.property(fc.array(fc.nat(100_000), { maxLength: 8 }), (cuts) => {
        const hash = new PieceHash(40_000);
        const at = [0, ...cuts.toSorted((a, b) => a - b), content.length];
        for (const [i, end] of at.entries()) if (i > 0) hash.update(content.subarray(at[i - 1], end));
        assert.deepEqual(Buffer.from(hash.digest()), Buffer.concat(expected));
      }),
    );
  });

  it("reads and writes pieces across ranges of files", async () => {
    const [one, two] = [random(50_000), random(50_000)];
    await writeFile(join(dir, "one"), one);
    await writeFile(join(dir, "two"), two);
    const segments = [
      { path: join(dir, "one"), offset: 1_000, sizeBytes: 20_000 },
      { path: join(dir, "two"), offset: 0, sizeBytes: 30_000 },
      { path: join(dir, "one"), offset: 30_000, sizeBytes: 10_000 },
    ];
    const content = Buffer.concat([one.subarray(1_000, 21_000), two.subarray(0, 30_000), one.subarray(30_000, 40_000)]);
    const store = new SegmentStore(16_384, { segments });
    const get = promisify(
      (
        index: number,
        part: { offset: number; length: number } | null,
        done: (e: Error | null, b?: Uint8Array) => void,
      ) => store.get(index, part, done),
    );
    const pieces = await Promise.all([0, 1, 2, 3].map((index) => get(index, null)));
    assert.deepEqual(Buffer.concat(pieces.map((piece) => piece ?? new Uint8Array())), content);
    assert.deepEqual(await get(1, { offset: 3_000, length: 5_000 }), content.subarray(19_384, 24_384));
    await assert.rejects(get(4, null));

    const piece = random(16_384);
    await promisify((done: (error: Error | null) => void) => store.put(1, piece, done))();
    assert.deepEqual(await get(1, null), piece);
    assert.deepEqual(await get(0, null), content.subarray(0, 16_384));
    assert.deepEqual((await readFile(join(dir, "one"))).subarray(21_000), one.subarray(21_000));
  });
});
