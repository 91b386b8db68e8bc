import {
  type ArtifactContent,
  bringContent,
  type ContentProgress,
  hasContent,
  materialise,
  publishPath,
  rootsOf,
  Store,
  startSwarm,
  type SwarmService,
  type SwarmServiceOptions,
} from "#artifacts";
import { errorMessage, Fault } from "#core";
import { isDocumentOf, type NodeId, type SignedDocument, type Spec } from "#identity";
import { type BringOptions, type Job, waitFor } from "./bring-job.ts";
import type { OwnCopy } from "./copies.ts";
import type { Mesh } from "./mesh.ts";
import type { OpenNode } from "./node.ts";
import { asksFor, isDeleted, placementsOf } from "./placement.ts";

/** Pause before a placement that failed is tried again, growing to the second. */
const FIRST_RETRY_MS = 2_000;
const LAST_RETRY_MS = 60_000;

export type KeeperOptions = {
  /** Absent while the node does not run: then nothing is fetched. */
  mesh?: Mesh;
  limits?: Pick<SwarmServiceOptions, "uploadBps" | "downloadBps" | "wanBps">;
};

/** Has on this node what should be on it: reads in what is published here, and brings what placements or people ask for. */
export class ArtifactKeeper implements AsyncDisposable {
  readonly store: Store;
  readonly #node: OpenNode;
  readonly #swarm: SwarmService | undefined;
  readonly #jobs = new Map<string, Job>();
  /** Placed artifacts that are being brought, with what stops it. */
  readonly #placed = new Map<string, AbortController>();
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  #unlisten: () => void = () => undefined;

  private constructor(node: OpenNode, store: Store, swarm: SwarmService | undefined) {
    this.#node = node;
    this.store = store;
    this.#swarm = swarm;
  }

  static async open(node: OpenNode, { mesh, limits = {} }: KeeperOptions): Promise<ArtifactKeeper> {
    const { clock, random, log, data, events, members } = node.state;
    await using stack = new AsyncDisposableStack();
    const store = stack.use(await Store.open(data.storePath, { clock, log }));
    const swarm =
      mesh === undefined
        ? undefined
        : stack.use(
            await startSwarm(
              { clock, random, log, store, net: mesh.net, locality: mesh.locality, holders: mesh.holders },
              {
                ...limits,
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
    await keeper.#start();
    const parts = stack.move();
    keeper.#parts = parts;
    return keeper;
  }

  #parts: AsyncDisposableStack | undefined;

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unlisten();
    this.#stop.abort(new Fault("daemon.stopping", "the daemon is stopping"));
    await Promise.allSettled(this.#running);
    await this.#parts?.disposeAsync();
  }

  /** Reads a path into the store. */
  publish(path: string, options: { inPlace: boolean; mediaType?: string } & BringOptions): Promise<ArtifactContent> {
    return publishPath(this.store, path, options);
  }

  /** Brings the newest version of an artifact to this node's store; several who want it share the work. */
  bring(name: string, { signal, onProgress }: BringOptions): Promise<OwnCopy> {
    signal.throwIfAborted();
    const document = this.#artifact(name);
    const known = this.#jobs.get(name);
    const job = known?.version === document.body.version ? known : this.#startJob(document);
    return waitFor(job, signal, onProgress);
  }

  /** Writes an artifact that is in the store to a path. */
  async write(name: string, output: string, options: { force: boolean; signal: AbortSignal }): Promise<void> {
    await materialise(this.store, this.#artifact(name).body.spec, output, options);
  }

  async usage(): Promise<{ usedBytes: number; artifacts: number }> {
    const { usedBytes } = await this.store.room();
    const artifacts = this.#node.copies.allOwn().filter(({ state }) => state === "complete").length;
    return { usedBytes, artifacts };
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
      if (isDeleted(this.#node, name, version)) await this.#remove(name);
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
    if (copy !== undefined && copy.version <= version) await this.#remove(name);
  }

  /** Takes a copy away, with every blob that no other copy here consists of. */
  async #remove(name: string): Promise<void> {
    const { copies, state } = this.#node;
    const copy = copies.own(name);
    if (copy === undefined) return;
    const job = this.#jobs.get(name);
    job?.stop.abort(new Fault("daemon.deleted", `"${name}" was deleted`, { exit: "missing" }));
    await job?.done.catch(() => undefined);
    const roots = new Set(await rootsOf(this.store, copy.content));
    for (const other of copies.allOwn()) {
      if (other.name !== name) for (const root of await rootsOf(this.store, other.content)) roots.delete(root);
    }
    for (const root of roots) {
      this.#swarm?.forget(root);
      await this.store.remove(root);
    }
    copies.delete(name);
    const message = `version ${copy.version}, ${copy.bytes} bytes`;
    state.events.record({ type: "artifact.removed", subject: name, outcome: "ok", message });
  }

  /** What the table says about a copy gives way to what is in the store. */
  async #recount(document: SignedDocument<"Artifact">): Promise<void> {
    const { copies, state } = this.#node;
    const { name } = document.body.metadata;
    const { version, spec } = document.body;
    const before = copies.own(name);
    const whole = await hasContent(this.store, spec);
    if (before !== undefined && before.version < version && before.content.root !== spec.root) await this.#remove(name);
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

  /** Starts what placements ask for and is not here; stops what they no longer ask for. */
  #reconcile(): void {
    if (this.#swarm === undefined || this.#stop.signal.aborted) return;
    const { store } = this.#node.state;
    const wanted = new Set<string>();
    for (const { body } of store.list("Artifact")) {
      const { name } = body.metadata;
      if (!this.isPlaced(name)) continue;
      wanted.add(name);
      const copy = this.#node.copies.own(name);
      const whole = copy?.state === "complete" && copy.version === body.version;
      if (!whole && !this.#placed.has(name)) this.#run(this.#bringPlaced(name));
    }
    for (const [name, stop] of this.#placed) {
      if (!wanted.has(name)) stop.abort(new Fault("daemon.not-wanted", "no placement asks for it any more"));
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
          await this.bring(name, { signal: stop.signal });
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

  #startJob(document: SignedDocument<"Artifact">): Job {
    const { name } = document.body.metadata;
    const listeners: Job["listeners"] = new Set();
    const stop = new AbortController();
    const done = this.#work(document, listeners, stop.signal).finally(() => {
      if (this.#jobs.get(name) === job) this.#jobs.delete(name);
    });
    const job: Job = { version: document.body.version, done, listeners, waiters: 0, stop };
    done.catch(() => undefined); // whoever waits for it sees it
    this.#jobs.set(name, job);
    this.#run(done);
    return job;
  }

  async #work(
    document: SignedDocument<"Artifact">,
    listeners: Job["listeners"],
    signal: AbortSignal,
  ): Promise<OwnCopy> {
    const { state, copies } = this.#node;
    const { version, spec } = document.body;
    const { name } = document.body.metadata;
    const known = copies.own(name);
    if (known?.state === "complete" && known.version === version && (await hasContent(this.store, spec))) return known;
    const startedMs = Math.floor(state.trustedMs());
    const base = {
      name,
      version,
      bytes: 0,
      bytesFromSite: 0,
      bytesFromWan: 0,
      startedMs,
      sources: new Map<NodeId, number>(),
      content: spec,
    };
    let latest: OwnCopy = { ...base, state: "transferring" };
    copies.set(latest);
    const onProgress = (progress: ContentProgress): void => {
      latest = { ...base, state: "transferring", ...countsOf(progress) };
      copies.set(latest);
      for (const listener of listeners) listener(progress);
    };
    try {
      if (this.#swarm === undefined)
        throw new Fault("api.daemon-down", "no daemon runs here, so nothing can be fetched", {
          exit: "offline",
          fix: "portolan up",
        });
      const progress = await bringContent(this.#swarm, this.store, spec, { signal, onProgress });
      const complete: OwnCopy = {
        ...base,
        ...countsOf(progress),
        bytes: spec.sizeBytes,
        state: "complete",
        finishedMs: Math.floor(state.trustedMs()),
      };
      copies.set(complete);
      state.events.record({
        type: "artifact.complete",
        subject: name,
        outcome: "ok",
        message: `version ${version}, ${spec.sizeBytes} bytes`,
      });
      return complete;
    } catch (error) {
      const reason = errorMessage(error);
      copies.set({ ...latest, state: signal.aborted ? "waiting" : "failed", reason });
      if (!signal.aborted)
        state.events.record({ type: "artifact.failed", subject: name, outcome: "failed", message: reason });
      throw error;
    }
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

function countsOf(progress: ContentProgress): Pick<OwnCopy, "bytes" | "bytesFromSite" | "bytesFromWan" | "sources"> {
  const { bytes, fromSite, fromWan, sources } = progress;
  return { bytes, bytesFromSite: fromSite, bytesFromWan: fromWan, sources: new Map(sources) };
}
