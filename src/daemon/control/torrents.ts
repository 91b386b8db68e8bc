import { writeFile } from "node:fs/promises";
import { type ExportedTorrent, exportTorrent, type ListenAddress, publishTorrent, seedTorrent } from "#artifacts";
import type { ExportTorrentProgress, Handlers } from "#api";
import { Fault } from "#core";
import type { ArtifactKeeper } from "../artifact-keeper.ts";
import type { OpenNode } from "../node.ts";
import { makeDraft } from "./documents.ts";

type Limits = { uploadBps?: number | undefined; downloadBps?: number | undefined };

/** In from and out to BitTorrent clients that know nothing of the fleet. */
export function torrentHandlers(
  node: OpenNode,
  keeper: ArtifactKeeper,
  limits: () => Limits,
): Pick<Handlers, "publishTorrent" | "exportTorrent"> {
  const { state } = node;
  return {
    publishTorrent: async ({ source, peers, name, tenant, labels, mediaType }, { signal, progress }) => {
      const spec = await publishTorrent(keeper.store, source, {
        peers,
        ...limits(),
        signal,
        onProgress: progress,
        ...(mediaType === undefined ? {} : { mediaType }),
      });
      const draft = makeDraft(state, "Artifact", { name, labels, spec, ...(tenant === undefined ? {} : { tenant }) });
      return { draft, root: spec.root, sizeBytes: spec.sizeBytes, files: spec.files };
    },
    exportTorrent: ({ name, output, force, trackers, seed }, { signal, progress }) =>
      keeper.using(name, async () => {
        const torrent = await make(node, keeper, { name, trackers, signal, progress });
        await writeTorrent(output, torrent.metainfo.bytes, force);
        const how = seed === undefined ? "" : `, served to BitTorrent clients at ${seed.host} port ${seed.port}`;
        state.events.record({
          type: "artifact.exported",
          subject: name,
          outcome: "ok",
          message: `as torrent ${torrent.metainfo.infoHash}${how}`,
        });
        if (seed !== undefined) await serve(torrent, seed, limits(), { signal, progress });
        return { infoHash: torrent.metainfo.infoHash, magnet: torrent.magnet, output };
      }),
  };
}

type Context = { signal: AbortSignal; progress: (event: ExportTorrentProgress) => void };

/** Brings the artifact here if it is not, and makes its torrent. */
async function make(
  { state }: OpenNode,
  keeper: ArtifactKeeper,
  { name, trackers, signal, progress }: Context & { name: string; trackers: readonly string[] },
): Promise<ExportedTorrent> {
  await keeper.bring(name, {
    signal,
    onProgress: ({ bytes, sizeBytes }) => progress({ phase: "bringing", bytes, sizeBytes }),
  });
  const spec = state.store.get("Artifact", name)?.body.spec;
  if (spec === undefined) throw new Fault("daemon.no-artifact", `artifact "${name}" was deleted`, { exit: "missing" });
  let hashed = 0;
  const onBytes = (bytes: number): void => {
    hashed += bytes;
    progress({ phase: "hashing", bytes: hashed, sizeBytes: spec.sizeBytes });
  };
  return exportTorrent(keeper.store, spec, { name, trackers, signal, onBytes });
}

/** Until the caller has enough of it. */
async function serve(
  torrent: ExportedTorrent,
  listen: ListenAddress,
  { uploadBps }: Limits,
  { signal, progress }: Context,
): Promise<void> {
  const { metainfo, magnet } = torrent;
  await seedTorrent(torrent, {
    listen,
    uploadBps,
    signal,
    onProgress: ({ uploadedBytes, peers, port }) =>
      progress({ phase: "seeding", bytes: uploadedBytes, sizeBytes: metainfo.sizeBytes, peers, port, magnet }),
  });
}

async function writeTorrent(output: string, bytes: Uint8Array, force: boolean): Promise<void> {
  try {
    await writeFile(output, bytes, { flag: force ? "w" : "wx" });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "EEXIST") {
      throw new Fault("artifacts.exists", `${output} exists`, {
        exit: "conflict",
        fix: "Choose another path, or replace it with --force.",
      });
    }
    if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
    throw new Fault("artifacts.no-folder", `there is no folder for ${output}`, {
      exit: "missing",
      fix: "Make the folder first.",
    });
  }
}
