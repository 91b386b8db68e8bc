import type { OtherFleet } from "#mesh";
import type { PeerEvents } from "./peer-events.ts";

/** Fleets that are told apart; a network with more has other troubles. */
const MAX_FLEETS = 16;

/** Other fleets heard on the local network since start: each is put on record once. The two never mix. */
export class OtherFleets {
  readonly #events: PeerEvents;
  readonly #seen = new Map<string, OtherFleet>();

  constructor(events: PeerEvents) {
    this.#events = events;
  }

  /** The last address of each. */
  get all(): OtherFleet[] {
    return [...this.#seen.values()];
  }

  saw(seen: OtherFleet): void {
    const known = this.#seen.has(seen.tag);
    if (!known && this.#seen.size >= MAX_FLEETS) return;
    this.#seen.set(seen.tag, seen);
    if (known) return;
    this.#events.record(undefined, {
      type: "node.other-fleet",
      subject: seen.tag,
      outcome: "ok",
      message: `a node of another fleet answers on this network at ${seen.address}; it is left alone`,
    });
  }
}
