import type { Log } from "#core";
import type { DocumentStore, Membership, NodeId } from "#identity";
import type { Host } from "#mesh";
import { z } from "zod";
import { revocationVersion } from "./admission.ts";
import type { Settings } from "./data-directory.ts";

/** Kinds by which a fleet decides whom it trusts. */
const TRUST = ["Charter/", "Operator/", "Registrar/", "Member/", "Revocation/", "Tombstone/"];
/** Session message: whether the sender is provisional. */
const PROVISIONAL_MESSAGE = "provisional";
const News = z.strictObject({ is: z.boolean() });

export type ProvisionalDeps = {
  settings: Settings;
  store: DocumentStore;
  members: Membership;
  self: NodeId;
  log: Log;
};

/**
 * Who has just joined knows what is revoked from one registrar, which may have been restored from an old backup, or lie. Until a
 * second member has shown in its hello that it knows nothing newer, the newcomer is provisional: it works, but tells nobody
 * but that registrar whom the fleet trusts. A node that the owners make a registrar is so no longer.
 */
export class Provisional {
  readonly #deps: ProvisionalDeps;
  /** Neighbours that say they are provisional; as many as there are sessions at most. */
  readonly #others = new Set<NodeId>();
  #host: Host | undefined;
  #registrar: NodeId | undefined;
  /** The version that a second member has shown and this node still lacks; 0: none has. */
  #awaited = 0;

  constructor(deps: ProvisionalDeps) {
    this.#deps = deps;
    this.#registrar = deps.settings.get("provisional");
    deps.store.onAccepted(({ kind, body }) => {
      if (kind === "Revocation" && this.#awaited > 0 && body.version >= this.#awaited) this.#confirm();
    });
  }

  /** The registrar on whose word this node relies; `undefined` when it is confirmed, or was never in doubt. */
  get since(): NodeId | undefined {
    const { members, self } = this.#deps;
    return this.#registrar === undefined || members.of(self)?.registrar === true ? undefined : this.#registrar;
  }

  /** Whether a node is provisional, as far as this one was told. */
  is(node: NodeId): boolean {
    return node === this.#deps.self ? this.since !== undefined : this.#others.has(node);
  }

  begin(registrar: NodeId): void {
    this.#deps.settings.set("provisional", registrar);
    this.#registrar = registrar;
  }

  /** Tells neighbours, and hears them, from now on. Returns how to stop. */
  connect(host: Host): () => void {
    this.#host = host;
    host.onMessage(PROVISIONAL_MESSAGE, ({ nodeId }, body) => {
      const news = News.safeParse(body);
      if (news.data?.is === true) this.#others.add(nodeId);
      else this.#others.delete(nodeId);
    });
    return host.onSession((session, event) => {
      if (event === "down") this.#others.delete(session.nodeId);
      else if (this.since !== undefined) session.send(PROVISIONAL_MESSAGE, { is: true });
    });
  }

  /** A member said in its hello which revocation list it has. */
  heard(peer: NodeId, revocation: number): void {
    const since = this.since;
    if (since === undefined || peer === since) return;
    if (revocation <= revocationVersion(this.#deps.store)) this.#confirm();
    else this.#awaited = revocation;
  }

  /** Whether this node may pass the document with this id on to a peer. */
  mayTell(id: string, peer: NodeId): boolean {
    const since = this.since;
    return since === undefined || peer === since || !TRUST.some((prefix) => id.startsWith(prefix));
  }

  #confirm(): void {
    const { settings, store, log } = this.#deps;
    settings.delete("provisional");
    this.#registrar = undefined;
    this.#awaited = 0;
    log.info("a second member confirmed what is revoked", { version: revocationVersion(store) });
    for (const session of this.#host?.sessions() ?? []) session.send(PROVISIONAL_MESSAGE, { is: false });
  }
}
