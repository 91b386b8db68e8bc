import { z } from "zod";
import type { Segment } from "./segment-store.ts";

/** Where to listen for BitTorrent peers. */
export type ListenAddress = { host: string; port: number };

/** Connections of one transfer. */
export const MAX_PEERS = 50;
/** Each connection may have a piece in memory that is not whole yet. */
const MAX_UNFINISHED_BYTES = 512 * 1024 * 1024;

/** Connections that a torrent with pieces of this size may have. */
export function maxPeersFor(pieceBytes: number): number {
  return Math.min(MAX_PEERS, Math.floor(MAX_UNFINISHED_BYTES / pieceBytes));
}

/** What a child process is for. It gets one job, right after its start. */
export type TorrentJob = {
  listen: ListenAddress;
  /** As `host:port`: peers to go to at once. */
  peers: readonly string[];
  /** Connections at a time. */
  maxPeers: number;
  uploadBps: number | undefined;
  downloadBps: number | undefined;
} & (
  | { do: "metadata"; magnet: string }
  | { do: "download" | "seed"; torrent: Uint8Array; segments: readonly Segment[] }
);

const count = z.number().min(0);

/** What a child says. It deals with strangers, so its words are checked like a stranger's. */
export const TorrentReport = z.discriminatedUnion("say", [
  z.strictObject({ say: z.literal("listening"), port: z.int().min(1).max(65_535) }),
  z.strictObject({ say: z.literal("metadata"), torrent: z.instanceof(Uint8Array) }),
  z.strictObject({ say: z.literal("progress"), bytes: count, uploadedBytes: count, peers: count }),
  z.strictObject({ say: z.literal("done") }),
  z.strictObject({ say: z.literal("failed"), reason: z.string(), stalled: z.boolean() }),
]);
export type TorrentReport = z.infer<typeof TorrentReport>;
