import {
  type ArtifactContent,
  type BlobDamage,
  firstRoots,
  type FlowLimits,
  materialise,
  type MaterialiseOptions,
  planContent,
  publishPath,
  Store,
  type StoreLimits,
  startSwarm,
  type SwarmService,
} from "#artifacts";
import { errorMessage, Fault, faultCode } from "#core";
import { isDocumentOf, type SignedDocument, type Spec } from "#identity";
import { BringJobs, type BringOptions } from "./bring-job.ts";
import type { OwnCopy } from "./copies.ts";
import { HeldCopies } from "./held-copies.ts";
import type { Mesh } from "./mesh.ts";
import type { OpenNode } from "./node.ts";
import { Pruner } from "./pruner.ts";
import type { PrunePlan } from "./prune-plan.ts";
import { Wanted } from "./wanted.ts";

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
  /** To those whom no neighbour can tell. */
  readonly #announce: (root: string) => void;
  readonly #jobs: BringJobs;
  readonly #held: HeldCopies;
  readonly #pruner: Pruner;
  /** Absent while the node does not run. */
  readonly #wanted: Wanted | undefined;
  /** How many use it, by artifact. */
  readonly #using = new Map<string, number>();
  #publishing = 0;
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  #unlisten: () => void = () => undefined;

  private constructor(
    node: OpenNode,
    store: Store,
    { swarm, announce }: { swarm: SwarmService | undefined; announce: (root: string) => void },
  ) {
    this.#node = node;
    this.store = store;
    this.#announce = announce;
    this.#swarm = swarm;
    this.#jobs = new BringJobs(node, store, swarm);
    this.#held = new HeldCopies({
      node,
      store,
      swarm,
      jobs: this.#jobs,
      removing: (name) => this.#wanted?.mended(name),
    });
    this.#pruner = new Pruner({
      node,
      store,
      swarm,
      inUse: (name) => this.#jobs.has(name) || this.#using.has(name),
      publishing: () => this.#publishing > 0,
      remove: (name, why) => this.#held.remove(name, why),
    });
    this.#wanted =
      swarm === undefined
        ? undefined
        : new Wanted({ node, bring: (name, signal) => this.bring(name, { signal, background: true }) });
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
    const announce = (root: string): void => mesh?.holders.announce(root);
    const keeper = new ArtifactKeeper(node, store, { swarm, announce });
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
    await this.#wanted?.[Symbol.asyncDispose]();
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
      const content = await publishPath(this.store, path, options);
      for (const root of firstRoots(planContent(content))) this.#announce(root);
      return content;
    } finally {
      this.#publishing -= 1;
      this.#run(this.#pruner.look());
    }
  }

  /** Brings the newest version of an artifact to this node's store; several who want it share the work. */
  async bring(name: string, options: BringOptions): Promise<OwnCopy> {
    options.signal.throwIfAborted();
    const copy = await this.#jobs.bring(this.#artifact(name), options);
    this.#wanted?.mended(name);
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
    this.#wanted?.reconcile();
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

  async #mend(root: string, what: BlobDamage): Promise<void> {
    for (const name of await this.#held.damaged(root, what)) this.#wanted?.mend(name);
    this.#wanted?.reconcile();
  }

  async #start(): Promise<void> {
    await this.#held.recountAll();
    this.#unlisten = this.#node.state.store.onAccepted((document) => this.#onDocument(document));
    this.#wanted?.reconcile();
  }

  #onDocument(document: SignedDocument): void {
    if (isDocumentOf(document, "Artifact"))
      this.#run(this.#held.recount(document).then(() => this.#wanted?.reconcile()));
    else if (isDocumentOf(document, "Tombstone") && document.body.spec.target.kind === "Artifact")
      this.#run(this.#onDeleted(document.body.spec));
    else if (this.#wanted?.concerns(document) === true) this.#wanted.reconcile();
  }

  async #onDeleted({ target: { name }, version }: Spec<"Tombstone">): Promise<void> {
    this.#wanted?.reconcile(); // its transfers stop
    const copy = this.#node.copies.own(name);
    if (copy !== undefined && copy.version <= version) await this.#held.remove(name, "deleted");
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
