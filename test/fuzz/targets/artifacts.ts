import { createHash } from "node:crypto";
import { encodeFrame, type Frame, FrameReader, leafHash } from "#core";
import { planContent } from "../../../src/artifacts/artifact-content.ts";
import { Bitset } from "../../../src/artifacts/bitset.ts";
import { ChunkMap } from "../../../src/artifacts/chunk-map.ts";
import { MapFetch } from "../../../src/artifacts/map-fetch.ts";
import { blobRefOf, encodeListing } from "../../../src/artifacts/listing.ts";
import { decodeListing } from "../../../src/artifacts/listing-reader.ts";
import { decodeLinkMessage, encodeLinkMessage, SWARM_FRAME_LIMITS } from "../../../src/artifacts/wire.ts";
import { decodeBencode, encodeBencode } from "../../../src/artifacts/torrent/bencode.ts";
import { isPeer, makeMagnet, parseMagnet } from "../../../src/artifacts/torrent/magnet.ts";
import { isTracker, listingOf, makeMetainfo, parseMetainfo } from "../../../src/artifacts/torrent/metainfo.ts";
import { nodeIdOf } from "../../../src/identity/node-id.ts";
import { ARTIFACT_SPEC, testKey } from "../../support/fleet.ts";
import { type FuzzTarget, mustHold, mustReturn } from "../target.ts";

const KIB = 1024;
const ROOT = "ab".repeat(32);
const BLOB = { root: ROOT, sizeBytes: 600 * KIB, chunkBytes: 256 * KIB };
const STATUS = { wants: true, yields: false, foreground: false, reach: ["berlin"] };
const utf8 = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

const messages: FuzzTarget = {
  name: "swarm-messages",
  covers: ["src/artifacts/wire.ts#decodeLinkMessage"],
  grammar: "bytes",
  seeds: () =>
    [
      encodeLinkMessage({ type: "join", ref: 0, blob: BLOB, status: STATUS }),
      encodeLinkMessage({ type: "swarm", ref: 0, message: { type: "claim", runs: [0, 2, 4, 9], wan: true } }),
      encodeLinkMessage({ type: "swarm", ref: 1, message: { type: "decline", chunk: 3, reason: "full" } }),
      encodeLinkMessage({ type: "cells", ref: 0, chunk: 1, first: 0, count: 1, hashed: true }, [Buffer.alloc(99)]),
      encodeLinkMessage({ type: "peers", ref: 0, peers: [nodeIdOf(testKey(50).publicKey)] }),
      encodeLinkMessage({ type: "leave", root: ROOT }),
      encodeLinkMessage({ type: "ack", bytes: 65_536 }),
    ].map((pieces) => Buffer.concat(pieces)),
  refuses: ["artifacts.wire", "core.frame", "core.cbor"],
  prepare: () => (input) => {
    const frames: Frame[] = [];
    new FrameReader(SWARM_FRAME_LIMITS).push(input, (frame) => frames.push(frame));
    const types = frames.map((frame) => {
      const message = decodeLinkMessage(frame);
      mustReturn(
        Buffer.concat(encodeLinkMessage(message, frame.payload)),
        Buffer.concat(encodeFrame(frame.header, frame.payload)),
      );
      return message.type === "swarm" ? message.message.type : message.type;
    });
    return types.slice(0, 2).join();
  },
};

/** A map in parts, as a peer that lies about it sends them. */
const chunkMap: FuzzTarget = {
  name: "chunk-map",
  covers: ["src/artifacts/chunk-map.ts#ChunkMap", "src/artifacts/map-fetch.ts#MapFetch"],
  grammar: "bytes",
  seeds: () => [Buffer.concat(HASHES), Buffer.concat(HASHES.slice(1))],
  refuses: [],
  prepare: () => (input) => {
    const right = Buffer.concat(HASHES);
    const { root } = ChunkMap.of(Buffer.concat(HASHES));
    const ref = { root, sizeBytes: HASHES.length * 256 * KIB, chunkBytes: 256 * KIB };
    const fetch = new MapFetch(ref);
    const asked = fetch.ask(["liar"], 0);
    const taken = fetch.take("liar", asked?.first ?? 0, [input], 1);
    const map = ChunkMap.verify(ref, input);
    mustHold((map !== undefined) === (Buffer.compare(input, right) === 0), "a map that is not the blob's");
    mustHold((map !== undefined) === (taken !== undefined && "map" in taken), "two verdicts on one map");
    return taken === undefined ? "nothing" : Object.keys(taken).join();
  },
};
const HASHES = Array.from({ length: 5 }, (_, at) => leafHash(Buffer.of(at)));

const bitset: FuzzTarget = {
  name: "bitset",
  covers: ["src/artifacts/bitset.ts#Bitset"],
  grammar: "bytes",
  seeds: () => [Buffer.concat([Buffer.of(40), Buffer.from("ffffffff00000000", "hex")]), Buffer.from("00", "hex")],
  refuses: [],
  // the first byte is how many there are
  prepare: () => (input) => {
    const set = Bitset.fromBytes(input[0] ?? 0, input.subarray(1));
    if (set === undefined) return "refused";
    mustReturn(set.toBytes(), input.subarray(1));
    mustHold([...set.values()].length === set.count, "members and their count differ");
    return `${set.full}`;
  },
};

const LISTING = {
  blobs: [{ root: ROOT, sizeBytes: 300 }],
  entries: [
    { path: "a/empty", empty: true as const },
    { path: "a/file", mode: 0o644, sizeBytes: 100, blob: 0, offset: 200 },
    { path: "b", link: "a/file" },
  ],
};

const listing: FuzzTarget = {
  name: "listing",
  covers: ["src/artifacts/listing-reader.ts#decodeListing", "src/artifacts/listing.ts#parseListing"],
  grammar: "json",
  seeds: () => [encodeListing(LISTING), encodeListing({ blobs: [], entries: [] })],
  refuses: ["artifacts.listing", "core.json"],
  prepare: () => async (input) => {
    const read = await decodeListing(input);
    mustReturn(encodeListing(read), input);
    for (const { path } of read.entries) mustHold(!`/${path}/`.includes("/../"), "a path leads out");
    return `${Math.min(read.entries.length, 3)} entries`;
  },
};

const content: FuzzTarget = {
  name: "artifact-content",
  covers: ["src/artifacts/artifact-content.ts#planContent", "src/artifacts/artifact-content.ts"],
  grammar: "json",
  maxBytes: 64 * KIB, // the largest Artifact document
  seeds: () => {
    const { root } = blobRefOf(encodeListing(LISTING));
    const chunkBytes = 256 * KIB;
    return [
      { ...ARTIFACT_SPEC, content: { name: "a.bin", mode: 420 } },
      { ...ARTIFACT_SPEC, directory: true, root, chunkBytes, content: { listing: LISTING } },
      { ...ARTIFACT_SPEC, directory: true, root, chunkBytes, content: { listingBytes: 400 } },
    ].map((spec) => Buffer.from(JSON.stringify(spec)));
  },
  refuses: ["artifacts.content", "artifacts.listing"],
  prepare: () => (input) => {
    let spec: unknown;
    try {
      spec = JSON.parse(utf8(input));
    } catch {
      return "no JSON";
    }
    // all but `content` was checked with the document
    const known = typeof spec === "object" && spec !== null && "content" in spec ? { content: spec.content } : {};
    return planContent({ ...ARTIFACT_SPEC, content: {}, ...known } as Parameters<typeof planContent>[0]).type;
  },
};

const TORRENT = makeMetainfo(
  {
    name: "set",
    single: false,
    pieceBytes: 16 * KIB,
    hashes: new Uint8Array(20).fill(5),
    files: [
      { path: "a.bin", sizeBytes: 9, offset: 0, executable: false },
      { path: "b/c", sizeBytes: 1, offset: 9, executable: true },
    ],
  },
  ["https://tracker.example/announce", "udp://[2001:db8::1]:80"],
);

const bencode: FuzzTarget = {
  name: "bencode",
  covers: ["src/artifacts/torrent/bencode.ts#decodeBencode"],
  grammar: "bencode",
  seeds: () => [TORRENT.bytes, encodeBencode([1, -5, Buffer.from("x"), new Map([["k", []]])])],
  refuses: ["artifacts.torrent"],
  prepare: () => (input) => {
    mustReturn(encodeBencode(decodeBencode(input)), input);
    return "value";
  },
};

const torrent: FuzzTarget = {
  name: "torrent",
  covers: ["src/artifacts/torrent/metainfo.ts#parseMetainfo", "src/artifacts/torrent/metainfo.ts#isTracker"],
  grammar: "bencode",
  seeds: () => [TORRENT.bytes],
  refuses: ["artifacts.torrent", "artifacts.listing"],
  prepare: () => (input) => {
    const read = parseMetainfo(input);
    mustReturn(parseMetainfo(read.bytes).bytes, read.bytes);
    mustHold(read.trackers.every(isTracker), "a tracker that is none");
    return `${read.single} ${Math.min(listingOf(read, ROOT).entries.length, 3)}`;
  },
};

const magnet: FuzzTarget = {
  name: "magnet",
  covers: ["src/artifacts/torrent/magnet.ts#parseMagnet", "src/artifacts/torrent/magnet.ts#isPeer"],
  grammar: "text",
  seeds: () => {
    const hash = createHash("sha1").digest("hex");
    const link = makeMagnet(hash, ["udp://tracker.example:80"]);
    return [link, `${link}&x.pe=192.0.2.7:6881&x.pe=[::1]:1`, `magnet:?xt=urn:btih:${"a2".repeat(16)}`].map((text) =>
      Buffer.from(text),
    );
  },
  refuses: ["artifacts.magnet"],
  prepare: () => (input) => {
    const read = parseMagnet(utf8(input));
    mustHold(parseMagnet(read.text).text === read.text, "a link is not what it says itself");
    mustHold(read.peers.every(isPeer), "a peer that is none");
    return `${read.trackers.length > 0} ${read.peers.length > 0}`;
  },
};

export const ARTIFACT_TARGETS: readonly FuzzTarget[] = [
  messages,
  chunkMap,
  bitset,
  listing,
  content,
  bencode,
  torrent,
  magnet,
];
