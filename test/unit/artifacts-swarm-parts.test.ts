import assert from "node:assert/strict";
import fc from "fast-check";
import { leafHash, merkleRoot, SeededRandom } from "#core";
import { Bitset } from "../../src/artifacts/bitset.ts";
import { CELL_BYTES, ChunkMap, cellHashes, chunkHash, Geometry } from "../../src/artifacts/chunk-map.ts";
import { ChunkAssembly } from "../../src/artifacts/chunk-assembly.ts";
import { MapFetch } from "../../src/artifacts/map-fetch.ts";
import { areRuns, chunksIn, runsOf } from "../../src/artifacts/swarm/runs.ts";
import { Rarity } from "../../src/artifacts/swarm/rarity.ts";

describe("artifacts: bitset and runs", () => {
  const members = fc.uniqueArray(fc.nat({ max: 199 }));
  const setOf = (list: number[]): Bitset => {
    const set = new Bitset(200);
    for (const one of list) set.add(one);
    return set;
  };

  it("holds what was added, in order, through bytes and runs", () => {
    fc.assert(
      fc.property(members, (list) => {
        const set = setOf(list);
        const sorted = list.toSorted((a, b) => a - b);
        assert.deepEqual([...set.values()], sorted);
        assert.equal(set.count, list.length);
        assert.deepEqual([...(Bitset.fromBytes(200, set.toBytes())?.values() ?? [])], sorted);
        const runs = runsOf(set);
        assert.ok(runs.every((one) => areRuns(one, 200)));
        assert.deepEqual(
          runs.flatMap((one) => [...chunksIn(one)]),
          sorted,
        );
        const missing = Array.from({ length: 200 }, (_, at) => at).find((at) => !list.includes(at));
        assert.equal(set.firstMissing(), missing);
      }),
    );
  });

  it("refuses bytes of another length or with members beyond it", () => {
    assert.equal(Bitset.fromBytes(200, new Uint8Array(3)), undefined);
    assert.equal(Bitset.fromBytes(10, setOf([12]).toBytes().subarray(0, 4)), undefined);
  });

  for (const [what, runs] of Object.entries({
    "runs that touch": [0, 2, 2, 1],
    "runs out of order": [5, 1, 0, 1],
    "an empty run": [0, 0],
    "half a run": [0],
    "a run beyond the end": [199, 2],
  })) {
    it(`refuses ${what}`, () => assert.equal(areRuns(runs, 200), false));
  }
});

describe("artifacts: rarity", () => {
  type Op = ["list" | "unlist" | "raise" | "lower", number];
  const op: fc.Arbitrary<Op> = fc.tuple(fc.constantFrom("list", "unlist", "raise", "lower"), fc.nat({ max: 9 }));

  it("picks a least covered one of those listed, after any changes", () => {
    fc.assert(
      fc.property(fc.array(op, { maxLength: 200 }), fc.integer(), (ops, seed) => {
        const rarity = new Rarity(10, 5);
        const counts = Array.from({ length: 10 }, () => 0);
        const listed = new Set<number>();
        for (const [what, chunk] of ops) {
          const count = counts[chunk] ?? 0;
          if (what === "raise" && count === 5) continue;
          if (what === "lower" && count === 0) continue;
          rarity[what](chunk);
          if (what === "list") listed.add(chunk);
          if (what === "unlist") listed.delete(chunk);
          if (what === "raise") counts[chunk] = count + 1;
          if (what === "lower") counts[chunk] = count - 1;
        }
        const fits = [...listed].filter((chunk) => chunk % 3 !== 0 && (counts[chunk] ?? 0) < 4);
        const best = Math.min(...fits.map((chunk) => counts[chunk] ?? 0));
        const picked = rarity.pick(4, new SeededRandom(seed), (chunk) => chunk % 3 !== 0);
        if (fits.length === 0) assert.equal(picked, undefined);
        else assert.equal(counts[picked ?? -1], best);
      }),
    );
  });
});

describe("artifacts: chunk map", () => {
  const bytes = Buffer.from(new SeededRandom(3).bytes(5 * 4 * CELL_BYTES + 100));
  const ref = { sizeBytes: bytes.length, chunkBytes: 4 * CELL_BYTES };
  const chunks = Array.from({ length: 6 }, (_, chunk) =>
    bytes.subarray(chunk * ref.chunkBytes, (chunk + 1) * ref.chunkBytes),
  );
  const { map, root } = ChunkMap.of(Buffer.concat(chunks.map((chunk) => chunkHash(chunk))));

  it("has the root of the tree over all cells, whatever the chunk size", () => {
    const cells = Array.from({ length: 21 }, (_, cell) =>
      leafHash(bytes.subarray(cell * CELL_BYTES, (cell + 1) * CELL_BYTES)),
    );
    assert.equal(root, Buffer.from(merkleRoot(cells)).toString("hex"));
  });

  it("takes a map only with the root, and the length, of the blob", () => {
    const named = { ...ref, root };
    assert.ok(ChunkMap.verify(named, map.bytes));
    assert.equal(ChunkMap.verify(named, map.bytes.subarray(32)), undefined);
    const other = Buffer.from(map.bytes);
    other[40] = (other[40] ?? 0) ^ 1;
    assert.equal(ChunkMap.verify(named, other), undefined);
  });

  it("puts a chunk together from any pieces", () => {
    const whole = chunks[4] ?? new Uint8Array();
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 150_000 }), { maxLength: 6 }), (cuts) => {
        const pieces: Uint8Array[] = [];
        let at = 0;
        for (const cut of cuts) {
          pieces.push(whole.subarray(at, at + cut));
          at += cut;
        }
        pieces.push(whole.subarray(at));
        const memory = Buffer.alloc(whole.length);
        assert.ok(new ChunkAssembly(map, 4, memory).add(0, 4, false, pieces));
        assert.equal(Buffer.compare(memory, whole), 0);
      }),
    );
  });

  it("assembles a chunk from its cells, and from nothing else", () => {
    const geometry = new Geometry(ref);
    const cell = (at: number): Uint8Array => bytes.subarray(at * CELL_BYTES, (at + 1) * CELL_BYTES);
    const hashes = cellHashes(chunks[0] ?? new Uint8Array());
    const fresh = (): ChunkAssembly => new ChunkAssembly(map, 0, Buffer.alloc(geometry.bytesOf(0)));
    const good = fresh();
    assert.ok(good.add(0, 1, true, [...hashes, cell(0)]));
    assert.ok(good.add(1, 3, false, [cell(1), cell(2), cell(3)]));
    assert.equal(Buffer.compare(good.cells(0, 4), chunks[0] ?? new Uint8Array()), 0);
    assert.ok(fresh().add(0, 4, false, [cell(0), cell(1), cell(2), cell(3)]), "whole at once needs no hashes");
    assert.equal(fresh().add(0, 1, false, [cell(0)]), false, "part of it does");
    assert.equal(fresh().add(0, 1, true, [...hashes, cell(1)]), false, "another cell");
    assert.equal(fresh().add(0, 1, true, [...hashes.toReversed(), cell(0)]), false, "other hashes");
    assert.equal(fresh().add(1, 1, false, [cell(1)]), false, "out of order");
    assert.equal(fresh().add(0, 1, true, [...hashes, cell(0), cell(1)]), false, "more than it says");
    assert.equal(fresh().add(0, 5, false, [cell(0), cell(1), cell(2), cell(3), cell(4)]), false, "beyond the chunk");
    assert.equal(fresh().add(0, 1, true, [new Uint8Array(3)]), false, "no room for the hashes");
    const short = bytes.subarray(0, CELL_BYTES - 1);
    assert.equal(fresh().add(0, 1, true, [...hashes, short]), false, "a cell that is too short");
  });
});

describe("artifacts: fetching a map", () => {
  const PARTS = 3;
  const hashes = Buffer.from(new SeededRandom(4).bytes(32 * (8_192 * (PARTS - 1) + 5)));
  const ref = { root: ChunkMap.of(hashes).root, sizeBytes: (hashes.length / 32) * 256 * 1024, chunkBytes: 256 * 1024 };
  const partAt = (first: number): Uint8Array[] => [hashes.subarray(first * 32, (first + 8_192) * 32)];

  it("asks one peer, part by part, while it answers in time", () => {
    const fetch = new MapFetch(ref);
    let request = fetch.ask(["a", "b"], 0);
    for (let part = 0; part < PARTS - 1; part++) {
      assert.equal(request?.peer, "a");
      assert.equal(fetch.ask(["a", "b"], part * 400 + 300), undefined);
      const taken = fetch.take("a", request.first, partAt(request.first), (part + 1) * 400);
      assert.ok(taken !== undefined && "request" in taken);
      ({ request } = taken);
    }
    assert.ok("map" in (fetch.take("a", request?.first ?? 0, partAt(request?.first ?? 0), 1_300) ?? {}));
  });

  it("asks a second peer beside a slow one, and takes the map from the faster", () => {
    const fetch = new MapFetch(ref);
    assert.equal(fetch.ask(["a", "b", "c"], 0)?.peer, "a");
    assert.equal(fetch.ask(["a", "b", "c"], 499), undefined);
    let request = fetch.ask(["a", "b", "c"], 500);
    assert.equal(fetch.ask(["a", "b", "c"], 1_100), undefined, "two at once are enough");
    for (let part = 0; part < PARTS; part++) {
      assert.equal(request?.peer, "b");
      const taken = fetch.take("b", request.first, partAt(request.first), 1_200 + part);
      if (part === PARTS - 1) assert.ok(taken !== undefined && "map" in taken);
      else request = taken !== undefined && "request" in taken ? taken.request : undefined;
      if (part === 0) assert.ok(fetch.take("a", 0, partAt(0), 1_200), "the slow one goes on");
    }
  });

  it("waits longer for a part from a peer on a slow line", () => {
    const fetch = new MapFetch(ref);
    fetch.ask(["a", "b"], 0);
    assert.ok(fetch.take("a", 0, partAt(0), 400));
    assert.equal(fetch.ask(["a", "b"], 400 + 4 * 400 - 1), undefined);
    assert.equal(fetch.ask(["a", "b"], 400 + 4 * 400)?.peer, "b");
  });

  it("leaves a silent peer after 5 s, and one that is gone at once", () => {
    const fetch = new MapFetch(ref);
    fetch.ask(["a", "b"], 0);
    assert.equal(fetch.ask(["b"], 100)?.peer, "b");
    assert.equal(fetch.ask(["b"], 5_100), undefined);
    assert.equal(fetch.take("b", 0, partAt(0), 5_101), undefined, "what comes later counts no more");
    assert.equal(fetch.ask(["b"], 5_200)?.peer, "b", "all failed: from the start");
  });

  it("blames a peer whose map does not lead to the root, and takes the other's", () => {
    const small = { ...ref, root: ChunkMap.of(hashes.subarray(0, 64)).root, sizeBytes: 2 * ref.chunkBytes };
    const fetch = new MapFetch(small);
    fetch.ask(["liar", "b"], 0);
    assert.deepEqual(fetch.take("liar", 0, [Buffer.alloc(64)], 10), { wrong: true });
    assert.equal(fetch.ask(["liar", "b"], 20)?.peer, "b");
    assert.ok("map" in (fetch.take("b", 0, [hashes.subarray(0, 64)], 30) ?? {}));
  });
});
