import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { auditPath, HASH_BYTES, leafHash, merkleRoot, nodeHash, verifyAuditPath } from "#core";
import fc from "fast-check";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** The eight entries, and the roots over the first 0 to 8 of them, that Certificate Transparency implementations test with. */
const ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS = [
  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/** RFC 6962 §2.1 word for word: split at the largest power of two smaller than n. */
function recursiveRoot(data: readonly Uint8Array[]): Uint8Array {
  const [first] = data;
  if (first === undefined) return createHash("sha256").digest();
  if (data.length === 1) return createHash("sha256").update(Uint8Array.of(0)).update(first).digest();
  let k = 1;
  while (k * 2 < data.length) k *= 2;
  const [left, right] = [recursiveRoot(data.slice(0, k)), recursiveRoot(data.slice(k))];
  return createHash("sha256").update(Uint8Array.of(1)).update(left).update(right).digest();
}

const leaves = (count: number): Uint8Array[] => Array.from({ length: count }, (_, i) => leafHash(Buffer.from(`${i}`)));

describe("Merkle tree", () => {
  it("has Certificate Transparency's roots", () => {
    const hashes = ENTRIES.map((entry) => leafHash(Buffer.from(entry, "hex")));
    assert.deepEqual(
      ROOTS.map((_, count) => hex(merkleRoot(hashes.slice(0, count)))),
      ROOTS,
    );
  });

  it("equals the RFC's recursive definition", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 70 }), (data) => {
        assert.equal(hex(merkleRoot(data.map((entry) => leafHash(entry)))), hex(recursiveRoot(data)));
      }),
    );
  });

  it("has the same root over interior nodes of equal height, so that chunk size does not matter", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 0, max: 5 }), (count, height) => {
        const hashes = leaves(count);
        const size = 2 ** height;
        const chunks = Array.from({ length: Math.ceil(count / size) }, (_, i) =>
          merkleRoot(hashes.slice(i * size, (i + 1) * size)),
        );
        assert.equal(hex(merkleRoot(chunks)), hex(merkleRoot(hashes)));
      }),
    );
  });

  it("hashes a leaf the same in any number of pieces", () => {
    assert.deepEqual(leafHash(Buffer.from("ab"), Buffer.from("c")), leafHash(Buffer.from("abc")));
  });

  it("tells a leaf from a node, so that neither stands in for the other", () => {
    const [a, b] = [leafHash(Buffer.from("a")), leafHash(Buffer.from("b"))];
    assert.notEqual(hex(leafHash(a, b)), hex(nodeHash(a, b)));
  });

  it("proves each leaf by its audit path, and nothing else by it", () => {
    for (let size = 1; size <= 40; size++) {
      const hashes = leaves(size);
      const root = merkleRoot(hashes);
      for (const [index, leaf] of hashes.entries()) {
        const path = auditPath(hashes, index);
        assert.ok(path.length <= Math.ceil(Math.log2(size)));
        assert.equal(verifyAuditPath(leaf, index, size, path, root), true, `leaf ${index} of ${size}`);
        for (let other = 0; other < size; other++) {
          if (other !== index) assert.equal(verifyAuditPath(leaf, other, size, path, root), false);
        }
      }
    }
  });

  it("refuses a path with any byte changed, left out, added or in another order", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 300 }),
        fc.nat(),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (size, pick, place, flip) => {
          const hashes = leaves(size);
          const index = pick % size;
          const leaf = hashes[index] ?? assert.fail();
          const root = merkleRoot(hashes);
          const path = auditPath(hashes, index);
          const changed = path.map((hash) => Buffer.from(hash));
          const target = changed[place % changed.length] ?? assert.fail();
          target.writeUInt8(target.readUInt8(place % HASH_BYTES) ^ flip, place % HASH_BYTES);
          const mutants: Uint8Array[][] = [changed, path.slice(1), path.slice(0, -1), [...path, leaf], [leaf, ...path]];
          if (path.length > 1) mutants.push(path.toReversed());
          for (const mutant of mutants) assert.equal(verifyAuditPath(leaf, index, size, mutant, root), false);
          assert.equal(verifyAuditPath(root, index, size, path, root), false);
          assert.equal(verifyAuditPath(leaf, index, size, path, leaf), false);
        },
      ),
    );
  });

  it("refuses a path for a tree of another shape", () => {
    const hashes = leaves(7);
    const [root, path] = [merkleRoot(hashes), auditPath(hashes, 6)];
    const leaf = hashes[6] ?? assert.fail();
    assert.equal(path.length, 2); // the last of seven is lifted once, so its path is short
    for (const size of [1, 2, 4, 6, 8, 14])
      assert.equal(verifyAuditPath(leaf, 6, size, path, root), false, `${size} leaves`);
  });

  it("refuses a sibling that is no hash, and an index that is none", () => {
    const hashes = leaves(4);
    const root = merkleRoot(hashes);
    const [leaf = assert.fail()] = hashes;
    const path = auditPath(hashes, 0);
    const [first = assert.fail(), second = assert.fail()] = path;
    const moved = [Buffer.concat([first, second.subarray(0, 1)]), second.subarray(1)];
    assert.equal(verifyAuditPath(leaf, 0, 4, moved, root), false);
    for (const index of [-1, 4, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.equal(verifyAuditPath(leaf, index, 4, path, root), false, `index ${index}`);
    }
    for (const index of [-1, 4, 0.5]) assert.throws(() => auditPath(hashes, index), { code: "core.merkle-index" });
  });

  it("holds at sizes where 32-bit arithmetic would not", () => {
    const size = 2 ** 40;
    const path = Array.from({ length: 40 }, (_, i) => leafHash(Buffer.from(`${i}`)));
    const leaf = leafHash(Buffer.from("last"));
    const root = path.reduce((hash, sibling) => nodeHash(sibling, hash), leaf);
    assert.equal(verifyAuditPath(leaf, size - 1, size, path, root), true);
    assert.equal(verifyAuditPath(leaf, 2 ** 32 - 1, size, path, root), false);
  });
});
