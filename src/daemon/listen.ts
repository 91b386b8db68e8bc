import { isDeepStrictEqual } from "node:util";
import { faultCode } from "#core";
import { type Libp2pBackedHost, startHost } from "#mesh";
import { createGate } from "./admission.ts";
import type { DaemonConfig } from "./config.ts";
import type { NodeState } from "./node-state.ts";
import { lastAddresses } from "./remembered.ts";

/**
 * Starts the node's host. Where the configuration leaves the port open, the one of last time is taken if it is free.
 * Throws as `startHost`.
 */
export async function listen(state: NodeState, config: DaemonConfig, stop: AbortSignal): Promise<Libp2pBackedHost> {
  const { clock, random, log, data, settings } = state;
  const { announce, lan, proxy } = config;
  const deps = { clock, random, log, seed: data.key.seed, gate: createGate(state, data.key.nodeId, stop) };
  const start = (addresses: readonly string[]): Promise<Libp2pBackedHost> =>
    startHost(deps, {
      listen: addresses,
      lan,
      ...(announce.length === 0 ? {} : { announce }),
      ...(proxy === undefined ? {} : { proxy }),
    });
  const again = withLastPorts(config.listen, announce.length === 0 ? lastAddresses(settings) : []);
  try {
    return await start(again);
  } catch (error) {
    if (faultCode(error) !== "mesh.listen" || isDeepStrictEqual(again, config.listen)) throw error;
    log.warn("the port of last time is taken", { listen: again.join(" ") });
    return await start(config.listen);
  }
}

/**
 * Listen addresses with port 0 replaced by the port that this node had before, so that tokens, firewalls and the memory of
 * other nodes stay good over a restart. `before`: the addresses at which it was reached.
 */
export function withLastPorts(addresses: readonly string[], before: readonly string[]): string[] {
  return addresses.map((address) => {
    const [, family = ""] = address.split("/");
    const last = before.find((known) => known.startsWith(`/${family}/`));
    const port = /\/tcp\/(\d+)(?:\/|$)/u.exec(last ?? "")?.[1] ?? "0";
    return address.replace(/\/tcp\/0(?=\/|$)/u, `/tcp/${port}`);
  });
}
