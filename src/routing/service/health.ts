/** At rest a service is checked this often; sooner while it fails or was never checked. */
export const CHECK_MS = 10_000;
export const RECHECK_MS = 2_000;
/** While clients connect, so that hardly any of them meet a dead one: this often, and so soon after a failure that may be chance. */
const USED_CHECK_MS = 1_000;
const CONFIRM_MS = 500;
/** So many failures in a row make it unhealthy: one may be chance. One success makes it healthy. */
const FAILURES = 2;

/** How a check ended. `reason`: a few words that name no address, because others hear them. `output`: what a command printed. */
export type CheckResult = { ok: true; output?: string } | { ok: false; reason: string; output?: string };

/** How a service is at its host. Only a healthy one is offered to others. */
export type Health = {
  /** `unknown`: not checked yet, or only with a failure that may be chance. */
  state: "unknown" | "healthy" | "unhealthy";
  /** Unix milliseconds when it came to be so. */
  sinceMs: number;
  /** Why it became unhealthy; empty otherwise. */
  reason: string;
  /** Failures in a row. */
  failures: number;
  /** How the last check ended; absent before the first, and without a check. */
  last?: CheckResult;
};

/** Before the first check. */
export function unchecked(nowMs: number): Health {
  return { state: "unknown", sinceMs: nowMs, reason: "", failures: 0 };
}

/** After one more check. What is told stays as it was while the state does. */
export function nextHealth(before: Health, result: CheckResult, nowMs: number): Health {
  const failures = result.ok ? 0 : before.failures + 1;
  const state = result.ok ? "healthy" : failures >= FAILURES ? "unhealthy" : before.state;
  if (state === before.state) return { ...before, failures, last: result };
  return { state, sinceMs: nowMs, reason: result.ok ? "" : result.reason, failures, last: result };
}

/** How long until the next check, ms. `isUsed`: clients connect to it just now. */
export function checkInMs({ state, failures }: Health, isUsed: boolean): number {
  if (state !== "healthy") return RECHECK_MS;
  if (failures === 0) return isUsed ? USED_CHECK_MS : CHECK_MS;
  return isUsed ? CONFIRM_MS : RECHECK_MS;
}
