import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, lstat, mkdir, open, readdir, readFile, rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { type Clock, withDeadline } from "#core";
import { atLeast, atMost, defineBench, numberFlag, type BenchContext } from "./bench.ts";
import { type FleetOptions, type Place, startLocally, timed } from "./fleet.ts";
import { run } from "./lab/index.ts";
import { command, joinOthers, type Node, startNode } from "./portolan.ts";
import { writeRandomFile } from "./workspace.ts";

const GIB = 2 ** 30;
const MIB = 2 ** 20;
/** The files of the directory, as large models come. */
const SHARDS = 8;
const ARTIFACT = "large:1";
const HASH_READ_BYTES = 4 * MIB;
/** 64 GiB at 100 MiB/s. */
const STEP_MS = 900_000;

const options = z.object({
  gib: numberFlag(2, 0.125, 64, "size of the directory in GiB"),
  copy: z.boolean().default(true).describe("also publish by copying into the store, and say how long that took"),
});

/** A directory of eight large files: published in place, brought to a second daemon that is killed half way, and written out there. */
export const large = defineBench({
  name: "large",
  claim: "a directory of 8 shards: ≤ 250 MiB of memory, published at ≥ 0.8 × sha256, resumed in ≤ 3 s, stored once",
  options,
  missing: async () =>
    process.platform === "linux" ? undefined : "memory and writes are read from /proc, which needs Linux",
  run: async (context, { gib, copy }) => {
    const { clock, directory } = context;
    const source = join(directory, "source");
    const shardBytes = Math.floor((gib * GIB) / SHARDS);
    const sizeBytes = shardBytes * SHARDS;
    await mkdir(source);
    for (let shard = 0; shard < SHARDS; shard++) await writeRandomFile(join(source, `shard-${shard}.bin`), shardBytes);
    context.progress(`made ${gib} GiB in ${SHARDS} shards`);
    const subject = { source, sizeBytes };
    const copied = copy ? await publishing(context, subject, false) : undefined;
    await using stack = new AsyncDisposableStack();
    const nodes = await startPair(context, stack);
    const published = await publishInto(context, nodes.publisher, subject, true);
    await command(clock, nodes.publisher, ["publish", source, "--name", ARTIFACT, "--in-place"], STEP_MS);
    const received = await receive(context, nodes, subject);
    const inPlaceRatio = (await diskBytes(nodes.publisher.data, source)) / sizeBytes;
    const written = received.shared ? "written out by shared blocks" : "written out with --link";
    const publisherMib = await peakMib(nodes.publisher);
    const receiverMib = Math.max(received.killedPeakMib, await peakMib(received.receiver));
    const figures = { publisherMib, receiverMib, inPlaceRatio, ...published, ...received.figures };
    return {
      conditions: { gib, shards: SHARDS, directory },
      setupSeconds: nodes.setupSeconds,
      samples: [figures, ...(copied === undefined ? [] : [{ published: "by copying", ...copied }])],
      bars: [
        atMost("memory of the publisher, MiB at its peak", 250, publisherMib),
        atMost("memory of the receiver, MiB at its peak", 250, receiverMib),
        atLeast("publishing ÷ one pass of sha256", 0.8, published.speedRatio),
        atMost("seconds from kill -9 to transferring again", 3, received.figures.resumeSeconds),
        atMost("disk ÷ content, published in place", 1.02, inPlaceRatio),
        atMost(`disk ÷ content, brought and ${written}`, 1.02, received.figures.writtenRatio),
      ],
    };
  },
});

type Subject = { source: string; sizeBytes: number };
type Pair = {
  publisher: Node;
  receiver: Node;
  restart: () => Promise<Node>;
  setupSeconds: Readonly<Record<string, number>>;
};

const PLACES: readonly [Place, Place] = [
  { address: "127.0.0.1", port: 21_891, site: "site-1" },
  { address: "127.0.0.1", port: 21_892, site: "site-1" },
];

async function startPair({ clock, directory }: BenchContext, stack: AsyncDisposableStack): Promise<Pair> {
  const fleet: FleetOptions = { places: PLACES, file: "", directory: join(directory, "fleet") };
  const deps = { clock, startAt: startLocally(clock) };
  const up = (index: number, flags: readonly string[]): Promise<Node> => startNode(deps, stack, fleet, index, flags);
  const create = await timed(clock, async () => {
    const node = await up(0, []);
    await command(clock, node, ["fleet", "create", "bench", "--demo"]);
    return node;
  });
  const publisher = create.result;
  const joined = await timed(clock, () => joinOthers(clock, publisher, fleet, up));
  const [receiver] = joined.result as [Node];
  return {
    publisher,
    receiver,
    restart: () => up(1, []),
    setupSeconds: { createFleet: create.seconds, join: joined.seconds },
  };
}

/** What publishing takes on a node of its own, which is gone afterwards. */
async function publishing(context: BenchContext, subject: Subject, inPlace: boolean) {
  await using stack = new AsyncDisposableStack();
  const { publisher } = await startPair(context, stack);
  const figures = await publishInto(context, publisher, subject, inPlace);
  const peak = { publisherMib: await peakMib(publisher) };
  await stack.disposeAsync();
  await rm(join(context.directory, "fleet"), { recursive: true });
  return { ...figures, ...peak };
}

/** Reads the directory into a node, between two passes of sha256 over the same files: the faster one counts. */
async function publishInto(
  context: BenchContext,
  { client, process }: Node,
  { source, sizeBytes }: Subject,
  inPlace: boolean,
) {
  const { clock, progress } = context;
  await run(clock, STEP_MS, ["sync"]);
  const first = await timed(clock, () => sha256Pass(source));
  const written = await writtenBytes(process.pid);
  const { seconds } = await timed(clock, () =>
    client.job("publish", { path: source, name: ARTIFACT, inPlace }, () => undefined),
  );
  const writeRatio = ((await writtenBytes(process.pid)) - written) / sizeBytes;
  const second = await timed(clock, () => sha256Pass(source));
  const sha256Seconds = Math.min(first.seconds, second.seconds);
  const speedRatio = sha256Seconds / seconds;
  progress(
    `published ${inPlace ? "in place" : "by copying"} in ${seconds.toFixed(1)} s, ${speedRatio.toFixed(2)} × sha256`,
  );
  return { publishSeconds: seconds, sha256Seconds, speedRatio, publishWriteRatio: writeRatio };
}

/** One pass over all files, reading ahead while it hashes. */
async function sha256Pass(folder: string): Promise<void> {
  const buffers = [Buffer.allocUnsafeSlow(HASH_READ_BYTES), Buffer.allocUnsafeSlow(HASH_READ_BYTES)] as const;
  for (const name of await readdir(folder)) {
    await using file = await open(join(folder, name), "r");
    const hash = createHash("sha256");
    let reading = file.read(buffers[0], 0, HASH_READ_BYTES);
    for (let turn = 1; ; turn++) {
      const { bytesRead, buffer } = await reading;
      if (bytesRead === 0) break;
      reading = file.read(buffers[turn % 2 === 0 ? 0 : 1], 0, HASH_READ_BYTES);
      hash.update(buffer.subarray(0, bytesRead));
    }
    hash.digest();
  }
}

/** Fetches, kills the receiver half way, starts it again, and lets it finish and write out. Seconds are from the kill on: until the process is gone, until it answers again, until bytes come. */
async function receive({ clock, progress }: BenchContext, { receiver, restart }: Pair, { source, sizeBytes }: Subject) {
  await untilListed(clock, receiver);
  const shared = await sharesBlocks(receiver.data);
  const before = await usedBytes(clock, receiver.data);
  const half = Promise.withResolvers<number>();
  const first = receiver.client.job("fetch", { name: ARTIFACT }, ({ bytes }) => {
    if (bytes >= sizeBytes / 2) half.resolve(bytes);
  });
  first.catch(() => undefined); // it is killed
  const bytesAtKill = await withDeadline(clock, STEP_MS, "half of it", () => half.promise);
  const killedPeakMib = await peakMib(receiver);
  const firstWritten = await writtenBytes(receiver.process.pid);
  const killedMs = clock.nowMs();
  receiver.process.signal("SIGKILL");
  await receiver.process.ended;
  const goneSeconds = (clock.nowMs() - killedMs) / 1_000;
  const again = await restart();
  const upSeconds = (clock.nowMs() - killedMs) / 1_000;
  const resumed = Promise.withResolvers<number>();
  const transfer = timed(clock, () =>
    again.client.job("fetch", { name: ARTIFACT }, ({ bytesFromSite }) => {
      if (bytesFromSite > 0) resumed.resolve((clock.nowMs() - killedMs) / 1_000);
    }),
  );
  const resumeSeconds = await withDeadline(clock, STEP_MS, "transferring again", () =>
    Promise.race([resumed.promise, transfer.then(() => Number.NaN)]),
  );
  const { result } = await transfer;
  const wroteBytes = firstWritten + (await writtenBytes(again.process.pid));
  progress(`transferring again after ${resumeSeconds.toFixed(1)} s`);
  const output = `${again.data}.copy`;
  const write = await timed(clock, () =>
    again.client.job("fetch", { name: ARTIFACT, output, link: true }, () => undefined),
  );
  await run(clock, STEP_MS, ["diff", "-r", source, output]);
  const newBytes = (await usedBytes(clock, again.data)) - before;
  const figures = {
    goneSeconds,
    upSeconds,
    resumeSeconds,
    refetchedMib: (bytesAtKill + result.bytesFromSite - sizeBytes) / MIB,
    receiveWriteRatio: wroteBytes / sizeBytes,
    writeOutSeconds: write.seconds,
    writtenRatio: (shared ? newBytes : await diskBytes(again.data, output)) / sizeBytes,
  };
  return { figures, shared, killedPeakMib, receiver: again };
}

async function untilListed(clock: Clock, { client }: Node): Promise<void> {
  await withDeadline(clock, STEP_MS, `waiting for ${ARTIFACT}`, async (signal) => {
    while ((await client.call("artifacts.list", {})).items.length === 0) await clock.sleep(50, signal);
  });
}

/** The most memory that a daemon had, in MiB. */
async function peakMib({ process }: Node): Promise<number> {
  return (await procNumber(`/proc/${process.pid}/status`, "VmHWM")) / 1024;
}

/** Bytes that a process made the disk write so far. */
function writtenBytes(pid: number): Promise<number> {
  return procNumber(`/proc/${pid}/io`, "write_bytes");
}

async function procNumber(path: string, name: string): Promise<number> {
  const line = (await readFile(path, "utf8")).split("\n").find((line) => line.startsWith(`${name}:`));
  return Number(/\d+/u.exec(line ?? "")?.[0]);
}

/** Whether the file system of a folder lets files share blocks, as xfs and btrfs do. */
async function sharesBlocks(folder: string): Promise<boolean> {
  const [probe, twin] = [join(folder, "probe"), join(folder, "twin")];
  try {
    await writeFile(probe, Buffer.alloc(MIB));
    await copyFile(probe, twin, constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    return false;
  } finally {
    for (const path of [probe, twin]) await rm(path, { force: true });
  }
}

/** Bytes that are used on the file system of a folder, which is the measure where files share blocks and nobody else writes. */
async function usedBytes(clock: Clock, folder: string): Promise<number> {
  await run(clock, STEP_MS, ["sync", "-f", folder]);
  const { blocks, bfree, bsize } = await statfs(folder);
  return (blocks - bfree) * bsize;
}

/** Bytes that files take on the disk; one with several names counts once. Blocks that files share count for each of them. */
async function diskBytes(...folders: readonly string[]): Promise<number> {
  const inodes = new Map<number, number>();
  for (const folder of folders) {
    for (const name of await readdir(folder, { recursive: true })) {
      const { ino, blocks } = await lstat(join(folder, name));
      inodes.set(ino, blocks * 512);
    }
  }
  return [...inodes.values()].reduce((sum, bytes) => sum + bytes, 0);
}
