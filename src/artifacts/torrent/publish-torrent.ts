import { createReadStream } from "node:fs";
import { open, rm } from "node:fs/promises";
import { Fault } from "#core";
import { type ArtifactContent, directoryContent, fileContent } from "../artifact-content.ts";
import { storeListing } from "../publish.ts";
import { diskFault } from "../store/disk-fault.ts";
import { openRegular } from "../store/regular-file.ts";
import type { Store } from "../store/store.ts";
import { badTorrent } from "./bencode.ts";
import { type ListenAddress, MAX_PEERS, maxPeersFor, type TorrentJob } from "./child-contract.ts";
import { isMagnet, isPeer, type Magnet, MAX_NAMED_PEERS, parseMagnet } from "./magnet.ts";
import { listingOf, MAX_METAINFO_BYTES, type Metainfo, modeOf, parseMetainfo } from "./metainfo.ts";
import { PieceHash } from "./piece-hash.ts";
import { runTorrentChild } from "./torrent-child.ts";

/** Nobody outside reaches it: who only fetches need not listen. */
const NOWHERE: ListenAddress = { host: "127.0.0.1", port: 0 };
const READ_BYTES = 1024 * 1024;
const DEFAULT_MEDIA_TYPE = "application/octet-stream";

export type TorrentProgress = {
  phase: "looking" | "fetching" | "checking";
  bytes: number;
  sizeBytes: number;
  peers: number;
};

export type TorrentOptions = {
  /** Peers to go to at once, as `host:port`; further ones are found by the torrent's own trackers only. */
  peers?: readonly string[];
  uploadBps?: number | undefined;
  downloadBps?: number | undefined;
  signal: AbortSignal;
};

/**
 * Fetches a torrent, named by the path of a .torrent file or by a magnet link, from BitTorrent peers into the store, and returns the
 * spec of its Artifact document. Every piece is checked against the torrent twice, by webtorrent and again here; what is on its
 * way is lost when the node stops.
 *
 * Throws Fault `artifacts.torrent`, `artifacts.magnet`, `artifacts.listing` (exit `invalid`), `artifacts.no-peers`, `artifacts.no-room`
 * before anything is fetched, `artifacts.torrent-stalled`, `artifacts.torrent-failed`, `artifacts.torrent-damaged`, and what opening the file throws.
 */
export async function publishTorrent(
  store: Store,
  source: string,
  options: TorrentOptions & { mediaType?: string; onProgress?: (progress: TorrentProgress) => void },
): Promise<ArtifactContent> {
  const { signal, mediaType = DEFAULT_MEDIA_TYPE, onProgress = () => undefined } = options;
  const { metainfo, peers } = await resolve(source, options, onProgress);
  using aside = await store.asides.make(metainfo.sizeBytes, `torrent "${metainfo.name}"`);
  try {
    await reserve(aside.path, metainfo.sizeBytes);
    await download(metainfo, aside.path, { ...options, peers }, onProgress);
    await check(metainfo, aside.path, signal, onProgress);
    const blob = await store.importAside(aside.path, signal);
    const [file] = metainfo.files;
    if (metainfo.single && file !== undefined) return fileContent(blob, file.path, modeOf(file.executable), mediaType);
    const listing = listingOf(metainfo, blob.root);
    const { content, inline } = directoryContent(listing, mediaType);
    if (!inline) await storeListing(store, listing, signal);
    return content;
  } catch (error) {
    await rm(aside.path, { force: true });
    throw await diskFault(error, store.dir, metainfo.sizeBytes, `torrent "${metainfo.name}"`);
  }
}

/** The torrent itself, and whom to ask for its content first. */
async function resolve(
  source: string,
  options: TorrentOptions,
  onProgress: (progress: TorrentProgress) => void,
): Promise<{ metainfo: Metainfo; peers: readonly string[] }> {
  const peers = checkPeers(options.peers ?? []);
  if (!isMagnet(source)) {
    const metainfo = parseMetainfo(await readBounded(source));
    if (metainfo.trackers.length + peers.length === 0) throw noPeers();
    return { metainfo, peers };
  }
  const magnet = parseMagnet(source);
  const all = [...peers, ...magnet.peers];
  if (magnet.trackers.length + all.length === 0) throw noPeers();
  return { metainfo: await fetchMetainfo(magnet, { ...options, peers: all }, onProgress), peers: all };
}

async function fetchMetainfo(
  magnet: Magnet,
  options: TorrentOptions,
  onProgress: (progress: TorrentProgress) => void,
): Promise<Metainfo> {
  let metainfo: Metainfo | undefined;
  await runTorrentChild(
    { do: "metadata", magnet: magnet.text, maxPeers: MAX_PEERS, ...jobOf(options) },
    {
      signal: options.signal,
      onReport: (report) => {
        if (report.say === "progress") onProgress({ phase: "looking", bytes: 0, sizeBytes: 0, peers: report.peers });
        if (report.say === "metadata") metainfo = parseMetainfo(report.torrent, magnet.trackers);
        return metainfo !== undefined;
      },
    },
  );
  if (metainfo?.infoHash === magnet.infoHash) return metainfo;
  throw badTorrent("what peers sent is not what the link names");
}

async function download(
  { bytes: torrent, sizeBytes, pieceBytes }: Metainfo,
  path: string,
  options: TorrentOptions,
  onProgress: (progress: TorrentProgress) => void,
): Promise<void> {
  const segments = [{ path, offset: 0, sizeBytes }];
  await runTorrentChild(
    { do: "download", torrent, segments, maxPeers: maxPeersFor(pieceBytes), ...jobOf(options) },
    {
      signal: options.signal,
      onReport: (report) => {
        if (report.say === "progress")
          onProgress({ phase: "fetching", bytes: report.bytes, sizeBytes, peers: report.peers });
        return report.say === "done";
      },
    },
  );
}

function jobOf({
  peers = [],
  uploadBps,
  downloadBps,
}: TorrentOptions): Pick<TorrentJob, "listen" | "peers" | "uploadBps" | "downloadBps"> {
  return { listen: NOWHERE, peers, uploadBps, downloadBps };
}

/** The process that dealt with strangers is not taken at its word. */
async function check(
  { pieceBytes, hashes, sizeBytes, name }: Metainfo,
  path: string,
  signal: AbortSignal,
  onProgress: (progress: TorrentProgress) => void,
): Promise<void> {
  const pieces = new PieceHash(pieceBytes);
  let bytes = 0;
  for await (const part of createReadStream(path, { highWaterMark: READ_BYTES, signal })) {
    pieces.update(part as Buffer);
    bytes += (part as Buffer).length;
    onProgress({ phase: "checking", bytes, sizeBytes, peers: 0 });
  }
  if (bytes === sizeBytes && Buffer.compare(pieces.digest(), hashes) === 0) return;
  throw new Fault("artifacts.torrent-damaged", `what arrived of torrent "${name}" is not its content`, {
    fix: "Try again, and check the disk.",
  });
}

/** A sparse file of the final size: pieces land where they belong. */
async function reserve(path: string, sizeBytes: number): Promise<void> {
  await using file = await open(path, "wx", 0o600);
  await file.truncate(sizeBytes);
}

async function readBounded(path: string): Promise<Uint8Array> {
  await using file = await openRegular(path);
  const { size } = await file.stat();
  if (size > MAX_METAINFO_BYTES) throw badTorrent(`${path} has ${size} bytes`);
  return file.readFile();
}

function checkPeers(peers: readonly string[]): readonly string[] {
  const wrong = peers.find((peer) => !isPeer(peer));
  if (wrong === undefined && peers.length <= MAX_NAMED_PEERS) return peers;
  const what = wrong === undefined ? `${peers.length} are more than ${MAX_NAMED_PEERS}` : `"${wrong}" is none`;
  throw new Fault("artifacts.peer", `BitTorrent peers are an IP address and a port: ${what}`, {
    exit: "invalid",
    fix: "Write 192.0.2.7:6881 or [2001:db8::7]:6881.",
  });
}

function noPeers(): Fault {
  return new Fault("artifacts.no-peers", "the torrent names no tracker and no peer, so nobody can be asked for it", {
    exit: "invalid",
    fix: "Name a BitTorrent client that has it: --peer 192.0.2.7:6881.",
  });
}
