import { isIP } from "node:net";
import { Fault } from "#core";
import { isTracker } from "./metainfo.ts";

/** Longest magnet link; one with 16 trackers has about 2 KiB. */
const MAX_MAGNET_CHARS = 16 * 1024;
const MAX_TRACKERS = 16;
/** Peers that a link or a person may name. */
export const MAX_NAMED_PEERS = 32;

/** What a magnet link says (BEP 9). Where else it says that the metadata is to be had, such as by HTTP, is not asked. */
export type Magnet = {
  /** Hex SHA-1 of the info dictionary. */
  infoHash: string;
  trackers: readonly string[];
  /** As `host:port`. */
  peers: readonly string[];
  /** The link again, with nothing else in it. */
  text: string;
};

export function isMagnet(text: string): boolean {
  return text.startsWith("magnet:");
}

/** Throws Fault `artifacts.magnet` (exit `invalid`). */
export function parseMagnet(text: string): Magnet {
  if (text.length > MAX_MAGNET_CHARS || !text.startsWith("magnet:?")) throw badMagnet();
  const fields = new URLSearchParams(text.slice("magnet:?".length));
  const topics = fields.getAll("xt").map((topic) => /^urn:btih:(?<hash>[0-9A-Za-z]+)$/u.exec(topic)?.groups?.["hash"]);
  const infoHash = topics.map((topic) => toHex(topic ?? "")).find((hash) => hash !== undefined);
  if (infoHash === undefined) throw badMagnet();
  const trackers = [...new Set(fields.getAll("tr").filter(isTracker))].slice(0, MAX_TRACKERS);
  const peers = fields.getAll("x.pe").filter(isPeer).slice(0, MAX_NAMED_PEERS);
  return { infoHash, trackers, peers, text: makeMagnet(infoHash, trackers) };
}

/** A link to a torrent. */
export function makeMagnet(infoHash: string, trackers: readonly string[]): string {
  return [`magnet:?xt=urn:btih:${infoHash}`, ...trackers.map((url) => `tr=${encodeURIComponent(url)}`)].join("&");
}

/** Whether this is an IP address and a port, as in `192.0.2.7:6881` or `[2001:db8::7]:6881`. */
export function isPeer(text: string): boolean {
  const match = /^(?:\[(?<v6>[^\]]+)\]|(?<v4>[^:]+)):(?<port>\d{1,5})$/u.exec(text)?.groups;
  if (match === undefined) return false;
  const port = Number(match["port"]);
  return port > 0 && port < 65_536 && (isIP(match["v4"] ?? "") === 4 || isIP(match["v6"] ?? "") === 6);
}

/** 40 hex digits, or 32 of base32. */
function toHex(hash: string): string | undefined {
  if (/^[0-9a-f]{40}$/iu.test(hash)) return hash.toLowerCase();
  if (!/^[a-z2-7]{32}$/iu.test(hash)) return undefined;
  let bits = 0n;
  for (const letter of hash.toLowerCase())
    bits = bits * 32n + BigInt("abcdefghijklmnopqrstuvwxyz234567".indexOf(letter));
  return bits.toString(16).padStart(40, "0");
}

function badMagnet(): Fault {
  return new Fault("artifacts.magnet", "this is no magnet link to a torrent of BitTorrent version 1", {
    exit: "invalid",
    fix: "A link looks like magnet:?xt=urn:btih: and 40 hex digits; quote it, because of its &.",
  });
}
