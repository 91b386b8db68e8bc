import { type BlobDamage, hasContent, rootsOf, type Store, type SwarmService } from "#artifacts";
import { Fault } from "#core";
import type { SignedDocument } from "#identity";
import type { BringJobs } from "./bring-job.ts";
import type { OpenNode } from "./node.ts";
import { isDeleted } from "./placement.ts";

export type HeldCopiesDeps = {
  node: OpenNode;
  store: Store;
  swarm: SwarmService | undefined;
  jobs: BringJobs;
  /** A copy is to go. */
  removing: (name: string) => void;
};

/** Keeps the table of this node's copies true to what is in the store. */
export class HeldCopies {
  readonly #deps: HeldCopiesDeps;

  constructor(deps: HeldCopiesDeps) {
    this.#deps = deps;
  }

  /** What came, was deleted or got lost while the node was off. */
  async recountAll(): Promise<void> {
    const { node } = this.#deps;
    for (const { name, version } of node.copies.allOwn()) {
      if (isDeleted(node, name, version)) await this.remove(name, "deleted");
    }
    for (const document of node.state.store.list("Artifact")) await this.recount(document);
  }

  /** What the table says about a copy gives way to what is in the store. */
  async recount(document: SignedDocument<"Artifact">): Promise<void> {
    const { copies, state } = this.#deps.node;
    const { name } = document.body.metadata;
    const { version, spec } = document.body;
    const before = copies.own(name);
    const whole = await hasContent(this.#deps.store, spec);
    if (before !== undefined && before.version < version && before.content.root !== spec.root)
      await this.remove(name, "replaced by a newer version");
    const known = copies.own(name);
    if (whole && (known?.state !== "complete" || known.version !== version)) {
      const nowMs = state.trustedMs();
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

  /**
   * A blob is not what the store thought, so the copies that need it are not whole. Returns those that are to come again: when a file
   * that was published in place was changed, that is its owner's business.
   */
  async damaged(root: string, what: BlobDamage): Promise<string[]> {
    const { copies, state } = this.#deps.node;
    const again: string[] = [];
    for (const copy of copies.allOwn()) {
      if (copy.state !== "complete" || !(await rootsOf(this.#deps.store, copy.content)).includes(root)) continue;
      const reason = what === "source" ? "the file it was published from was changed" : "it was damaged on this disk";
      state.events.record({ type: "artifact.failed", subject: copy.name, outcome: "failed", message: reason });
      if (what === "source") copies.delete(copy.name);
      else {
        copies.set({ ...copy, state: "waiting", reason });
        again.push(copy.name);
      }
    }
    return again;
  }

  /** Takes a copy away, with every blob that no other copy here consists of. */
  async remove(name: string, why: string): Promise<void> {
    const { copies, state } = this.#deps.node;
    const copy = copies.own(name);
    if (copy === undefined) return;
    this.#deps.removing(name);
    await this.#deps.jobs.stop(name, new Fault("daemon.deleted", `"${name}" was ${why}`, { exit: "missing" }));
    const roots = new Set(await rootsOf(this.#deps.store, copy.content));
    for (const other of copies.allOwn()) {
      if (other.name !== name) for (const root of await rootsOf(this.#deps.store, other.content)) roots.delete(root);
    }
    for (const root of roots) {
      this.#deps.swarm?.forget(root);
      await this.#deps.store.remove(root);
    }
    copies.delete(name);
    const message = `${why}: version ${copy.version}, ${copy.bytes} bytes`;
    state.events.record({ type: "artifact.removed", subject: name, outcome: "ok", message });
  }
}
