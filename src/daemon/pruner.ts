import { type ArtifactContent, leaderWeight, planContent, rootsOf, type Store, type SwarmService } from "#artifacts";
import { errorMessage, Fault } from "#core";
import type { OwnCopy } from "./copies.ts";
import type { OpenNode } from "./node.ts";
import { asksFor, placementsOf } from "./placement.ts";
import { type Holding, type KeepReason, planPrune, type PrunePlan } from "./prune-plan.ts";

/** Share of what the store may hold at which it makes room by itself, and down to which: kubelet's 85 % and 80 %, a little later. */
const HIGH_WATERMARK = 0.9;
const LOW_WATERMARK = 0.8;
/** Besides after each transfer the watermark is looked at this often, because other programs fill the disk, too. */
const LOOK_MS = 10 * 60_000;
/** Blobs of a publication that was not signed yet stay so long: the keys may be elsewhere. */
const UNSIGNED_MS = 24 * 3_600_000;
/** What blobs that belong to no artifact are called in a plan. */
const NO_ARTIFACT = "(no artifact)";

export type PrunerDeps = {
  node: OpenNode;
  store: Store;
  swarm: SwarmService | undefined;
  /** Whether it is being brought, published, written out or otherwise used by somebody here. */
  inUse: (name: string) => boolean;
  publishing: () => boolean;
  /** Takes a copy and its blobs away. */
  remove: (name: string, why: string) => Promise<void>;
};

/** Makes room in the store: which copies may go, and taking them away. */
export class Pruner implements AsyncDisposable {
  readonly #deps: PrunerDeps;
  readonly #stop = new AbortController();
  readonly #looking: Promise<void>;
  #last: Promise<unknown> = Promise.resolve();

  constructor(deps: PrunerDeps) {
    this.#deps = deps;
    this.#looking = this.#lookNowAndThen();
  }

  /** What can be spared now. */
  async plan(neededBytes = Number.POSITIVE_INFINITY): Promise<PrunePlan> {
    const sizes = new Map(
      this.#deps.store.list().map(({ ref, state }) => [ref.root, state === "linked" ? 0 : ref.sizeBytes]),
    );
    return planPrune(await this.#holdings(), (root) => sizes.get(root) ?? 0, neededBytes);
  }

  /** Removes what can be spared until so many bytes are free; one after the other, however many ask. */
  prune(neededBytes = Number.POSITIVE_INFINITY): Promise<PrunePlan> {
    const pruning = this.#last.then(() => this.#prune(neededBytes));
    this.#last = pruning.catch(() => undefined);
    return pruning;
  }

  async #prune(neededBytes: number): Promise<PrunePlan> {
    const { store, remove, node } = this.#deps;
    const plan = await this.plan(neededBytes);
    const done: PrunePlan = { ...plan, remove: [], freesBytes: 0 };
    for (const { holding, freesBytes } of plan.remove) {
      if (holding.name === NO_ARTIFACT) for (const root of holding.roots) await store.remove(root);
      else if (this.#keepReason(holding.name, holding.roots) !== undefined)
        continue; // since the plan was made
      else await remove(holding.name, "pruned");
      done.remove.push({ holding, freesBytes });
      done.freesBytes += freesBytes;
    }
    await store.removeStrays();
    if (done.remove.length > 0)
      node.state.log.info("the store was pruned", { removed: done.remove.length, freedBytes: done.freesBytes });
    return done;
  }

  /** At the high watermark, makes room down to the low one. */
  async look(): Promise<void> {
    const { usedBytes, dueBytes, limitBytes } = await this.#deps.store.space.room();
    const tooMuch = usedBytes + dueBytes - limitBytes * LOW_WATERMARK;
    if (usedBytes + dueBytes < limitBytes * HIGH_WATERMARK) return;
    const { freesBytes } = await this.prune(tooMuch);
    if (freesBytes < tooMuch)
      this.#deps.node.state.log.warn("the store is nearly full, and nothing more can be spared", {
        usedBytes,
        limitBytes,
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("daemon.stopping", "the daemon is stopping"));
    await this.#looking;
    await this.#last;
  }

  async #lookNowAndThen(): Promise<void> {
    const { clock, log } = this.#deps.node.state;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await clock.sleep(LOOK_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      await this.look().catch((error: unknown) => {
        log.warn("the store could not be looked at", { reason: errorMessage(error) });
      });
    }
  }

  async #holdings(): Promise<Holding[]> {
    const { node, store } = this.#deps;
    const unclaimed = new Map(store.list().map((blob) => [blob.ref.root, blob]));
    const used = new Map(store.list().map(({ ref, usedMs }) => [ref.root, usedMs]));
    const holdings: Holding[] = [];
    for (const copy of node.copies.allOwn()) {
      const roots = await rootsOf(store, copy.content);
      for (const root of roots) unclaimed.delete(root);
      const keep = this.#keepReason(copy.name, roots);
      const usedMs = Math.max(0, ...roots.map((root) => used.get(root) ?? 0));
      holdings.push({ name: copy.name, roots, gone: this.#isGone(copy), usedMs, ...(keep && { keep }) });
    }
    for (const content of this.#pendingContents()) {
      for (const root of await rootsOf(store, content)) unclaimed.delete(root);
    }
    const nowMs = node.state.clock.wallMs();
    for (const { ref, usedMs } of unclaimed.values()) {
      const isNew = this.#deps.publishing() || nowMs - usedMs < UNSIGNED_MS;
      holdings.push({ name: NO_ARTIFACT, roots: [ref.root], gone: true, usedMs, ...(isNew && { keep: "new" }) });
    }
    return holdings;
  }

  /** Contents of Artifact documents that wait for signatures. */
  #pendingContents(): ArtifactContent[] {
    return this.#deps.node.state.store.pending().flatMap(({ kind, body }) => {
      if (kind !== "Artifact") return [];
      try {
        planContent(body.spec as ArtifactContent);
        return [body.spec as ArtifactContent];
      } catch {
        return []; // of a newer version
      }
    });
  }

  /** Deleted, expired, or signed by a key that may no longer: no node gets it from anybody any more. */
  #isGone({ name, version }: OwnCopy): boolean {
    const document = this.#deps.node.state.store.get("Artifact", name);
    return document === undefined || document.body.version > version;
  }

  #keepReason(name: string, roots: readonly string[]): KeepReason | undefined {
    const { node, inUse } = this.#deps;
    const copy = node.copies.own(name);
    if (node.pins.has(name)) return "pinned";
    if (copy === undefined) return undefined;
    if (inUse(name) || this.#isServed(roots)) return "in use";
    if (this.#isGone(copy)) return undefined;
    if (mayBePlacedHere(node, name)) return "wanted here";
    return copy.state === "complete" ? this.#keptForFleet(copy) : undefined;
  }

  /** Somebody gets it from this node just now. */
  #isServed(roots: readonly string[]): boolean {
    return (this.#deps.swarm?.views() ?? []).some(({ ref, wanting }) => wanting > 0 && roots.includes(ref.root));
  }

  /**
   * Of the members that are known to have all of it, the one with the highest random weight never prunes it, so that two which see each
   * other's copy do not both rely on it, whatever they know of placements.
   */
  #keptForFleet({ name, version, content }: OwnCopy): KeepReason | undefined {
    const { state, copies } = this.#deps.node;
    const self = state.data.key.nodeId;
    const holders = state.members
      .all()
      .filter(({ node }) => node !== self && copies.of(node, name, version)?.state === "complete");
    if (holders.length === 0) return "last known copy";
    const own = leaderWeight(content.root, self);
    return holders.some(({ node }) => leaderWeight(content.root, node) > own) ? undefined : "kept for the fleet";
  }
}

/** Whether a placement in force asks this node to have the artifact; a node that is no member just now cannot tell, and keeps it. */
function mayBePlacedHere(node: OpenNode, name: string): boolean {
  const { state } = node;
  const self = state.members.of(state.data.key.nodeId);
  return placementsOf(node, name).some((placement) => self === undefined || asksFor(placement, self));
}
