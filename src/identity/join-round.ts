import { Fault } from "#core";

/** Redirects that one round follows; registrars whose documents differ for a moment may send a device back and forth. */
export const MAX_REDIRECTS = 4;

/** One round of a device over the addresses of its fleet: whom to ask next, until somebody decides. Pure. */
export class JoinRound {
  readonly #targets: string[][];
  readonly #asked = new Set<string>();
  #redirects = 0;
  /** The registrar that alone may decide, as another one said. */
  #home: string | undefined;
  #failure: unknown;

  /** `addresses`: where registrars may be, best first. */
  constructor(addresses: readonly string[]) {
    this.#targets = [...new Set(addresses)].map((address) => [address]);
  }

  /** Addresses of the next node to ask, none of them asked before in this round; `undefined` when nobody is left. */
  next(): string[] | undefined {
    for (let target = this.#targets.shift(); target !== undefined; target = this.#targets.shift()) {
      const fresh = [...new Set(target)].filter((address) => !this.#asked.has(address));
      for (const address of fresh) this.#asked.add(address);
      if (fresh.length > 0) return fresh;
    }
    return undefined;
  }

  /** The node asked last sent the device on: who decides comes next. */
  redirected({ addresses, home }: { addresses: readonly string[]; home?: string }): void {
    this.#redirects += 1;
    if (home !== undefined) this.#home = home;
    if (this.#redirects <= MAX_REDIRECTS) this.#targets.unshift([...addresses]);
  }

  /** The node asked last could not be reached, or did not keep to the protocol. */
  failed(error: unknown): void {
    this.#failure ??= error;
  }

  /** Why nobody decided. Fault `identity.home-unreachable`, `identity.redirects`, `identity.no-registrar`, or the first failure. */
  failure(): unknown {
    const home = this.#home;
    if (this.#redirects > MAX_REDIRECTS) {
      return new Fault("identity.redirects", "the fleet's registrars send this device to each other", {
        exit: "timeout",
        fix: "Their documents differ for a moment; the device tries again by itself. If it lasts: `portolan get links` on both.",
      });
    }
    if (home !== undefined) {
      return new Fault("identity.home-unreachable", `home registrar ${home} is not reachable, pending`, {
        exit: "offline",
        fix: `The device tries again by itself. If ${home} is gone for good, an admission operator runs \`portolan registrar handover ${home}\`.`,
      });
    }
    return (
      this.#failure ??
      new Fault("identity.no-registrar", "no registrar of the fleet answered", {
        exit: "offline",
        fix: "Try again later, or print a new token.",
      })
    );
  }
}
