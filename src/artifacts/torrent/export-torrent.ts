import { type ArtifactContent, planContent } from "../artifact-content.ts";
import { blobAt } from "../materialise.ts";
import { listingOf } from "../bring.ts";
import type { BlobFile } from "../store/blob-file.ts";
import type { Store } from "../store/store.ts";
import { type ListenAddress, maxPeersFor } from "./child-contract.ts";
import { makeMagnet } from "./magnet.ts";
import { makeMetainfo, type Metainfo, type TorrentFile } from "./metainfo.ts";
import { PieceHash } from "./piece-hash.ts";
import type { Segment } from "./segment-store.ts";
import { runTorrentChild } from "./torrent-child.ts";

/** Pieces are from 256 KiB to 16 MiB, and about this many, so that a .torrent file stays under 100 KiB for all but the largest. */
const PIECES = 4_096;
const MIN_PIECE_BYTES = 256 * 1024;
const MAX_PIECE_BYTES = 16 * 1024 * 1024;

/** A torrent of an artifact, and where its content is. */
export type ExportedTorrent = { metainfo: Metainfo; magnet: string; segments: readonly Segment[] };

export type ExportOptions = {
  /** Of the artifact; names the folder that a directory becomes. */
  name: string;
  trackers: readonly string[];
  signal: AbortSignal;
  onBytes: (bytes: number) => void;
};

type Range = { blob: BlobFile; offset: number; sizeBytes: number };

/**
 * Makes a torrent of an artifact that is in the store. The same content gives the same torrent on every node. Links and empty folders,
 * which BitTorrent does not know, are left out. Throws Fault `artifacts.not-here`, `artifacts.damaged`, `artifacts.source-changed`,
 * and `artifacts.torrent` (exit `invalid`) when no torrent can be made of it.
 */
export async function exportTorrent(
  store: Store,
  spec: ArtifactContent,
  { name, trackers, signal, onBytes }: ExportOptions,
): Promise<ExportedTorrent> {
  const { files, ranges, single } = await contentOf(store, spec);
  const pieceBytes = pieceBytesFor(spec.sizeBytes);
  const pieces = new PieceHash(pieceBytes);
  for (const range of ranges) {
    for await (const bytes of read(range)) {
      signal.throwIfAborted();
      pieces.update(bytes);
      onBytes(bytes.length);
    }
  }
  const title = single ? (files[0]?.path ?? "") : name.replaceAll(":", "-");
  const metainfo = makeMetainfo({ name: title, single, pieceBytes, hashes: pieces.digest(), files }, trackers);
  const segments = ranges.map(({ blob, offset, sizeBytes }) => ({ path: blob.path, offset, sizeBytes }));
  return { metainfo, magnet: makeMagnet(metainfo.infoHash, metainfo.trackers), segments };
}

export type SeedOptions = {
  listen: ListenAddress;
  uploadBps?: number | undefined;
  signal: AbortSignal;
  onProgress: (progress: { uploadedBytes: number; peers: number; port: number }) => void;
};

/** Serves a torrent to BitTorrent clients until `signal` fires; then rejects with its reason. */
export async function seedTorrent({ metainfo, segments }: ExportedTorrent, options: SeedOptions): Promise<never> {
  const { listen, uploadBps, signal, onProgress } = options;
  let { port } = listen;
  const maxPeers = maxPeersFor(metainfo.pieceBytes);
  await runTorrentChild(
    { do: "seed", torrent: metainfo.bytes, segments, listen, peers: [], maxPeers, uploadBps, downloadBps: undefined },
    {
      signal,
      onReport: (report) => {
        if (report.say === "listening") port = report.port;
        if (report.say === "progress" && port !== 0) {
          onProgress({ uploadedBytes: report.uploadedBytes, peers: report.peers, port });
        }
        return false;
      },
    },
  );
  throw signal.reason;
}

/** The files of an artifact in their order, and the ranges of blobs that they are, those that touch joined. */
async function contentOf(
  store: Store,
  spec: ArtifactContent,
): Promise<{ files: TorrentFile[]; ranges: Range[]; single: boolean }> {
  const plan = planContent(spec);
  if (plan.type === "file") {
    const blob = await blobAt(store, plan.blob.root);
    const { sizeBytes } = plan.blob;
    const file = { path: plan.name, sizeBytes, offset: 0, executable: isExecutable(plan.mode) };
    return { files: [file], ranges: [{ blob, offset: 0, sizeBytes }], single: true };
  }
  const listing = await listingOf(store, plan);
  const files: TorrentFile[] = [];
  const ranges: Range[] = [];
  let position = 0;
  for (const entry of listing.entries) {
    if (!("blob" in entry)) continue;
    const { path, mode, sizeBytes, offset } = entry;
    files.push({ path, sizeBytes, offset: position, executable: isExecutable(mode) });
    position += sizeBytes;
    const last = ranges.at(-1);
    const blob = await blobAt(store, listing.blobs[entry.blob]?.root ?? "");
    if (last?.blob === blob && last.offset + last.sizeBytes === offset) last.sizeBytes += sizeBytes;
    else if (sizeBytes > 0) ranges.push({ blob, offset, sizeBytes });
  }
  return { files, ranges, single: false };
}

async function* read({ blob, offset, sizeBytes }: Range): AsyncGenerator<Uint8Array> {
  const { chunkBytes } = blob.geometry;
  for (let at = offset; at < offset + sizeBytes; ) {
    const chunk = Math.floor(at / chunkBytes);
    const bytes = (await blob.read(chunk)).subarray(at - chunk * chunkBytes, offset + sizeBytes - chunk * chunkBytes);
    yield bytes;
    at += bytes.length;
  }
}

function isExecutable(mode: number): boolean {
  return (mode & 0o111) !== 0;
}

function pieceBytesFor(sizeBytes: number): number {
  const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, sizeBytes / PIECES)));
  return Math.min(MAX_PIECE_BYTES, Math.max(MIN_PIECE_BYTES, wanted));
}
