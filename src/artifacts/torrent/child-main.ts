import WebTorrent, { type Torrent } from "webtorrent";
import { errorMessage, SystemClock } from "#core";
import type { TorrentJob, TorrentReport } from "./child-contract.ts";
import { SegmentStore } from "./segment-store.ts";

/*
 * A process of its own for one torrent: what strangers send can end it, but not the daemon, and its code and memory are there
 * only while they are needed.
 */

/** How often it says how far it is. */
const REPORT_MS = 250;
/** Without a byte for so long there is nobody to get the rest from. */
const STALL_MS = 10 * 60_000;
/** Pieces kept in memory after they were read or written: at most 128 MiB. */
const CACHED_PIECES = 4;

const clock = new SystemClock();

function report(message: TorrentReport, then: () => void = () => undefined): void {
  process.send?.(message, undefined, undefined, then);
}

function fail(error: unknown): void {
  report({ say: "failed", reason: errorMessage(error).slice(0, 500), stalled: false }, () => process.exit(1));
}

function createClient(job: TorrentJob): WebTorrent {
  const { listen, maxPeers, uploadBps = -1, downloadBps = -1 } = job;
  const client = new WebTorrent({
    torrentPort: listen,
    // peers come from the torrent's trackers and from people, and from nowhere else
    dht: false,
    lsd: false,
    utPex: false,
    utp: false,
    natUpnp: false,
    natPmp: false,
    webSeeds: false,
    // Obfuscation: whoever is called must take both, and who calls is taken by all in plain, but not always obfuscated.
    secure: job.do === "seed" ? 1 : 0,
    maxConns: maxPeers,
    uploadLimit: uploadBps,
    downloadLimit: downloadBps,
  });
  client.on("error", fail);
  client.on("listening", () => report({ say: "listening", port: client.address()?.port ?? listen.port }));
  return client;
}

function addTorrent(client: WebTorrent, job: TorrentJob): Torrent {
  if (job.do === "metadata") {
    const torrent = client.add(job.magnet, { store: SegmentStore, storeOpts: { segments: [] }, deselect: true });
    torrent.once("metadata", () => report({ say: "metadata", torrent: Uint8Array.from(torrent.torrentFile) }));
    return torrent;
  }
  const { torrent: metainfo, segments } = job;
  const torrent = client.add(metainfo, {
    store: SegmentStore,
    storeOpts: { segments },
    storeCacheSlots: CACHED_PIECES,
    skipVerify: job.do === "seed", // hashed a moment ago, to make the torrent
  });
  if (job.do === "download") torrent.once("done", () => report({ say: "done" }));
  return torrent;
}

async function watch(torrent: Torrent, isSeed: boolean): Promise<void> {
  let bytes = 0;
  let movedMs = clock.nowMs();
  for (;;) {
    await clock.sleep(REPORT_MS);
    const { downloaded, uploaded: uploadedBytes, numPeers: peers } = torrent;
    if (isSeed || downloaded !== bytes) movedMs = clock.nowMs();
    bytes = downloaded;
    report({ say: "progress", bytes, uploadedBytes, peers });
    if (clock.nowMs() - movedMs > STALL_MS) {
      report({ say: "failed", reason: "no peer sends anything", stalled: true }, () => process.exit(1));
    }
  }
}

process.once("disconnect", () => process.exit()); // the daemon is gone
process.once("uncaughtException", fail);
process.once("unhandledRejection", fail);
process.once("message", (job: TorrentJob) => {
  const client = createClient(job);
  const torrent = addTorrent(client, job);
  torrent.on("infoHash", () => {
    for (const peer of job.peers) torrent.addPeer(peer);
  });
  torrent.on("error", fail);
  watch(torrent, job.do === "seed").catch(fail);
});
