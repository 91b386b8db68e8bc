import type { Handlers } from "#api";
import type { Clock } from "#core";
import { daemonDown } from "../daemon-down.ts";
import type { Tunnels } from "../tunnels.ts";

/** How often the state of a listener is told, when it has changed. */
const TELL_MS = 500;

/** Ports of this machine that lead to services; each is open until its caller hangs up. */
export function tunnelHandlers(clock: Clock, tunnels: Tunnels | undefined): Pick<Handlers, "connect"> {
  return {
    connect: async (wanted, { signal, progress }) => {
      if (tunnels === undefined) {
        throw daemonDown();
      }
      const { listener: opened, missing } = await tunnels.listen(wanted);
      await using listener = opened;
      for (let told = ""; ; ) {
        const { fromSocketBytes, toSocketBytes, ...counts } = listener.counts;
        const bytes = { sentBytes: fromSocketBytes, receivedBytes: toSocketBytes };
        const now = { ...listener.address, protocol: listener.protocol, missing, ...counts, ...bytes };
        const text = JSON.stringify(now);
        if (text !== told) progress(now);
        told = text;
        await clock.sleep(TELL_MS, signal);
      }
    },
  };
}
