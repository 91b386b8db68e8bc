import { createHash } from "node:crypto";
import { chunkBytesFor, isBlobRef } from "../chunk-map.ts";
import { type Listing, parseListing } from "../listing.ts";
import { badTorrent, type Bencoded, type BencodedMap, decodeBencode, encodeBencode } from "./bencode.ts";

/** What BitTorrent clients take over the wire (BEP 9 names no limit; ut_metadata has this one). */
export const MAX_METAINFO_BYTES = 10_000_000;
/** Fewer than an artifact may have: torrents come from strangers, and all of this is read in one go. */
const MAX_FILES = 20_000;
/** Pieces are held in memory, some at a time. BEP 3 has powers of two from 16 KiB on. */
const MIN_PIECE_BYTES = 16 * 1024;
const MAX_PIECE_BYTES = 32 * 1024 * 1024;
const PIECE_HASH_BYTES = 20;
/** Trackers of one torrent that are asked. */
const MAX_TRACKERS = 16;
const MAX_TRACKER_CHARS = 1_024;
/** Those that need neither WebRTC nor a web socket. */
const TRACKER_PROTOCOLS = new Set(["http:", "https:", "udp:"]);

/** One file of a torrent: bytes of its content, which is all files one after the other. */
export type TorrentFile = {
  /** Relative; of a single file its name. */
  path: string;
  sizeBytes: number;
  offset: number;
  executable: boolean;
};

/** A torrent of BitTorrent version 1, with nothing left in it that this node would not use. */
export type Metainfo = {
  /** Hex SHA-1 of the info dictionary. */
  infoHash: string;
  name: string;
  /** Whether it is a file, not a folder. */
  single: boolean;
  pieceBytes: number;
  sizeBytes: number;
  /** SHA-1 of each piece, one after the other. */
  hashes: Uint8Array;
  files: readonly TorrentFile[];
  trackers: readonly string[];
  /** As a .torrent file: trackers and info. */
  bytes: Uint8Array;
};

/**
 * Reads a .torrent file. What it says beyond content and trackers, such as web seeds, is left out; trackers that are known otherwise,
 * as from a link, can be added. Throws Fault `artifacts.torrent` (exit `invalid`) when anything in it is not as it must be, or is
 * more than an artifact can hold.
 */
export function parseMetainfo(bytes: Uint8Array, moreTrackers: readonly string[] = []): Metainfo {
  if (bytes.length > MAX_METAINFO_BYTES) throw badTorrent(`it has ${bytes.length} bytes`);
  const torrent = asMap(decodeBencode(bytes), "the torrent");
  const info = asMap(torrent.get("info"), "info");
  const pieceBytes = asInt(info.get("piece length"), "piece length", MIN_PIECE_BYTES, MAX_PIECE_BYTES);
  if (info.has("meta version") && !info.has("pieces")) throw badTorrent("it is for BitTorrent version 2 only");
  const name = asName(info.get("name"), "name");
  const list = info.get("files");
  const all = list === undefined ? [fileOf(info, [name], 0)] : filesOf(list);
  const sizeBytes = all.reduce((sum, file) => sum + file.sizeBytes, 0);
  const hashes = asBytes(info.get("pieces"), "pieces");
  if (sizeBytes === 0) throw badTorrent("there is nothing in it");
  if (!isBlobRef({ root: "0".repeat(64), sizeBytes, chunkBytes: chunkBytesFor(sizeBytes) })) {
    throw badTorrent(`its ${sizeBytes} bytes are more than one blob can have`);
  }
  if (hashes.length !== Math.ceil(sizeBytes / pieceBytes) * PIECE_HASH_BYTES) {
    throw badTorrent("it does not have one hash for each piece");
  }
  const files = all
    .filter(({ padding }) => !padding)
    .map(({ path, sizeBytes, offset, executable }) => ({ path, sizeBytes, offset, executable }));
  const metainfo = { name, single: list === undefined, pieceBytes, sizeBytes, hashes, files };
  listingOf(metainfo, "0".repeat(64)); // refuses paths that no artifact may have, before a byte is fetched
  const infoBytes = encodeBencode(info);
  const infoHash = createHash("sha1").update(infoBytes).digest("hex");
  const trackers = [...new Set([...trackersIn(torrent), ...moreTrackers])].filter(isTracker).slice(0, MAX_TRACKERS);
  return { ...metainfo, infoHash, trackers, bytes: encodeTorrent(infoBytes, trackers) };
}

/** What is known of a torrent that is being made. */
export type MetainfoParts = Pick<Metainfo, "name" | "single" | "pieceBytes" | "hashes" | "files">;

/**
 * The torrent of content whose pieces have been hashed. Its bytes depend on the content and the trackers only. Throws as
 * `parseMetainfo` does for content that no torrent can name.
 */
export function makeMetainfo(parts: MetainfoParts, trackers: readonly string[]): Metainfo {
  const { name, single, pieceBytes, hashes, files } = parts;
  const attributes = ({ executable }: TorrentFile): [string, Bencoded][] => (executable ? [["attr", text("x")]] : []);
  const dictionaryOf = (file: TorrentFile): BencodedMap =>
    new Map<string, Bencoded>([
      ...attributes(file),
      ["length", file.sizeBytes],
      ["path", file.path.split("/").map(text)],
    ]);
  const [only] = files;
  const content: [string, Bencoded][] =
    single && only !== undefined
      ? [...attributes(only), ["length", only.sizeBytes]]
      : [["files", files.map(dictionaryOf)]];
  const info = new Map<string, Bencoded>([
    ...content,
    ["name", text(name)],
    ["piece length", pieceBytes],
    ["pieces", hashes],
  ]);
  return parseMetainfo(encodeTorrent(encodeBencode(info), trackers));
}

function encodeTorrent(info: Uint8Array, trackers: readonly string[]): Uint8Array {
  const others = new Map<string, Bencoded>();
  const [first] = trackers;
  if (first !== undefined) {
    others.set("announce", text(first));
    others.set(
      "announce-list",
      trackers.map((tracker) => [text(tracker)]),
    );
  }
  const open = encodeBencode(others).subarray(0, -1); // "info" comes after the others
  return Buffer.concat([open, text("4:info"), info, text("e")]);
}

/** The listing of a torrent's folder whose content is the blob with this root. Throws Fault `artifacts.listing` (exit `invalid`). */
export function listingOf({ files, sizeBytes }: Pick<Metainfo, "files" | "sizeBytes">, root: string): Listing {
  const entries = files.map(({ path, sizeBytes, offset, executable }) => {
    return { path, mode: modeOf(executable), sizeBytes, blob: 0, offset };
  });
  return parseListing({
    blobs: [{ root, sizeBytes }],
    entries: entries.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
  });
}

/** A torrent says of a file's mode only whether it can be run. */
export function modeOf(executable: boolean): number {
  return executable ? 0o755 : 0o644;
}

/** Whether this is the address of a tracker that a torrent may name. */
export function isTracker(url: string): boolean {
  return url.length <= MAX_TRACKER_CHARS && URL.canParse(url) && TRACKER_PROTOCOLS.has(new URL(url).protocol);
}

function filesOf(value: Bencoded): (TorrentFile & { padding: boolean })[] {
  const list = asList(value, "files");
  if (list.length === 0 || list.length > MAX_FILES) throw badTorrent(`it has ${list.length} files`);
  let offset = 0;
  return list.map((one) => {
    const map = asMap(one, "a file");
    const path = asList(map.get("path"), "a path").map((part) => asName(part, "part of a path"));
    const file = fileOf(map, path, offset);
    offset += file.sizeBytes;
    if (!Number.isSafeInteger(offset)) throw badTorrent("its files are too large");
    return file;
  });
}

/** BEP 47: `x` marks what can be run, `p` bytes that only fill a piece up. */
function fileOf(map: BencodedMap, path: readonly string[], offset: number): TorrentFile & { padding: boolean } {
  const sizeBytes = asInt(map.get("length"), "the length of a file", 0, Number.MAX_SAFE_INTEGER);
  const attributes = map.get("attr");
  const flags = attributes instanceof Uint8Array ? Buffer.from(attributes).toString("latin1") : "";
  if (flags.includes("l")) throw badTorrent("it has symbolic links, which are not taken from strangers");
  return { path: path.join("/"), sizeBytes, offset, executable: flags.includes("x"), padding: flags.includes("p") };
}

function trackersIn(torrent: BencodedMap): string[] {
  const tiers = torrent.get("announce-list");
  const named = Array.isArray(tiers) ? (tiers as readonly Bencoded[]).flat() : [torrent.get("announce")];
  return named.filter((one) => one instanceof Uint8Array).map((one) => Buffer.from(one).toString());
}

function asMap(value: Bencoded | undefined, what: string): BencodedMap {
  if (value instanceof Map) return value;
  throw badTorrent(`${what} is no dictionary`);
}

function asList(value: Bencoded | undefined, what: string): readonly Bencoded[] {
  if (Array.isArray(value)) return value as readonly Bencoded[];
  throw badTorrent(`${what} is no list`);
}

function asBytes(value: Bencoded | undefined, what: string): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw badTorrent(`${what} is no string`);
}

function asInt(value: Bencoded | undefined, what: string, min: number, max: number): number {
  if (typeof value === "number" && value >= min && value <= max) return value;
  throw badTorrent(`${what} is not an integer from ${min} to ${max}`);
}

function asName(value: Bencoded | undefined, what: string): string {
  const name = utf8(asBytes(value, what));
  if (name !== undefined && name !== "" && name.length <= 255 && !/[/\0]/u.test(name) && !/^\.{1,2}$/u.test(name)) {
    return name;
  }
  throw badTorrent(`${what} is not a file name in UTF-8`);
}

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function text(value: string): Uint8Array {
  return Buffer.from(value);
}
