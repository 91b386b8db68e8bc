import { errorMessage, Fault } from "#core";
import {
  DEFAULT_SERVERS,
  type MeshNames,
  type MeshNamesDeps,
  rangeOf,
  type ServiceLookup,
  type Services,
  startMeshNames,
} from "#routing";
import { admission, claimBlock } from "./address-block.ts";
import type { DaemonConfig } from "./config.ts";
import type { NodeState } from "./node-state.ts";
import type { Tunnels } from "./tunnels.ts";

export type NamesDeps = { services: Services; lookup: ServiceLookup; tunnels: Tunnels };

/** Answers names of services, where the configuration says; `undefined`: it says nowhere, or it cannot be there, which the log says. */
export async function startNames(
  { clock, random, log, data, members, trustedMs }: NodeState,
  { services, lookup, tunnels }: NamesDeps,
  { names: wanted, namesFor }: Pick<DaemonConfig, "names" | "namesFor">,
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
    groups: () => members.groups(),
  };
  if (wanted === undefined) return await startMeshNames(deps, DEFAULT_SERVERS);
  if (wanted.host.startsWith("127.")) return await startMeshNames(deps, [wanted]);
  return await startInBlock(deps, wanted, namesFor);
}

/** With addresses that this machine's containers reach, too. */
async function startInBlock(
  deps: MeshNamesDeps,
  wanted: { host: string; port: number },
  networks: readonly string[],
): Promise<MeshNames | undefined> {
  const block = `${rangeOf(wanted.host)}.0.0/16`;
  await using stack = new AsyncDisposableStack();
  try {
    stack.use(await claimBlock(block));
  } catch (error) {
    deps.log.warn("names of services are not answered here", {
      reason: errorMessage(error),
      fix: error instanceof Fault ? error.fix : undefined,
    });
    return undefined;
  }
  const admits = admission(block, networks, () => deps.clock.nowMs());
  const names = await startMeshNames({ ...deps, admits }, [wanted]);
  if (names === undefined) return undefined;
  stack.use(names);
  const running = stack.move();
  return { server: names.server, ports: () => names.ports(), [Symbol.asyncDispose]: () => running.disposeAsync() };
}
