import type { Host, Session } from "#mesh";

/** Somebody that connected to this node by itself. */
export type Caller = { name: string; site: string; atMs: number };

/**
 * Whether others can dial this node, by who did: what it listens at says nothing, behind NAT or a firewall. Knows the last one from its own site and
 * the last one from another.
 */
export class Reachability implements Disposable {
  readonly #unlisten: () => void;
  #near: Caller | undefined;
  #far: Caller | undefined;

  /** `site`: this node's own. */
  constructor(host: Host, site: () => string | undefined, nowMs: () => number) {
    const heard = ({ direction, name, site: from }: Session): void => {
      if (direction !== "inbound") return;
      const caller = { name, site: from, atMs: nowMs() };
      if (from === site()) this.#near = caller;
      else this.#far = caller;
    };
    for (const session of host.sessions()) heard(session);
    this.#unlisten = host.onSession((session, event) => (event === "up" ? heard(session) : undefined));
  }

  get near(): Caller | undefined {
    return this.#near;
  }
  get far(): Caller | undefined {
    return this.#far;
  }

  [Symbol.dispose](): void {
    this.#unlisten();
  }
}
