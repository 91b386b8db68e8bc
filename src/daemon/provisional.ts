import type { Log } from "#core";
import type { DocumentStore, Membership, NodeId } from "#identity";
import { revocationVersion } from "./admission.ts";
import type { Settings } from "./data-directory.ts";

/** Kinds by which a fleet decides whom it trusts. */
const TRUST = ["Charter/", "Operator/", "Registrar/", "Member/", "Revocation/", "Tombstone/"];

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
  #registrar: NodeId | undefined;
  /** The least version that somebody else has shown and this node has not; 0: nobody has. */
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

  begin(registrar: NodeId): void {
    this.#deps.settings.set("provisional", registrar);
    this.#registrar = registrar;
  }

  /** A member said in its hello which revocation list it has. */
  heard(peer: NodeId, revocation: number): void {
    const since = this.since;
    if (since === undefined || peer === since) return;
    if (revocation <= revocationVersion(this.#deps.store)) this.#confirm(peer);
    else this.#awaited = revocation;
  }

  /** Whether this node may pass a document on to a peer. */
  mayTell(id: string, peer: NodeId): boolean {
    const since = this.since;
    return since === undefined || peer === since || !TRUST.some((prefix) => id.startsWith(prefix));
  }

  #confirm(by?: NodeId): void {
    const { settings, store, log } = this.#deps;
    settings.delete("provisional");
    this.#registrar = undefined;
    this.#awaited = 0;
    log.info("confirmed by a second member", {
      revocation: revocationVersion(store),
      ...(by === undefined ? {} : { by }),
    });
  }
}
