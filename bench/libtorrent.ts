import { mkdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import type { Clock } from "#core";
import { type Child, run } from "./lab/index.ts";
import { type FleetOptions, type Place, type StartFleet, timed } from "./fleet.ts";

/** Debian's interpreter: python3-libtorrent installs for it, whatever else is first on the PATH. */
const PYTHON = "/usr/bin/python3";
const SCRIPT = join(import.meta.dirname, "peers", "libtorrent_peer.py");
/** Hashing 1 GiB takes about 2 s, to make the torrent and again before the seed is ready. */
const HASHING_MS = 120_000;
const SYNC_MS = 120_000;
const REPLY_MS = 10_000;

const Ready = z.object({ version: z.string(), seeding: z.boolean() });

/** Why libtorrent cannot be the baseline here; `undefined` when it can. */
export async function libtorrentMissing(clock: Clock): Promise<string | undefined> {
  try {
    await run(clock, REPLY_MS, [PYTHON, "-c", "import libtorrent"]);
    return undefined;
  } catch {
    return "libtorrent's Python binding is missing: apt-get install python3-libtorrent";
  }
}

/** Writes the torrent of the file and returns its path. */
export async function makeTorrent(clock: Clock, { directory, file }: FleetOptions): Promise<string> {
  const torrent = join(directory, "file.torrent");
  await mkdir(directory, { recursive: true });
  await run(clock, HASHING_MS, [PYTHON, SCRIPT, "make", file, torrent]);
  return torrent;
}

/** libtorrent over TCP, unencrypted; every peer knows every other, as from a tracker. */
export const startLibtorrent: StartFleet = async ({ clock, startAt }, options) => {
  await using stack = new AsyncDisposableStack();
  const make = await timed(clock, () => makeTorrent(clock, options));
  const torrent = make.result;
  const directories = options.places.map((_, i) => directoryOf(options, i));
  await Promise.all(directories.map((directory) => mkdir(directory, { recursive: true })));
  const start = await timed(clock, () =>
    Promise.all(
      options.places.map(async (place, i) => {
        const { address, port } = place;
        const argv = [PYTHON, SCRIPT, "run", torrent, directoryOf(options, i), address, String(port)];
        const child = stack.use(startAt(place, argv));
        Ready.parse(JSON.parse(await child.line("libtorrent ready", HASHING_MS, isEvent("ready"))));
        return child;
      }),
    ),
  );
  const processes = start.result;
  introduce(processes, options.places);
  const running = stack.move();
  return {
    setupSeconds: { makeTorrent: make.seconds, start: start.seconds },
    processes,
    distribute: async (deadlineMs) => {
      const startMs = clock.nowMs();
      for (const process of processes) process.send("start");
      const receivers = processes.slice(1).map(async (process) => {
        await process.line("libtorrent complete", deadlineMs, isEvent("complete"));
        const verifiedSeconds = (clock.nowMs() - startMs) / 1000;
        await process.line("libtorrent durable", SYNC_MS, isEvent("durable"));
        return { verifiedSeconds, durableSeconds: (clock.nowMs() - startMs) / 1000 };
      });
      return await Promise.all(receivers);
    },
    copies: async () => directories.slice(1).map((directory) => join(directory, basename(options.file))),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

const directoryOf = ({ file, directory }: FleetOptions, index: number): string =>
  index === 0 ? dirname(file) : join(directory, `peer-${index}`);

/** Tells each peer of all those before it. */
function introduce(processes: readonly Child[], places: readonly Place[]): void {
  for (const [i, process] of processes.entries()) {
    for (const { address, outside = address, port, site } of places.slice(0, i)) {
      process.send(`connect ${site === places[i]?.site ? address : outside} ${port}`);
    }
  }
}

const isEvent =
  (event: string) =>
  (line: string): boolean =>
    line.startsWith(`{"event": "${event}"`);
