import assert from "node:assert/strict";
import { Ed25519Key, isEd25519PublicKey, SystemRandom, verifyEd25519 } from "#core";
import fc from "fast-check";
import nacl from "tweetnacl";
import { z } from "zod";
import { readVectors } from "./vectors.ts";

const hex = (text: string): Buffer => Buffer.from(text, "hex");
const random = new SystemRandom();

/** RFC 8032 §7.1, tests 1 to 3, and the 1,023-byte test left out for its length. */
const RFC_8032 = [
  {
    seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    publicKey: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    message: "",
    signature:
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  },
  {
    seed: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    publicKey: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    message: "72",
    signature:
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  },
  {
    seed: "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    publicKey: "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    message: "af82",
    signature:
      "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  },
];

const flip = (bytes: Uint8Array, bit: number): Buffer => {
  const changed = Buffer.from(bytes);
  const at = Math.floor(bit / 8) % changed.length;
  changed.writeUInt8(changed.readUInt8(at) ^ (1 << (bit % 8)), at);
  return changed;
};

describe("Ed25519", () => {
  it("signs and verifies as RFC 8032 does", () => {
    for (const { seed, publicKey, message, signature } of RFC_8032) {
      const key = new Ed25519Key(hex(seed));
      assert.equal(Buffer.from(key.publicKey).toString("hex"), publicKey);
      assert.equal(Buffer.from(key.sign(hex(message))).toString("hex"), signature);
      assert.equal(verifyEd25519(key.publicKey, hex(message), hex(signature)), true);
    }
  });

  it("agrees with tweetnacl on honest signatures, both ways", () => {
    for (let i = 0; i < 20; i++) {
      const [seed, message] = [random.bytes(32), random.bytes(random.below(200))];
      const [ours, theirs] = [new Ed25519Key(seed), nacl.sign.keyPair.fromSeed(seed)];
      assert.deepEqual(Buffer.from(ours.publicKey), Buffer.from(theirs.publicKey));
      const signature = nacl.sign.detached(message, theirs.secretKey);
      assert.deepEqual(Buffer.from(ours.sign(message)), Buffer.from(signature));
      assert.equal(verifyEd25519(theirs.publicKey, message, signature), true);
      assert.equal(nacl.sign.detached.verify(message, ours.sign(message), ours.publicKey), true);
    }
  });

  it("refuses a signature, message or key with any one bit changed", () => {
    const key = new Ed25519Key(random.bytes(32));
    const message = Buffer.from("a document");
    const signature = key.sign(message);
    fc.assert(
      fc.property(fc.nat(511), (bit) => {
        assert.equal(verifyEd25519(key.publicKey, message, flip(signature, bit)), false);
        assert.equal(verifyEd25519(key.publicKey, flip(message, bit), signature), false);
        assert.equal(verifyEd25519(flip(key.publicKey, bit), message, signature), false);
      }),
      { numRuns: 300 },
    );
  });

  it("answers false, and never throws, for any bytes of any length", () => {
    const bytes = fc.uint8Array({ maxLength: 80 });
    const sized = (length: number) => fc.oneof(bytes, fc.uint8Array({ minLength: length, maxLength: length }));
    fc.assert(
      fc.property(sized(32), bytes, sized(64), (publicKey, message, signature) => {
        assert.equal(verifyEd25519(publicKey, message, signature), false);
      }),
      { numRuns: 500 },
    );
  });

  it("refuses S + L, the same signature in another form", () => {
    const L = 2n ** 252n + 27742317777372353535851937790883648493n;
    const key = new Ed25519Key(random.bytes(32));
    const signature = Buffer.from(key.sign(Buffer.from("x")));
    const s = BigInt(`0x${Buffer.from(signature.subarray(32).toReversed()).toString("hex")}`) + L;
    const forged = Buffer.concat([signature.subarray(0, 32), hex(s.toString(16).padStart(64, "0")).toReversed()]);
    assert.equal(verifyEd25519(key.publicKey, Buffer.from("x"), signature), true);
    assert.equal(verifyEd25519(key.publicKey, Buffer.from("x"), forged), false);
  });

  it("takes no key of small order, in any encoding, and none beyond the field", () => {
    const small = [
      "0000000000000000000000000000000000000000000000000000000000000000",
      "0100000000000000000000000000000000000000000000000000000000000000",
      "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
      "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    ];
    const beyond = ["edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", `${"ff".repeat(31)}7f`];
    for (const text of [...small, ...beyond]) {
      const withSign = hex(text);
      withSign.writeUInt8(withSign.readUInt8(31) | 0x80, 31);
      assert.equal(isEd25519PublicKey(hex(text)), false, text);
      assert.equal(isEd25519PublicKey(withSign), false, `${text} with the sign bit`);
    }
    assert.equal(isEd25519PublicKey(new Ed25519Key(random.bytes(32)).publicKey), true);
    assert.equal(isEd25519PublicKey(new Uint8Array(31)), false);
  });

  it("refuses a key that is not on the curve", () => {
    const off = Buffer.alloc(32);
    off.writeUInt8(2, 0);
    assert.equal(verifyEd25519(off, Buffer.from("x"), new Ed25519Key(random.bytes(32)).sign(Buffer.from("x"))), false);
  });

  it("goes on verifying when more keys were seen than it keeps", () => {
    const key = new Ed25519Key(random.bytes(32));
    const signature = key.sign(Buffer.from("x"));
    for (let i = 0; i < 1_100; i++) {
      const other = new Ed25519Key(Buffer.alloc(32, `${i} `));
      assert.equal(verifyEd25519(other.publicKey, Buffer.from("x"), signature), false);
    }
    assert.equal(verifyEd25519(key.publicKey, Buffer.from("x"), signature), true);
  });

  it("refuses a seed of another length", () => {
    assert.throws(() => new Ed25519Key(new Uint8Array(31)), { code: "core.ed25519-seed", exit: "invalid" });
  });
});

const Wycheproof = z.object({
  numberOfTests: z.number(),
  testGroups: z.array(
    z.object({
      publicKey: z.object({ pk: z.string() }),
      tests: z.array(
        z.object({
          tcId: z.number(),
          comment: z.string(),
          msg: z.string(),
          sig: z.string(),
          result: z.enum(["valid", "invalid"]),
        }),
      ),
    }),
  ),
});

const Cctv = z.array(
  z.object({
    number: z.number(),
    key: z.string(),
    sig: z.string(),
    msg: z.string(),
    flags: z.array(z.string()).nullable(),
  }),
);

/** What a strict verifier without cofactor refuses (C2SP/CCTV, ed25519). All other vectors it accepts. */
const STRICT_REFUSES = ["low_order_A", "low_order_R", "non_canonical_A", "non_canonical_R", "low_order_residue"];

describe("Ed25519 public vectors", () => {
  it("judges all of Wycheproof's as Wycheproof does", function () {
    const text = readVectors("wycheproof/ed25519_test.json");
    if (text === undefined) {
      this.skip();
      return;
    }
    const { numberOfTests, testGroups } = Wycheproof.parse(JSON.parse(text));
    let count = 0;
    for (const { publicKey, tests } of testGroups) {
      for (const { tcId, comment, msg, sig, result } of tests) {
        count += 1;
        assert.equal(
          verifyEd25519(hex(publicKey.pk), hex(msg), hex(sig)),
          result === "valid",
          `test ${tcId}: ${comment}`,
        );
      }
    }
    assert.equal(count, numberOfTests);
  });

  it("accepts just those of CCTV's that a strict verifier should", function () {
    const text = readVectors("cctv/ed25519vectors.json");
    if (text === undefined) {
      this.skip();
      return;
    }
    const vectors = Cctv.parse(JSON.parse(text));
    assert.equal(vectors.length, 914);
    let accepted = 0;
    for (const { number, key, sig, msg, flags } of vectors) {
      const expected = !STRICT_REFUSES.some((flag) => flags?.includes(flag));
      if (expected) accepted += 1;
      assert.equal(verifyEd25519(hex(key), Buffer.from(msg), hex(sig)), expected, `vector ${number}: ${flags?.join()}`);
    }
    assert.equal(accepted, 43);
  });
});
