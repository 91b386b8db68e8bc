import { errorMessage, Fault } from "#core";
import { isDocumentOf, type SignedDocument } from "#identity";
import type { OpenNode } from "./node.ts";
import { asksFor, placementsOf } from "./placement.ts";

/** Pause before an artifact that failed to come is tried again, growing to the second. */
const FIRST_RETRY_MS = 2_000;
const LAST_RETRY_MS = 60_000;

export type WantedDeps = {
  node: OpenNode;
  /** Brings the newest version of an artifact here. */
  bring: (name: string, signal: AbortSignal) => Promise<unknown>;
};

/** What ought to be on this node, because a placement or a pin says so or a copy was damaged, comes here; what nothing asks for any more stops coming. */
export class Wanted implements AsyncDisposable {
  readonly #deps: WantedDeps;
  /** Copies that were whole and turned out damaged. */
  readonly #damaged = new Set<string>();
  /** What is on its way, with what stops it. */
  readonly #coming = new Map<string, AbortController>();
  readonly #running = new Set<Promise<void>>();
  #stopped: Fault | undefined;

  constructor(deps: WantedDeps) {
    this.#deps = deps;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = new Fault("daemon.stopping", "the daemon is stopping");
    for (const stop of this.#coming.values()) stop.abort(this.#stopped);
    await Promise.all(this.#running);
  }

  /** Whether a placement in force asks this node to have the artifact. */
  isPlaced(name: string): boolean {
    const { state } = this.#deps.node;
    const self = state.members.of(state.data.key.nodeId);
    return self !== undefined && placementsOf(this.#deps.node, name).some((placement) => asksFor(placement, self));
  }

  /** A copy that was whole is to come again, whether or not anything else asks for it. */
  mend(name: string): void {
    this.#damaged.add(name);
  }

  /** The copy is whole again, or gone on purpose. */
  mended(name: string): void {
    this.#damaged.delete(name);
  }

  /** Whether a document changes what is wanted here. Others' memberships do not, and thousands of them may come. */
  concerns(document: SignedDocument): boolean {
    if (isDocumentOf(document, "Member") || isDocumentOf(document, "Registrar"))
      return document.body.spec.node === this.#deps.node.state.data.key.nodeId;
    return ["Artifact", "Placement", "Tombstone"].includes(document.kind);
  }

  /** Starts what is wanted and not here, and stops what is not wanted. */
  reconcile(): void {
    if (this.#stopped !== undefined) return;
    const { state, pins, copies } = this.#deps.node;
    const wanted = new Set<string>();
    for (const { body } of state.store.list("Artifact")) {
      const { name } = body.metadata;
      if (!this.isPlaced(name) && !pins.has(name) && !this.#damaged.has(name)) continue;
      wanted.add(name);
      const copy = copies.own(name);
      const whole = copy?.state === "complete" && copy.version === body.version;
      if (!whole && !this.#coming.has(name)) this.#start(name);
    }
    for (const [name, stop] of this.#coming) {
      if (!wanted.has(name)) stop.abort(new Fault("daemon.not-wanted", "nothing asks for it any more"));
    }
  }

  #start(name: string): void {
    const stop = new AbortController();
    this.#coming.set(name, stop);
    const running = this.#come(name, stop.signal);
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
  }

  async #come(name: string, signal: AbortSignal): Promise<void> {
    await this.#bring(name, signal);
    this.#coming.delete(name);
    this.reconcile(); // it may be wanted again, or in a newer version, since
  }

  async #bring(name: string, signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#deps.node.state;
    for (let pauseMs = FIRST_RETRY_MS; !signal.aborted; pauseMs = Math.min(pauseMs * 2, LAST_RETRY_MS)) {
      try {
        await this.#deps.bring(name, signal);
        return;
      } catch (error) {
        if (signal.aborted) return;
        log.warn("an artifact did not arrive yet", { name, reason: errorMessage(error) });
        await clock.sleep(pauseMs * (0.75 + random.unit() / 2), signal).catch(() => undefined);
      }
    }
  }
}
