import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import type { ArtifactDetail, SourceView } from "#api";
import { type Clock, Fault, faultCode, withDeadline } from "#core";
import { COMMAND_MS, type DemoNode, type Fleet } from "./fleet.ts";
import { NODE_LABEL } from "./plan.ts";
import type { CopyRecord } from "./result.ts";

/** What one node has of the file, as its own daemon says; `undefined` before it has heard of it. */
export type Progress = { node: string; detail: Pick<ArtifactDetail, "sizeBytes" | "local"> | undefined };

/** A copy and who sent how much of it. */
export type Copy = { record: CopyRecord; sources: readonly SourceView[] };

const ARTIFACT = "demo:1";
/** Between two looks at all nodes. */
const POLL_MS = 200;
/** Publishing hashes and copies: a disk that writes 50 MB/s. */
const PUBLISH_BYTES_PER_MS = 50_000;
/** Commands at once; each starts a Node.js of its own. */
const COMMANDS_AT_ONCE = 3;

/** SHA-256 of a file in hex. */
export async function hashFile(file: string, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file, { highWaterMark: 1024 * 1024 }), hash, { signal });
  return hash.digest("hex");
}

/** Publishes the file on the first node and asks for it on all nodes. */
export async function publishAndStage(fleet: Fleet, file: string, sizeBytes: number): Promise<void> {
  const [first] = fleet.nodes;
  if (first === undefined) throw new RangeError("no node to publish on");
  await fleet.cli(first, ["publish", file, "--name", ARTIFACT], COMMAND_MS + sizeBytes / PUBLISH_BYTES_PER_MS);
  await fleet.cli(first, ["stage", ARTIFACT, "-l", NODE_LABEL]);
}

/**
 * Follows the nodes that live until each has all of the file, calling back at every look. Throws Fault `core.deadline` after `ms`,
 * `demo.transfer` when a node says that it failed.
 */
export async function untilComplete(
  clock: Clock,
  living: () => readonly DemoNode[],
  ms: number,
  onProgress: (progress: readonly Progress[]) => void,
  signal: AbortSignal,
): Promise<void> {
  await withDeadline(
    clock,
    ms,
    "bringing the file to all nodes",
    (inner) => poll(clock, living, onProgress, inner),
    signal,
  );
}

async function poll(
  clock: Clock,
  living: () => readonly DemoNode[],
  onProgress: (progress: readonly Progress[]) => void,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const progress = await Promise.all(
      living().map(async (node) => ({ node: node.plan.serial, detail: await look(node, living, signal) })),
    );
    onProgress(progress);
    for (const { node, detail } of progress) {
      if (detail?.local.state !== "failed") continue;
      throw new Fault("demo.transfer", `${node} gave up: ${detail.local.reason ?? "no reason given"}`);
    }
    if (progress.every(({ detail }) => detail?.local.state === "complete")) return;
    await clock.sleep(POLL_MS, signal);
  }
}

/** `undefined` until the node has heard of the file, and when it has been killed meanwhile. */
async function look(
  node: DemoNode,
  living: () => readonly DemoNode[],
  signal: AbortSignal,
): Promise<ArtifactDetail | undefined> {
  try {
    return await node.client.call("artifacts.get", { name: ARTIFACT }, { signal });
  } catch (error) {
    if (error instanceof Fault && error.exit === "missing") return undefined;
    if (!living().includes(node)) return undefined;
    throw faultCode(error) === "api.daemon-down"
      ? new Fault("demo.daemon-ended", `the daemon of ${node.plan.serial} has ended`, { cause: error })
      : error;
  }
}

/** Writes the file out on each node but the publisher's and hashes what was written. */
export async function writeCopies(
  fleet: Fleet,
  folder: string,
  fileName: string,
  signal: AbortSignal,
): Promise<Copy[]> {
  const nodes = fleet.nodes.slice(1);
  const copies = new Map<DemoNode, Copy>();
  const left = [...nodes];
  const work = async (): Promise<void> => {
    for (let node = left.shift(); node !== undefined; node = left.shift()) {
      copies.set(node, await writeCopy(fleet, node, path.join(folder, node.plan.serial, fileName), signal));
    }
  };
  await Promise.all(Array.from({ length: COMMANDS_AT_ONCE }, work));
  return nodes.flatMap((node) => copies.get(node) ?? []);
}

async function writeCopy(fleet: Fleet, node: DemoNode, file: string, signal: AbortSignal): Promise<Copy> {
  await mkdir(path.dirname(file), { recursive: true });
  await fleet.cli(node, ["fetch", ARTIFACT, "-o", file]);
  const { local, sources } = await node.client.call("artifacts.get", { name: ARTIFACT }, { signal });
  const record: CopyRecord = {
    node: node.plan.serial,
    site: node.plan.site.name,
    pid: node.child.pid,
    path: file,
    sha256: await hashFile(file, signal),
    startedAt: local.startedAt ?? null,
    finishedAt: local.finishedAt ?? null,
    bytesFromSite: local.bytesFromSite,
    bytesFromWan: local.bytesFromWan,
  };
  return { record, sources: sources.map((source) => ({ ...source, node: fleet.serialOf(source.node) })) };
}
