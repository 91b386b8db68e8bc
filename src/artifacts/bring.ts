import { Fault } from "#core";
import type { NodeId } from "#identity";
import { type ArtifactContent, type ContentPlan, planContent } from "./artifact-content.ts";
import type { BlobRef } from "./chunk-map.ts";
import { type Listing, MAX_LISTING_BYTES, refOf } from "./listing.ts";
import { decodeListing } from "./listing-reader.ts";
import type { Progress } from "./participation.ts";
import type { Precedence } from "./precedence.ts";
import type { Store } from "./store/store.ts";
import type { SwarmService } from "./swarm-service.ts";

/** Blobs of one artifact on their way at once. Of large ones the next, so that the end of one does not leave the link idle: each may hold 32 MiB. */
const LARGE_AT_ONCE = 2;
/** Of small ones more, because it is round trips that they wait for. */
const SMALL_AT_ONCE = 6;
const LARGE_BYTES = 4 * 1024 ** 2;

export type BringOptions = {
  signal: AbortSignal;
  /** Whether somebody waits for it, which may change on the way. Default: somebody does. */
  precedence?: Precedence;
  /** Nodes that are said to have or be getting it; asked for again and again. */
  holders?: () => Iterable<NodeId>;
  /** Called about every 100 ms, and once at the end; over all blobs of the artifact. */
  onProgress?: (progress: Progress) => void;
};

/**
 * Brings everything that an artifact consists of into the store. What is there already is not fetched.
 *
 * Rejects with the signal's reason, Fault `artifacts.content` or `artifacts.listing` (what was signed cannot be read),
 * `artifacts.no-room` before anything is fetched if it does not fit, and as `SwarmService.fetch` does.
 */
export async function bringContent(
  swarm: SwarmService,
  store: Store,
  spec: ArtifactContent,
  { signal, precedence, holders: told = () => [], onProgress }: BringOptions,
): Promise<Progress> {
  const plan = planContent(spec);
  const listed = new Set<NodeId>(); // they have the listing, and so the rest
  const holders = (): NodeId[] => [...new Set([...told(), ...listed])];
  if (plan.type === "listed") {
    if (plan.listing.sizeBytes > MAX_LISTING_BYTES) throw tooLarge(plan.listing.sizeBytes);
    const { sources } = await swarm.fetch(plan.listing, { signal, precedence, holders });
    for (const peer of sources.keys()) listed.add(peer);
  }
  const blobs = await blobsOf(store, plan);
  return store.space.withRoom(blobs, "the artifact", () =>
    bringBlobs(swarm, blobs, spec.sizeBytes, { signal, precedence, holders, onProgress }),
  );
}

async function bringBlobs(
  swarm: SwarmService,
  blobs: readonly BlobRef[],
  sizeBytes: number,
  { signal, precedence, holders, onProgress }: { [N in keyof Required<BringOptions>]: BringOptions[N] },
): Promise<Progress> {
  const total: Progress = { bytes: 0, sizeBytes, fromSite: 0, fromWan: 0, sources: new Map() };
  const running = new Map<string, Progress>();
  const report = (): void => onProgress?.(sum(total, running.values()));
  const isLarge = ({ sizeBytes }: BlobRef): boolean => sizeBytes >= LARGE_BYTES;
  const lanes = [
    { blobs: blobs.filter(isLarge), atOnce: LARGE_AT_ONCE },
    { blobs: blobs.filter((blob) => !isLarge(blob)), atOnce: SMALL_AT_ONCE },
  ];
  await inParallel(lanes, signal, async (blob, stop) => {
    const onBlob = (progress: Progress): void => {
      running.set(blob.root, progress);
      report();
    };
    running.set(blob.root, await swarm.fetch(blob, { signal: stop, precedence, holders, onProgress: onBlob }));
  });
  report();
  return sum(total, running.values());
}

/** Whether the store has all that the artifact consists of. */
export async function hasContent(store: Store, spec: ArtifactContent): Promise<boolean> {
  const plan = planContent(spec);
  if (plan.type === "listed" && !isWhole(store, plan.listing)) return false;
  return (await blobsOf(store, plan)).every((blob) => isWhole(store, blob));
}

function isWhole(store: Store, { root }: BlobRef): boolean {
  const state = store.stateOf(root);
  return state === "whole" || state === "linked";
}

/** Roots of all blobs that an artifact consists of, its listing among them, as far as this store can tell. */
export async function rootsOf(store: Store, spec: ArtifactContent): Promise<string[]> {
  const plan = planContent(spec);
  if (plan.type === "file") return [plan.blob.root];
  if (plan.type === "inline") return plan.listing.blobs.map(({ root }) => root);
  const { blobs } = isWhole(store, plan.listing) ? await listingOf(store, plan) : { blobs: [] };
  return [plan.listing.root, ...blobs.map(({ root }) => root)];
}

/** The listing of a directory whose listing, if it is a blob, is in the store. */
export async function listingOf(store: Store, plan: Exclude<ContentPlan, { type: "file" }>): Promise<Listing> {
  if (plan.type === "inline") return plan.listing;
  const blob = await store.get(plan.listing.root);
  if (blob === undefined) {
    throw new Fault("artifacts.not-here", "the listing of the artifact is not in the store", { exit: "missing" });
  }
  const bytes = Buffer.alloc(blob.ref.sizeBytes);
  const { chunkBytes, chunkCount } = blob.geometry;
  for (let chunk = 0; chunk < chunkCount; chunk++) await blob.read(chunk, bytes.subarray(chunk * chunkBytes));
  return decodeListing(bytes);
}

async function blobsOf(store: Store, plan: ContentPlan): Promise<BlobRef[]> {
  return plan.type === "file" ? [plan.blob] : (await listingOf(store, plan)).blobs.map(refOf);
}

/** The first failure stops the others. */
async function inParallel(
  lanes: readonly { blobs: readonly BlobRef[]; atOnce: number }[],
  signal: AbortSignal,
  work: (blob: BlobRef, stop: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const worker = async (queue: Iterable<BlobRef>): Promise<void> => {
    for (const blob of queue) {
      signal.throwIfAborted();
      await work(blob, stop.signal);
    }
  };
  try {
    const workers = lanes.flatMap(({ blobs, atOnce }) => {
      const queue = blobs.values(); // shared: each takes the next
      return Array.from({ length: atOnce }, () => worker(queue));
    });
    await Promise.all(workers);
  } finally {
    stop.abort(new Fault("artifacts.stopped", "another part of the artifact could not be brought"));
    signal.removeEventListener("abort", onAbort);
  }
}

function sum(total: Progress, parts: Iterable<Progress>): Progress {
  const all: Progress = { ...total, sources: new Map() };
  for (const { bytes, fromSite, fromWan, sources } of parts) {
    all.bytes += bytes;
    all.fromSite += fromSite;
    all.fromWan += fromWan;
    for (const [peer, count] of sources) all.sources.set(peer, (all.sources.get(peer) ?? 0) + count);
  }
  return all;
}

function tooLarge(sizeBytes: number): Fault {
  return new Fault("artifacts.content", `the listing of the artifact has ${sizeBytes} bytes`, { exit: "invalid" });
}
