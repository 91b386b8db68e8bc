import type { Clock } from "#core";
import type { HighWaterFile } from "./high-water.ts";

/** A larger step forward takes the word of a second registrar (protocols: trusted time). */
export const SOLO_STEP_MS = 5 * 60_000;
/** A larger step is never taken on the word of registrars. */
export const MAX_STEP_MS = 24 * 3_600_000;
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

/**
 * The time that decisions use: max(persisted, last beacon + what went by since). What went by is measured by the uptime,
 * which nobody sets and which counts suspend. Until a beacon comes after a start, the machine's own clock stands in, but never
 * before what was persisted, and it is not persisted itself: a clock that is far ahead then does no lasting harm.
 */
export class TrustedTime {
  readonly #clock: Clock;
  readonly #uptimeSeconds: () => number;
  readonly #marks: HighWaterFile;
  #anchor: { timeMs: number; uptimeSeconds: number } | undefined;
  #witnesses = new Map<string, number>(); // registrar → how far its beacon is ahead of the uptime, in ms

  constructor({ clock, uptimeSeconds, marks }: TrustedTimeDeps) {
    this.#clock = clock;
    this.#uptimeSeconds = uptimeSeconds;
    this.#marks = marks;
  }

  /** Trusted Unix milliseconds. Once confirmed it does not go back. */
  nowMs(): number {
    const current = this.#anchor === undefined ? this.#clock.wallMs() : this.#sinceAnchor(this.#anchor);
    return Math.max(this.#marks.marks.timeMs, current);
  }

  /** Whether a registrar has confirmed the time since this start. */
  get confirmed(): boolean {
    return this.#anchor !== undefined;
  }

  /**
   * Takes a beacon whose signature is already verified. `registrar`: its key id. `registrars`: how many the fleet has; with a
   * single one its word has to do.
   *
   * A step of up to 5 min is taken at once, up to a day when two registrars agree within 5 min, a larger one never. Confirmed
   * time does not go back, and no time goes behind what was persisted.
   */
  observe(timeMs: number, registrar: string, registrars: number): BeaconVerdict {
    const nowMs = this.nowMs();
    const stepMs = timeMs - nowMs;
    const persistedMs = this.#marks.marks.timeMs;
    if (Math.abs(stepMs) > MAX_STEP_MS) return timeJump(timeMs, nowMs);
    if (stepMs < -SOLO_STEP_MS && (this.confirmed || timeMs < persistedMs)) return timeBack(timeMs, nowMs);
    if (Math.abs(stepMs) > SOLO_STEP_MS && !this.#agreed(timeMs, registrar, Math.min(2, registrars))) {
      return { outcome: "waiting" };
    }
    if (!this.confirmed || stepMs > 0) this.#anchor = { timeMs, uptimeSeconds: this.#uptimeSeconds() };
    this.#witnesses.clear();
    if (this.nowMs() - persistedMs >= SAVE_EVERY_MS) this.save();
    return { outcome: "accepted" };
  }

  /** Writes the time down, at the end of a run. Unconfirmed time is not written. */
  save(): void {
    if (this.confirmed) this.#marks.raise({ timeMs: this.nowMs() });
  }

  #sinceAnchor({ timeMs, uptimeSeconds }: { timeMs: number; uptimeSeconds: number }): number {
    return timeMs + Math.max(0, this.#uptimeSeconds() - uptimeSeconds) * 1_000;
  }

  #agreed(timeMs: number, registrar: string, needed: number): boolean {
    const aheadMs = timeMs - this.#uptimeSeconds() * 1_000;
    if (this.#witnesses.size < MAX_WITNESSES) this.#witnesses.set(registrar, aheadMs);
    const agreeing = [...this.#witnesses.values()].filter((other) => Math.abs(other - aheadMs) <= SOLO_STEP_MS);
    return agreeing.length >= needed;
  }
}

function timeBack(timeMs: number, nowMs: number): BeaconVerdict {
  return {
    outcome: "refused",
    code: "identity.time-back",
    reason: `a registrar says ${iso(timeMs)}, but it is ${iso(nowMs)} already`,
    fix: "Set the registrar's clock. If it is this node that is wrong, stop it, remove its file `high-water` and start it again.",
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
