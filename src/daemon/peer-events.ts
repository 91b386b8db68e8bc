import { type Clock, RateLimit } from "#core";
import type { NodeId } from "#identity";
import type { EventEntry, EventLog } from "#policy";

/** What one member may put on record at once, and over time: each refused document of a hostile one, a few times over. */
const MEMBER_BURST = 50;
const MEMBER_PER_MINUTE = 5;
/** What all strangers together may: a site of 100 devices that come on the same morning. */
const STRANGERS_BURST = 200;
const STRANGERS_PER_MINUTE = 10;
/** Members that are told apart; the one that caused the oldest entry is forgotten first. */
const MAX_MEMBERS = 1_000;

/** Puts on record what peers cause, so that none of them can fill the disk or push everything else out of the bounded log. */
export class PeerEvents {
  readonly #events: EventLog;
  readonly #clock: Clock;
  readonly #strangers: RateLimit;
  readonly #members = new Map<NodeId, RateLimit>();

  constructor(events: EventLog, clock: Clock) {
    this.#events = events;
    this.#clock = clock;
    this.#strangers = new RateLimit(clock, STRANGERS_PER_MINUTE / 60, STRANGERS_BURST);
  }

  /** `member`: whose doing it is; `undefined` for a stranger, whose ids cost it nothing. Says whether it was recorded. */
  record(member: NodeId | undefined, entry: Omit<EventEntry, "seq" | "timeMs">): boolean {
    const limit = member === undefined ? this.#strangers : this.#limitOf(member);
    if (!limit.take()) return false;
    this.#events.record(entry);
    return true;
  }

  #limitOf(member: NodeId): RateLimit {
    const limit = this.#members.get(member) ?? new RateLimit(this.#clock, MEMBER_PER_MINUTE / 60, MEMBER_BURST);
    this.#members.delete(member);
    this.#members.set(member, limit);
    if (this.#members.size > MAX_MEMBERS) this.#members.delete(this.#members.keys().next().value ?? "");
    return limit;
  }
}
