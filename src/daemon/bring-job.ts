import {
  type ArtifactContent,
  bringContent,
  type BringOptions as ContentOptions,
  type ContentProgress,
  hasContent,
  type Precedence,
  type Store,
  type SwarmService,
} from "#artifacts";
import { errorMessage, Fault, faultCode } from "#core";
import type { NodeId, SignedDocument } from "#identity";
import { daemonDown } from "./daemon-down.ts";
import type { OwnCopy } from "./copies.ts";
import type { OpenNode } from "./node.ts";

/** A full disk is looked at again this often. */
const FULL_DISK_MS = 5_000;

export type BringOptions = {
  signal: AbortSignal;
  onProgress?: (progress: ContentProgress) => void;
  /** Nobody waits for it. */
  background?: boolean;
};

/** One version of an artifact on its way to this node, for all who want it. */
type Job = {
  version: number;
  done: Promise<OwnCopy>;
  listeners: Set<(progress: ContentProgress) => void>;
  /** How many want it, and how many of them wait for it. */
  waiters: { foreground: number; background: number };
  stop: AbortController;
};

/** Artifacts on their way to this node, one job for each, and their copies' states. */
export class BringJobs {
  readonly #node: OpenNode;
  readonly #store: Store;
  readonly #swarm: SwarmService | undefined;
  readonly #jobs = new Map<string, Job>();

  constructor(node: OpenNode, store: Store, swarm: SwarmService | undefined) {
    this.#node = node;
    this.#store = store;
    this.#swarm = swarm;
  }

  /** Whether the artifact is on its way. */
  has(name: string): boolean {
    return this.#jobs.has(name);
  }

  /** Whether somebody waits for what is on its way; `undefined` when it is not. */
  precedence(name: string): keyof Job["waiters"] | undefined {
    const job = this.#jobs.get(name);
    return job && (job.waiters.foreground > 0 ? "foreground" : "background");
  }

  /** Brings this version to the store; several who want it share the work, and when the last of them gives up, it stops. */
  async bring(
    document: SignedDocument<"Artifact">,
    { signal, onProgress, background = false }: BringOptions,
  ): Promise<OwnCopy> {
    const known = this.#jobs.get(document.body.metadata.name);
    const job = known?.version === document.body.version ? known : this.#start(document);
    const aborted = Promise.withResolvers<never>();
    const onAbort = (): void => aborted.reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    if (onProgress !== undefined) job.listeners.add(onProgress);
    const as = background ? "background" : "foreground";
    job.waiters[as] += 1;
    try {
      return await Promise.race([job.done, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      if (onProgress !== undefined) job.listeners.delete(onProgress);
      job.waiters[as] -= 1;
      if (job.waiters.foreground + job.waiters.background === 0)
        job.stop.abort(new Fault("daemon.not-wanted", "nobody waits for it any more"));
    }
  }

  /** Stops what is on its way of an artifact; resolves when nothing touches its blobs any more. */
  async stop(name: string, reason: Fault): Promise<void> {
    const job = this.#jobs.get(name);
    job?.stop.abort(reason);
    await job?.done.catch(() => undefined);
  }

  /** Stops everything that is on its way. */
  async stopAll(reason: Fault): Promise<void> {
    await Promise.all([...this.#jobs.keys()].map((name) => this.stop(name, reason)));
  }

  #start(document: SignedDocument<"Artifact">): Job {
    const { name } = document.body.metadata;
    const listeners: Job["listeners"] = new Set();
    const stop = new AbortController();
    const waiters = { foreground: 0, background: 0 };
    const precedence = {
      get foreground() {
        return waiters.foreground > 0;
      },
    };
    const done = this.#work(document, listeners, { signal: stop.signal, precedence }).finally(() => {
      if (this.#jobs.get(name) === job) this.#jobs.delete(name);
    });
    const job: Job = { version: document.body.version, done, listeners, waiters, stop };
    done.catch(() => undefined); // whoever waits for it sees it
    this.#jobs.set(name, job);
    return job;
  }

  async #work(
    { body }: SignedDocument<"Artifact">,
    listeners: Job["listeners"],
    { signal, precedence }: { signal: AbortSignal; precedence: Precedence },
  ): Promise<OwnCopy> {
    const { state, copies } = this.#node;
    const { version, spec } = body;
    const { name } = body.metadata;
    const known = copies.own(name);
    if (known?.state === "complete" && known.version === version && (await hasContent(this.#store, spec))) return known;
    const [startedMs, sinceMs] = [state.trustedMs(), state.clock.nowMs()];
    const base = { name, version, ...NOTHING, startedMs, content: spec };
    let latest: OwnCopy = { ...base, state: "transferring" };
    copies.set(latest);
    const onProgress = (progress: ContentProgress): void => {
      latest = { ...base, state: "transferring", ...countsOf(progress) };
      copies.set(latest);
      for (const listener of listeners) listener(progress);
    };
    const holders = (): NodeId[] => copies.holdersOf(name, version);
    const onFull = (reason: string): void => copies.set({ ...latest, state: "waiting", reason });
    try {
      const counts = countsOf(await this.#bringWhole(spec, { signal, precedence, holders, onProgress }, onFull));
      const finishedMs = startedMs + Math.round(state.clock.nowMs() - sinceMs); // a registrar may set the time meanwhile
      const complete: OwnCopy = { ...base, ...counts, bytes: spec.sizeBytes, state: "complete", finishedMs };
      copies.set(complete);
      const message = `version ${version}, ${spec.sizeBytes} bytes`;
      state.events.record({ type: "artifact.complete", subject: name, outcome: "ok", message });
      return complete;
    } catch (error) {
      const reason = errorMessage(error);
      const again = known?.version === version && known.reason === reason; // a placement that is tried again says it once
      copies.set({ ...latest, state: signal.aborted || isFull(error) ? "waiting" : "failed", reason });
      if (!signal.aborted && !again)
        state.events.record({ type: "artifact.failed", subject: name, outcome: "failed", message: reason });
      throw error;
    }
  }

  /** A disk that fills up on the way is waited for: what has arrived is kept. */
  async #bringWhole(
    spec: ArtifactContent,
    options: ContentOptions,
    onFull: (reason: string) => void,
  ): Promise<ContentProgress> {
    const { clock, log } = this.#node.state;
    if (this.#swarm === undefined) throw daemonDown("nothing can be fetched");
    for (;;) {
      try {
        return await bringContent(this.#swarm, this.#store, spec, options);
      } catch (error) {
        if (options.signal.aborted || faultCode(error) !== "artifacts.disk-full") throw error;
        log.warn("a transfer waits for room on the disk", { root: spec.root, reason: errorMessage(error) });
        onFull(errorMessage(error));
        do await clock.sleep(FULL_DISK_MS, options.signal);
        while (!(await this.#store.space.holdsPromises()));
      }
    }
  }
}

function isFull(error: unknown): boolean {
  return ["artifacts.no-room", "artifacts.disk-full"].includes(faultCode(error) ?? "");
}

const NOTHING = { bytes: 0, bytesFromSite: 0, bytesFromWan: 0, sources: new Map<NodeId, number>() };

function countsOf(progress: ContentProgress): Pick<OwnCopy, keyof typeof NOTHING> {
  const { bytes, fromSite, fromWan, sources } = progress;
  return { bytes, bytesFromSite: fromSite, bytesFromWan: fromWan, sources: new Map(sources) };
}
