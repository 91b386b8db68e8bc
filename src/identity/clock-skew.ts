import { CLOCK_TOLERANCE_MS } from "./document.ts";

/** Why two clocks are too far apart to judge documents together. */
export type ClockProblem = { code: "identity.clock"; reason: string; fix: string };

/**
 * Compares the device's time with the registrar's, both Unix milliseconds. `undefined` when they agree within the tolerance
 * of documents. Said before anything is verified: with a wrong clock every document looks expired or not yet valid.
 */
export function judgeClocks(deviceMs: number, registrarMs: number): ClockProblem | undefined {
  const aheadMs = deviceMs - registrarMs;
  if (Math.abs(aheadMs) <= CLOCK_TOLERANCE_MS) return undefined;
  const direction = aheadMs > 0 ? "ahead of" : "behind";
  const times = `${new Date(deviceMs).toISOString()} there, ${new Date(registrarMs).toISOString()} at the registrar`;
  return {
    code: "identity.clock",
    reason: `the device's clock is ${span(Math.abs(aheadMs))} ${direction} the registrar's: ${times}`,
    fix: "Set the clock that is wrong, for example with `timedatectl set-ntp true`, and try again.",
  };
}

function span(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  if (minutes < 120) return `${minutes} minutes`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} hours` : `${Math.round(hours / 24)} days`;
}
