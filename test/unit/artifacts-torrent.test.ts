import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { faultCode } from "#core";
import { type Bencoded, decodeBencode, encodeBencode } from "../../src/artifacts/torrent/bencode.ts";
import { isPeer, parseMagnet } from "../../src/artifacts/torrent/magnet.ts";
import { makeMetainfo, type MetainfoParts, parseMetainfo } from "../../src/artifacts/torrent/metainfo.ts";

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
const isTorrentFault = (error: unknown): boolean =>
  ["artifacts.torrent", "artifacts.listing"].includes(faultCode(error) ?? "");

describe("artifacts: bencode", () => {
  const { value } = fc.letrec<{ value: Bencoded }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.maxSafeInteger().map((n) => n + 0), // without −0
      fc.uint8Array({ maxLength: 40 }),
      fc.array(tie("value"), { maxLength: 5 }),
      fc
        .array(fc.tuple(fc.string({ unit: "binary-ascii" }), tie("value")), { maxLength: 5 })
        .map((all) => new Map(all)),
    ),
  }));

  it("reads back what it writes, and writes back what it reads", () => {
    fc.assert(
      fc.property(value, (one) => {
        const bytes = encodeBencode(one);
        assert.deepEqual(encodeBencode(decodeBencode(bytes)), bytes);
      }),
    );
  });

  it("reads any bytes as their own encoding or refuses them with its fault", () => {
    const nearly = fc.array(fc.constantFrom("d", "l", "i", "e", "0", "1", "2", "-", ":", "a"), { maxLength: 30 });
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 60 }),
          nearly.map((all) => latin1(all.join(""))),
        ),
        (bytes) => {
          try {
            assert.deepEqual(Buffer.from(encodeBencode(decodeBencode(bytes))), Buffer.from(bytes));
          } catch (error) {
            assert.equal(faultCode(error), "artifacts.torrent");
          }
        },
      ),
    );
  });

  for (const [what, text] of [
    ["nothing", ""],
    ["bytes left over", "i1ei2e"],
    ["a zero in front", "i01e"],
    ["minus zero", "i-0e"],
    ["an integer without digits", "ie"],
    ["an integer beyond 2^53", "i9007199254740993e"],
    ["a string that is cut off", "5:abc"],
    ["a length that is no number", "-1:a"],
    ["keys out of order", "d1:b0:1:a0:e"],
    ["a key that stands twice", "d1:a0:1:a0:e"],
    ["a key that is no string", "di1e0:e"],
    ["a list without an end", "l1:a"],
    ["a dictionary without an end", "d1:a0:"],
    ["65 levels and more", "l".repeat(70) + "e".repeat(70)],
  ] as const) {
    it(`refuses ${what}`, () => assert.throws(() => decodeBencode(latin1(text)), isTorrentFault));
  }
});

describe("artifacts: torrents and magnet links", () => {
  const parts: MetainfoParts = {
    name: "tree",
    single: false,
    pieceBytes: 16_384,
    hashes: new Uint8Array(40),
    files: [
      { path: "b/run", sizeBytes: 20_000, offset: 0, executable: true },
      { path: "a", sizeBytes: 0, offset: 20_000, executable: false },
      { path: "c", sizeBytes: 12_000, offset: 20_000, executable: false },
    ],
  };

  it("reads back what it makes, the same bytes each time", () => {
    const trackers = ["udp://tracker.example:6969", "https://tracker.example/announce"];
    const made = makeMetainfo(parts, [...trackers, "wss://tracker.example", "file:///etc/passwd"]);
    assert.partialDeepStrictEqual(made, { ...parts, sizeBytes: 32_000, trackers });
    assert.deepEqual(parseMetainfo(made.bytes), made);
    const run = { path: "run", sizeBytes: 32_000, offset: 0, executable: true };
    const single = makeMetainfo({ ...parts, name: "run", single: true, files: [run] }, []);
    assert.equal(single.single, true);
    assert.deepEqual(parseMetainfo(single.bytes), single);
  });

  it("keeps of another's torrent what it uses, and leaves padding out", () => {
    const file = (path: string[], length: number, attr?: string): Bencoded =>
      new Map<string, Bencoded>([
        ["length", length],
        ["path", path.map(latin1)],
        ...(attr === undefined ? [] : [["attr", latin1(attr)] as const]),
      ]);
    const info = new Map<string, Bencoded>([
      ["files", [file(["x"], 10_000, "x"), file([".pad", "6384"], 6_384, "p"), file(["y"], 5)]],
      ["name", latin1("t")],
      ["piece length", 16_384],
      ["pieces", new Uint8Array(40)],
      ["source", latin1("whoever")],
    ]);
    const torrent = new Map<string, Bencoded>([
      ["info", info],
      ["url-list", [latin1("http://192.0.2.7/x")]],
      ["announce", latin1("udp://t:1")],
    ]);
    const { files, infoHash, bytes, trackers, sizeBytes } = parseMetainfo(encodeBencode(torrent));
    assert.deepEqual(files, [
      { path: "x", sizeBytes: 10_000, offset: 0, executable: true },
      { path: "y", sizeBytes: 5, offset: 16_384, executable: false },
    ]);
    assert.equal(sizeBytes, 16_389);
    assert.equal(infoHash, createHash("sha1").update(encodeBencode(info)).digest("hex"));
    assert.deepEqual(trackers, ["udp://t:1"]);
    assert.ok(!Buffer.from(bytes).includes("url-list"));
  });

  const infoOf = (change: [string, Bencoded | undefined][]): Uint8Array => {
    const info = new Map<string, Bencoded>([
      ["length", 20_000],
      ["name", latin1("x")],
      ["piece length", 16_384],
      ["pieces", new Uint8Array(40)],
    ]);
    for (const [key, value] of change) {
      if (value === undefined) info.delete(key);
      else info.set(key, value);
    }
    return encodeBencode(new Map([["info", info]]));
  };
  const inFolder = (...paths: string[][]): Uint8Array =>
    infoOf([
      ["length", undefined],
      [
        "files",
        paths.map(
          (path) =>
            new Map<string, Bencoded>([
              ["length", 20_000 / paths.length],
              ["path", path.map(latin1)],
            ]),
        ),
      ],
    ]);

  it("takes the torrent that the refused ones differ from", () => {
    assert.equal(parseMetainfo(infoOf([])).name, "x");
    assert.equal(parseMetainfo(inFolder(["a", "b"], ["a", "c"])).files.length, 2);
  });

  for (const [what, bytes] of [
    ["no dictionary", latin1("le")],
    ["no info", latin1("de")],
    ["no name", infoOf([["name", undefined]])],
    ["a name with a slash", infoOf([["name", latin1("a/b")]])],
    ["a name that is not UTF-8", infoOf([["name", Buffer.from([0xff])]])],
    ["the name ..", infoOf([["name", latin1("..")]])],
    ["a negative length", infoOf([["length", -1]])],
    ["a length that is no number", infoOf([["length", latin1("1")]])],
    [
      "nothing in it",
      infoOf([
        ["length", 0],
        ["pieces", new Uint8Array()],
      ]),
    ],
    ["tiny pieces", infoOf([["piece length", 1]])],
    [
      "huge pieces",
      infoOf([
        ["piece length", 2 ** 40],
        ["pieces", new Uint8Array(20)],
      ]),
    ],
    ["too few hashes", infoOf([["pieces", new Uint8Array(20)]])],
    ["half a hash", infoOf([["pieces", new Uint8Array(39)]])],
    ["more than a blob can have", infoOf([["length", 2 ** 50]])],
    [
      "no files",
      infoOf([
        ["length", undefined],
        ["files", []],
      ]),
    ],
    [
      "version 2 only",
      infoOf([
        ["pieces", undefined],
        ["meta version", 2],
      ]),
    ],
    ["a path that leads outside", inFolder(["..", "etc"], ["a"])],
    ["a path with a slash", inFolder(["a/../../etc"], ["a"])],
    ["an empty path", inFolder([], ["a"])],
    ["two files of one name", inFolder(["a"], ["a"])],
    ["a file below a file", inFolder(["a"], ["a", "b"])],
    ["a symbolic link", infoOf([["attr", latin1("l")]])],
  ] as const) {
    it(`refuses a torrent with ${what}`, () => assert.throws(() => parseMetainfo(bytes), isTorrentFault));
  }

  it("refuses or takes any change of a torrent, and nothing else happens", () => {
    const good = makeMetainfo(parts, ["udp://t:1"]).bytes;
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (at, byte) => {
        const bytes = Buffer.from(good);
        bytes[at] = byte;
        try {
          parseMetainfo(bytes);
        } catch (error) {
          assert.ok(isTorrentFault(error), String(error));
        }
      }),
    );
  });

  it("reads what a magnet link says, and drops what it does not use", () => {
    const hash = "0123456789abcdef0123456789abcdef01234567";
    const link = `magnet:?xt=urn:btih:${hash.toUpperCase()}&dn=x&tr=udp%3A%2F%2Ft%3A1&tr=wss%3A%2F%2Ft&x.pe=192.0.2.7:1&x.pe=evil&xs=http://192.0.2.7/`;
    assert.deepEqual(parseMagnet(link), {
      infoHash: hash,
      trackers: ["udp://t:1"],
      peers: ["192.0.2.7:1"],
      text: `magnet:?xt=urn:btih:${hash}&tr=udp%3A%2F%2Ft%3A1`,
    });
    assert.equal(parseMagnet("magnet:?xt=urn:btih:AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH").infoHash, hash); // base32
    for (const bad of [
      "magnet:",
      "magnet:?",
      "magnet:?xt=urn:btih:00",
      "magnet:?xt=urn:btmh:1220",
      `magnet:?xt=urn:btih:${hash}0`,
    ]) {
      assert.throws(
        () => parseMagnet(bad),
        (error) => faultCode(error) === "artifacts.magnet",
        bad,
      );
    }
  });

  it("tells an address of a peer from other text", () => {
    for (const good of ["192.0.2.7:6881", "[2001:db8::7]:1", "127.0.0.1:65535"]) assert.ok(isPeer(good), good);
    for (const bad of ["", "host:1", "192.0.2.7", "192.0.2.7:0", "192.0.2.7:65536", "192.0.2.300:1", "2001:db8::7:1"]) {
      assert.ok(!isPeer(bad), bad);
    }
  });
});
