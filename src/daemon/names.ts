import { DEFAULT_SERVERS, type MeshNames, type ServiceLookup, type Services, startMeshNames } from "#routing";
import type { DaemonConfig } from "./config.ts";
import type { NodeState } from "./node-state.ts";
import type { Tunnels } from "./tunnels.ts";

export type NamesDeps = { services: Services; lookup: ServiceLookup; tunnels: Tunnels };

/** Answers names of services, where the configuration says; `undefined`: it says nowhere, or it cannot be there, which the log says. */
export async function startNames(
  { clock, random, log, data, members, trustedMs }: NodeState,
  { services, lookup, tunnels }: NamesDeps,
  wanted: DaemonConfig["names"],
): Promise<MeshNames | undefined> {
  if (wanted === "off") return undefined;
  const deps = {
    clock,
    random,
    log,
    db: data.db,
    trustedMs,
    directory: services.directory,
    lookup,
    opener: tunnels.opener,
    self: data.key.nodeId,
    memberOf: (node: string) => members.of(node),
    members: () => members.nodes(),
  };
  return await startMeshNames(deps, wanted === undefined ? DEFAULT_SERVERS : [wanted]);
}
