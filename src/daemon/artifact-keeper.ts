import {
  type ArtifactContent,
  type BlobDamage,
  type FlowLimits,
  hasContent,
  materialise,
  type MaterialiseOptions,
  publishPath,
  rootsOf,
  Store,
  type StoreLimits,
  startSwarm,
  type SwarmService,
} from "#artifacts";
import { errorMessage, Fault, faultCode } from "#core";
import { isDocumentOf, type SignedDocument, type Spec } from "#identity";
import { BringJobs, type BringOptions } from "./bring-job.ts";
import type { OwnCopy } from "./copies.ts";
import type { Mesh } from "./mesh.ts";
import type { OpenNode } from "./node.ts";
import { asksFor, isDeleted, placementsOf } from "./placement.ts";
import { Pruner } from "./pruner.ts";
import type { PrunePlan } from "./prune-plan.ts";

/** Pause before a placement that failed is tried again, growing to the second. */
const FIRST_RETRY_MS = 2_000;
const LAST_RETRY_MS = 60_000;
/** How often a copy that turns out damaged while it is written out is mended before that is given up. */
const MAX_MENDS = 3;
/** What a copy that was thought whole turns out to be. */
const MENDABLE: ReadonlySet<string> = new Set(["artifacts.damaged", "artifacts.not-here"]);

export type KeeperOptions = {
  /** Absent while the node does not run: then nothing is fetched. */
  mesh?: Mesh;
  storeLimits?: StoreLimits;
};

/** What the store holds and may hold. */
export type StoreUsage = {
  usedBytes: number;
  dueBytes: number;
  limitBytes: number;
  limitedBy: "quota" | "disk";
  freeBytes: number;
  /** Whole ones. */
  artifacts: number;
  pinned: number;
};

/** Has on this node what should be on it: reads in what is published here, and brings what placements or people ask for. */
export class ArtifactKeeper implements AsyncDisposable {
  readonly store: Store;
  readonly #node: OpenNode;
  readonly #swarm: SwarmService | undefined;
  readonly #jobs: BringJobs;
  readonly #pruner: Pruner;
  /** Copies that were whole and turned out damaged: they are brought as if a placement asked for them. */
  readonly #damaged = new Set<string>();
  /** Placed artifacts that are being brought, with what stops it. */
  readonly #placed = new Map<string, AbortController>();
  /** How many use it, by artifact. */
  readonly #using = new Map<string, number>();
  #publishing = 0;
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  #unlisten: () => void = () => undefined;

  private constructor(node: OpenNode, store: Store, swarm: SwarmService | undefined) {
    this.#node = node;
    this.store = store;
    this.#swarm = swarm;
    this.#jobs = new BringJobs(node, store, swarm);
    this.#pruner = new Pruner({
      node,
      store,
      swarm,
      inUse: (name) => this.#jobs.has(name) || this.#using.has(name),
      publishing: () => this.#publishing > 0,
      remove: (name, why) => this.#remove(name, why),
    });
  }

  static async open(node: OpenNode, { mesh, storeLimits = {} }: KeeperOptions): Promise<ArtifactKeeper> {
    const { clock, random, log, data, events, members } = node.state;
    await using stack = new AsyncDisposableStack();
    const opened: { keeper?: ArtifactKeeper } = {};
    const store = stack.use(
      await Store.open(
        data.storePath,
        { clock, log },
        {
          limits: storeLimits,
          makeRoom: async (bytes) => void (await opened.keeper?.prune(bytes)),
          onDamaged: (root, what) => opened.keeper?.onDamaged(root, what),
        },
      ),
    );
    const swarm =
      mesh === undefined
        ? undefined
        : stack.use(
            await startSwarm(
              { clock, random, log, store, net: mesh.net, locality: mesh.locality, holders: mesh.holders },
              {
                onBlame: (peer, root, blame) => {
                  events.record({
                    type: "security.banned-peer",
                    subject: members.of(peer)?.name ?? peer,
                    outcome: "refused",
                    message: `${blame} in the swarm of ${root.slice(0, 12)}`,
                  });
                },
              },
            ),
          );
    const keeper = new ArtifactKeeper(node, store, swarm);
    opened.keeper = keeper;
    await keeper.#start();
    const parts = stack.move();
    keeper.#parts = parts;
    return keeper;
  }

  #parts: AsyncDisposableStack | undefined;

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unlisten();
    const reason = new Fault("daemon.stopping", "the daemon is stopping");
    this.#stop.abort(reason);
    await this.#pruner[Symbol.asyncDispose]();
    await this.#jobs.stopAll(reason);
    await Promise.allSettled(this.#running);
    await this.#parts?.disposeAsync();
  }

  /** Reads a path into the store. */
  async publish(
    path: string,
    options: { inPlace: boolean; mediaType?: string } & BringOptions,
  ): Promise<ArtifactContent> {
    this.#publishing += 1;
    try {
      return await publishPath(this.store, path, options);
    } finally {
      this.#publishing -= 1;
      this.#run(this.#pruner.look());
    }
  }

  /** Brings the newest version of an artifact to this node's store; several who want it share the work. */
  async bring(name: string, options: BringOptions): Promise<OwnCopy> {
    options.signal.throwIfAborted();
    const copy = await this.#jobs.bring(this.#artifact(name), options);
    this.#damaged.delete(name);
    this.#run(this.#pruner.look());
    return copy;
  }

  /** Writes an artifact that is in the store to a path. A copy that turns out damaged is mended first. */
  write(name: string, output: string, options: MaterialiseOptions): Promise<void> {
    return this.using(name, async () => {
      for (let mends = 0; ; mends++) {
        try {
          return await materialise(this.store, this.#artifact(name).body.spec, output, options);
        } catch (error) {
          if (!MENDABLE.has(faultCode(error) ?? "") || mends === MAX_MENDS) throw error;
          await this.bring(name, options);
        }
      }
    });
  }

  /** Does something with an artifact that must not be pruned meanwhile. */
  async using<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.#using.set(name, (this.#using.get(name) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const left = (this.#using.get(name) ?? 1) - 1;
      if (left === 0) this.#using.delete(name);
      else this.#using.set(name, left);
    }
  }

  /** What can be spared: what would go, and why the rest stays. */
  planPrune(): Promise<PrunePlan> {
    return this.#pruner.plan();
  }

  /** Removes what can be spared, or so much of it as frees `neededBytes`. */
  prune(neededBytes?: number): Promise<PrunePlan> {
    return this.#pruner.prune(neededBytes);
  }

  /** Has an artifact come to this node and stay, or stay no longer. */
  pin(name: string, pinned: boolean): void {
    if (pinned) this.#artifact(name);
    this.#node.pins.set(name, pinned);
    this.#reconcile();
  }

  /** Other limits from now on, also for what is on its way. */
  limit(limits: FlowLimits): void {
    this.#swarm?.limit(limits);
  }

  /** Whether somebody waits for what is on its way; `undefined` when it is not. */
  precedence(name: string): "foreground" | "background" | undefined {
    return this.#jobs.precedence(name);
  }

  async usage(): Promise<StoreUsage> {
    const { copies, pins } = this.#node;
    const { usedBytes, dueBytes, limitBytes, limitedBy, freeBytes } = await this.store.space.room();
    const artifacts = copies.allOwn().filter(({ state }) => state === "complete").length;
    return { usedBytes, dueBytes, limitBytes, limitedBy, freeBytes, artifacts, pinned: pins.all().length };
  }

  /** A blob is not what the store thought: copies that need it are not whole any more. */
  onDamaged(root: string, what: BlobDamage): void {
    this.#swarm?.forget(root); // this node does not have it any more
    this.#run(this.#mend(root, what));
  }

  /** What was damaged in the store is brought again; of a file that was published in place and changed, that is its owner's business. */
  async #mend(root: string, what: BlobDamage): Promise<void> {
    const { copies, state } = this.#node;
    for (const copy of copies.allOwn()) {
      if (copy.state !== "complete" || !(await rootsOf(this.store, copy.content)).includes(root)) continue;
      const reason = what === "source" ? "the file it was published from was changed" : "it was damaged on this disk";
      state.events.record({ type: "artifact.failed", subject: copy.name, outcome: "failed", message: reason });
      if (what === "source") copies.delete(copy.name);
      else {
        copies.set({ ...copy, state: "waiting", reason });
        this.#damaged.add(copy.name);
      }
    }
    this.#reconcile();
  }

  /** Whether a placement in force asks this node to have the artifact. */
  isPlaced(name: string): boolean {
    const { state } = this.#node;
    const self = state.members.of(state.data.key.nodeId);
    return self !== undefined && placementsOf(this.#node, name).some((placement) => asksFor(placement, self));
  }

  async #start(): Promise<void> {
    const { store } = this.#node.state;
    for (const { name, version } of this.#node.copies.allOwn()) {
      if (isDeleted(this.#node, name, version)) await this.#remove(name, "deleted");
    }
    for (const document of store.list("Artifact")) await this.#recount(document);
    this.#unlisten = store.onAccepted((document) => this.#onDocument(document));
    this.#reconcile();
  }

  #onDocument(document: SignedDocument): void {
    if (isDocumentOf(document, "Artifact")) this.#run(this.#recount(document).then(() => this.#reconcile()));
    else if (isDocumentOf(document, "Tombstone") && document.body.spec.target.kind === "Artifact")
      this.#run(this.#onDeleted(document.body.spec));
    else if (["Placement", "Member", "Registrar", "Tombstone"].includes(document.kind)) this.#reconcile();
  }

  async #onDeleted({ target: { name }, version }: Spec<"Tombstone">): Promise<void> {
    this.#reconcile(); // its transfers stop
    const copy = this.#node.copies.own(name);
    if (copy !== undefined && copy.version <= version) await this.#remove(name, "deleted");
  }

  /** Takes a copy away, with every blob that no other copy here consists of. */
  async #remove(name: string, why: string): Promise<void> {
    const { copies, state } = this.#node;
    const copy = copies.own(name);
    if (copy === undefined) return;
    this.#damaged.delete(name);
    await this.#jobs.stop(name, new Fault("daemon.deleted", `"${name}" was ${why}`, { exit: "missing" }));
    const roots = new Set(await rootsOf(this.store, copy.content));
    for (const other of copies.allOwn()) {
      if (other.name !== name) for (const root of await rootsOf(this.store, other.content)) roots.delete(root);
    }
    for (const root of roots) {
      this.#swarm?.forget(root);
      await this.store.remove(root);
    }
    copies.delete(name);
    const message = `${why}: version ${copy.version}, ${copy.bytes} bytes`;
    state.events.record({ type: "artifact.removed", subject: name, outcome: "ok", message });
  }

  /** What the table says about a copy gives way to what is in the store. */
  async #recount(document: SignedDocument<"Artifact">): Promise<void> {
    const { copies, state } = this.#node;
    const { name } = document.body.metadata;
    const { version, spec } = document.body;
    const before = copies.own(name);
    const whole = await hasContent(this.store, spec);
    if (before !== undefined && before.version < version && before.content.root !== spec.root)
      await this.#remove(name, "replaced by a newer version");
    const known = copies.own(name);
    if (whole && (known?.state !== "complete" || known.version !== version)) {
      const nowMs = Math.floor(state.trustedMs());
      copies.set({
        name,
        version,
        state: "complete",
        bytes: spec.sizeBytes,
        bytesFromSite: 0,
        bytesFromWan: 0,
        startedMs: nowMs,
        finishedMs: nowMs,
        sources: new Map(),
        content: spec,
      });
    } else if (!whole && known !== undefined && (known.state === "complete" || known.version !== version)) {
      copies.delete(name);
    }
  }

  /** Starts what placements and pins ask for, or is damaged, and is not here; stops what they no longer ask for. */
  #reconcile(): void {
    if (this.#swarm === undefined || this.#stop.signal.aborted) return;
    const { store } = this.#node.state;
    const wanted = new Set<string>();
    for (const { body } of store.list("Artifact")) {
      const { name } = body.metadata;
      if (!this.isPlaced(name) && !this.#node.pins.has(name) && !this.#damaged.has(name)) continue;
      wanted.add(name);
      const copy = this.#node.copies.own(name);
      const whole = copy?.state === "complete" && copy.version === body.version;
      if (!whole && !this.#placed.has(name)) this.#run(this.#bringPlaced(name));
    }
    for (const [name, stop] of this.#placed) {
      if (!wanted.has(name)) stop.abort(new Fault("daemon.not-wanted", "nothing asks for it any more"));
    }
  }

  async #bringPlaced(name: string): Promise<void> {
    const { clock, random, log } = this.#node.state;
    const stop = new AbortController();
    const onStop = (): void => stop.abort(this.#stop.signal.reason);
    this.#stop.signal.addEventListener("abort", onStop, { once: true });
    this.#placed.set(name, stop);
    try {
      for (let pauseMs = FIRST_RETRY_MS; !stop.signal.aborted; pauseMs = Math.min(pauseMs * 2, LAST_RETRY_MS)) {
        try {
          await this.bring(name, { signal: stop.signal, background: true });
          return;
        } catch (error) {
          if (stop.signal.aborted) return;
          log.warn("an artifact did not arrive yet", { name, reason: errorMessage(error) });
          await clock.sleep(pauseMs * (0.75 + random.unit() / 2), stop.signal).catch(() => undefined);
        }
      }
    } finally {
      this.#stop.signal.removeEventListener("abort", onStop);
      this.#placed.delete(name);
      this.#reconcile(); // it may be wanted again, or in a newer version, since
    }
  }

  #artifact(name: string): SignedDocument<"Artifact"> {
    const document = this.#node.state.store.get("Artifact", name);
    if (document !== undefined) return document;
    throw new Fault("daemon.no-artifact", `there is no artifact "${name}"`, {
      exit: "missing",
      fix: "`portolan get artifacts` lists them.",
    });
  }

  #run(work: Promise<unknown>): void {
    const done = work.catch((error: unknown) => {
      if (!this.#stop.signal.aborted)
        this.#node.state.log.debug("artifact work ended", { reason: errorMessage(error) });
    });
    this.#running.add(done);
    void done.finally(() => this.#running.delete(done));
  }
}
