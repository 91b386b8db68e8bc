import type { Clock } from "#core";
import type { HighWaterFile } from "./high-water.ts";

/** A larger step takes the word of a second registrar (docs/spec/trusted-time.md). */
export const SOLO_STEP_MS = 5 * 60_000;
/** A larger step takes a registrar's fresh answer to this node, and only a node whose time nobody has confirmed since it started takes it. */
export const MAX_STEP_MS = 24 * 3_600_000;
/** How far members without a registrar may bring a node forward: a year switched off. */
export const MAX_HEARSAY_MS = 366 * 24 * 3_600_000;
/** How long a clock must run true before its own word goes on record: a wrongly set one is noticed meanwhile. */
const VOUCH_AFTER_MS = 6 * 3_600_000;
/** A clock without correction is off by no more (RFC 5905, MAXFREQ): less than that has certainly gone by. 22 min in a month. */
const MAX_DRIFT = 500e-6;
/** How often time that merely went by is written down; every write wears flash. */
const SAVE_EVERY_MS = 10 * 60_000;
/** Registrars whose word about one step is kept. */
const MAX_WITNESSES = 16;

export type BeaconVerdict =
  | { outcome: "accepted" }
  /** A second registrar has to say so too. */
  | { outcome: "waiting" }
  | { outcome: "refused"; code: "identity.time-back" | "identity.time-jump"; reason: string; fix: string };

export type TrustedTimeDeps = {
  clock: Clock;
  /** Seconds since the machine started, suspend included: `os.uptime`. */
  uptimeSeconds: () => number;
  /** Keeps the time across restarts. */
  marks: HighWaterFile;
};

/** A registrar's word. `fresh`: it answered this node's nonce, so nobody replays it. */
export type TimeWord = { timeMs: number; registrar: string; fresh?: boolean };

/** A moment of the fleet's time, and of the uptime. */
type Anchor = { timeMs: number; uptimeMs: number };

/**
 * The time that decisions use. What certainly went by is the *floor*: the time that was persisted, and the uptime since this
 * start, which nobody sets and which counts suspend. Nothing but the owners' reset goes behind it. Once registrars have confirmed
 * the time, it is theirs. Until then a stand-in counts, if it is later than the floor: what one registrar or the members around
 * say, else the machine's own clock. A stand-in is not persisted, so one that is far ahead does no lasting harm.
 */
export class TrustedTime {
  readonly #clock: Clock;
  readonly #uptimeMs: () => number;
  readonly #marks: HighWaterFile;
  #floor: Anchor;
  #confirmed: Anchor | undefined;
  #standIn: Anchor | undefined;
  #ownClock: { aheadMs: number; sinceMs: number } | undefined;
  /** Registrar → how far its word is ahead of the uptime. */
  readonly #witnesses = new Map<string, { aheadMs: number; fresh: boolean }>();

  constructor({ clock, uptimeSeconds, marks }: TrustedTimeDeps) {
    this.#clock = clock;
    this.#uptimeMs = () => uptimeSeconds() * 1_000;
    this.#marks = marks;
    this.#floor = { timeMs: marks.marks.timeMs, uptimeMs: this.#uptimeMs() };
  }

  /** Trusted Unix milliseconds, a whole number, as messages take it. Once confirmed it does not go back. */
  nowMs(): number {
    if (this.#confirmed !== undefined) return Math.max(this.floorMs(), this.#since(this.#confirmed));
    if (this.#standIn !== undefined) return Math.max(this.floorMs(), this.#since(this.#standIn));
    return this.#ownMs();
  }

  /** The time that has certainly come, in whole Unix milliseconds. */
  floorMs(): number {
    const { timeMs, uptimeMs } = this.#floor;
    return Math.floor(timeMs + Math.max(0, this.#uptimeMs() - uptimeMs) * (1 - MAX_DRIFT));
  }

  /** Whether registrars have confirmed the time since this start. */
  get confirmed(): boolean {
    return this.#confirmed !== undefined;
  }

  /**
   * Takes a registrar's word whose signature is already verified. `registrars`: how many the fleet has; with a single one its
   * word has to do.
   *
   * A step of up to 5 min is taken at once, up to a day when two registrars agree within 5 min. A larger one is taken only before
   * the time was confirmed, when one of the two is fresh. Until the second speaks, the first one's fresh word stands in.
   */
  observe({ timeMs, registrar, fresh = false }: TimeWord, registrars: number): BeaconVerdict {
    const baseMs = this.confirmed ? this.nowMs() : this.#ownMs();
    const stepMs = timeMs - baseMs;
    if (timeMs < this.floorMs() - SOLO_STEP_MS || (this.confirmed && stepMs < -SOLO_STEP_MS)) {
      return timeBack(timeMs, baseMs);
    }
    const far = Math.abs(stepMs) > MAX_STEP_MS;
    if (far && this.confirmed) return timeJump(timeMs, baseMs);
    if (Math.abs(stepMs) > SOLO_STEP_MS && !this.#agreed({ timeMs, registrar, fresh }, registrars > 1 ? 2 : 1, far)) {
      if (fresh && !this.confirmed) this.#standIn = this.#at(timeMs);
      return { outcome: "waiting" };
    }
    if (!this.confirmed || stepMs > 0) this.#confirmed = this.#at(timeMs);
    this.#witnesses.clear();
    this.saveNowAndThen();
    return { outcome: "accepted" };
  }

  /**
   * What another member's time is worth to this node: later than its own, at most a year, and only until registrars have
   * confirmed the time; otherwise this node's own. Unix milliseconds.
   */
  plausibleMs(timeMs: number): number {
    const nowMs = this.nowMs();
    const inReach = timeMs > nowMs && timeMs <= this.floorMs() + MAX_HEARSAY_MS;
    return inReach && !this.confirmed ? timeMs : nowMs;
  }

  /** Takes the word of a member, whose membership is already verified. Says whether this node's time went forward by it. */
  hear(timeMs: number): boolean {
    if (this.plausibleMs(timeMs) !== timeMs) return false;
    this.#standIn = this.#at(timeMs);
    return true;
  }

  /**
   * Carries out what the owners signed when the fleet had run ahead to `aheadMs`: nothing later than `timeMs` is certain any more.
   * Each version counts once, and only for a node that has run ahead too. Says whether this one had.
   */
  reset({ timeMs, aheadMs, version }: { timeMs: number; aheadMs: number; version: number }): boolean {
    const ranAhead = this.nowMs() >= aheadMs - MAX_STEP_MS;
    if (!this.#marks.resetTime(ranAhead ? timeMs : Number.MAX_SAFE_INTEGER, version) || !ranAhead) return false;
    this.#floor = this.#at(timeMs);
    this.#confirmed = undefined;
    this.#standIn = undefined;
    this.#witnesses.clear();
    return true;
  }

  /**
   * For a registrar that no other confirms, called now and then: its own clock goes on record once it has run true to the uptime
   * for some hours, at most a year ahead of the last record. If it dies later, little is lost.
   */
  vouchForOwnClock(): void {
    const uptimeMs = this.#uptimeMs();
    const aheadMs = this.#clock.wallMs() - uptimeMs;
    const steady = this.#ownClock;
    if (steady === undefined || Math.abs(steady.aheadMs - aheadMs) > SOLO_STEP_MS) {
      this.#ownClock = { aheadMs, sinceMs: uptimeMs };
      return;
    }
    const known = this.#marks.marks.timeMs > 0;
    const ownMs = this.#ownMs();
    if (this.confirmed || uptimeMs - steady.sinceMs < VOUCH_AFTER_MS) return;
    const due = ownMs - this.#marks.marks.timeMs >= SAVE_EVERY_MS;
    if (due && (!known || ownMs <= this.floorMs() + MAX_HEARSAY_MS)) this.#raise(ownMs);
  }

  /** Writes the time down if that was not done for a while. */
  saveNowAndThen(): void {
    if (this.#certainMs() - this.#marks.marks.timeMs >= SAVE_EVERY_MS) this.save();
  }

  /** Writes the time down, at the end of a run; of unconfirmed time only what went by. */
  save(): void {
    this.#raise(this.#certainMs());
  }

  #raise(timeMs: number): void {
    if (timeMs - this.#marks.marks.timeMs < 1) return;
    this.#marks.raise({ timeMs });
    this.#floor = this.#at(timeMs);
  }

  /** Without anybody's word: the machine's clock, but not before what was persisted. */
  #ownMs(): number {
    return Math.max(this.floorMs(), this.#clock.wallMs());
  }

  #certainMs(): number {
    return this.confirmed ? this.nowMs() : this.floorMs();
  }

  #at(timeMs: number): Anchor {
    return { timeMs, uptimeMs: this.#uptimeMs() };
  }

  #since({ timeMs, uptimeMs }: Anchor): number {
    return Math.floor(timeMs + Math.max(0, this.#uptimeMs() - uptimeMs));
  }

  #agreed({ timeMs, registrar, fresh = false }: TimeWord, needed: number, onlyFresh: boolean): boolean {
    const aheadMs = timeMs - this.#uptimeMs();
    const known = this.#witnesses.get(registrar);
    if (known !== undefined || this.#witnesses.size < MAX_WITNESSES) {
      const same = known !== undefined && Math.abs(known.aheadMs - aheadMs) <= SOLO_STEP_MS;
      this.#witnesses.set(registrar, { aheadMs, fresh: fresh || (same && known.fresh) });
    }
    const agreeing = [...this.#witnesses.values()].filter((word) => Math.abs(word.aheadMs - aheadMs) <= SOLO_STEP_MS);
    return agreeing.length >= needed && (!onlyFresh || agreeing.some((word) => word.fresh));
  }
}

function timeBack(timeMs: number, nowMs: number): BeaconVerdict {
  return {
    outcome: "refused",
    code: "identity.time-back",
    reason: `a registrar says ${iso(timeMs)}, but it is ${iso(nowMs)} already`,
    fix: "Set the registrar's clock. If it is the fleet's time that ran ahead, its owners take it back: portolan fleet reset-time.",
  };
}

function timeJump(timeMs: number, nowMs: number): BeaconVerdict {
  return {
    outcome: "refused",
    code: "identity.time-jump",
    reason: `a registrar says ${iso(timeMs)}, more than a day from this node's ${iso(nowMs)}`,
    fix: "Set the clock that is wrong, for example with `timedatectl set-ntp true`.",
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
