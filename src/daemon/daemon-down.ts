import { Fault } from "#core";

/** Fault `api.daemon-down` (exit `offline`). `so`: what cannot be done therefore. */
export function daemonDown(so?: string): Fault {
  return new Fault("api.daemon-down", so === undefined ? "no daemon runs here" : `no daemon runs here, so ${so}`, {
    exit: "offline",
    fix: "portolan up",
  });
}
