import { errorMessage, Fault, type FaultExit } from "#core";
import type { WireFault } from "./messages.ts";

/** HTTP status of each way to fail. */
export const STATUS_OF_EXIT: Readonly<Record<FaultExit, 400 | 403 | 404 | 409 | 500 | 503 | 504>> = {
  internal: 500,
  invalid: 400,
  denied: 403,
  missing: 404,
  conflict: 409,
  timeout: 504,
  offline: 503,
};

/** What the caller gets to see of whatever was thrown. */
export function toWireFault(error: unknown): WireFault {
  if (!(error instanceof Fault)) return { code: "api.internal", message: errorMessage(error), exit: "internal" };
  const { code, message, exit, fix } = error;
  return fix === undefined ? { code, message, exit } : { code, message, exit, fix };
}

/** The Fault that the other side threw. */
export function fromWireFault({ code, message, exit, fix }: WireFault): Fault {
  return new Fault(code, message, fix === undefined ? { exit } : { exit, fix });
}
