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
      await using port = await tunnels.listen(wanted);
      for (let told = ""; ; ) {
        const { fromSocketBytes, toSocketBytes, ...counts } = port.counts;
        const bytes = { sentBytes: fromSocketBytes, receivedBytes: toSocketBytes };
        const now = { ...port.address, protocol: port.protocol, missing: [...port.missing], ...counts, ...bytes };
        const text = JSON.stringify(now);
        if (text !== told) progress(now);
        told = text;
        await clock.sleep(TELL_MS, signal);
      }
    },
  };
}
