import type { Handlers } from "#api";
import type { Host } from "#mesh";
import type { MeshNames, Router, ServiceLookup, Services } from "#routing";
import { daemonDown } from "../daemon-down.ts";
import type { Ways } from "../ways.ts";
import type { NodeState } from "../node-state.ts";
import type { RateKeeper } from "../rate-keeper.ts";
import { lastAddresses } from "../remembered.ts";
import type { JoinStatus } from "../standing.ts";
import { circuitHandlers } from "./circuits.ts";
import { documentHandlers } from "./documents.ts";
import { eventHandlers } from "./events.ts";
import { fleetHandlers } from "./fleet.ts";
import { limitHandlers } from "./limits.ts";
import { linkHandlers } from "./links.ts";
import { machineHandlers } from "./machine.ts";
import { mapHandlers } from "./map.ts";
import { nameHandlers } from "./names.ts";
import { nodeHandlers } from "./nodes.ts";
import { serviceHandlers } from "./services.ts";
import { type StatusDeps, statusHandlers } from "./status.ts";
import { topologyHandlers } from "./topology.ts";
import { tunnelHandlers } from "./tunnels.ts";

export type ControlDeps = {
  host: Host | undefined;
  /** Absent while the node does not run. */
  router: Router | undefined;
  /** Absent while the node does not run. */
  ways: Ways | undefined;
  /** Both are absent while the node does not run. */
  services: Services | undefined;
  lookup: ServiceLookup | undefined;
  /** Absent where names are answered nowhere. */
  names: MeshNames | undefined;
  join: () => JoinStatus;
  otherFleets: StatusDeps["otherFleets"];
  usage: StatusDeps["usage"];
  /** Absent while the node does not run. */
  limits: RateKeeper | undefined;
  artifacts: Pick<Handlers, "publish" | "publishTorrent" | "exportTorrent" | "fetch" | "pin" | "prune"> & {
    artifacts: Handlers["resources"]["artifacts"];
  };
  /** Stops the daemon, once the answer is out. */
  shutdown: () => void;
};

/** Everything that the control API can ask of this node. */
export function createHandlers(state: NodeState, deps: ControlDeps): Handlers {
  const { documents, pending, ...documentCalls } = documentHandlers(state);
  const { tokens, ...fleetCalls } = fleetHandlers(state, () => knownAddresses(state, deps.host));
  const { artifacts, ...artifactCalls } = deps.artifacts;
  const { links, routes, explain } = linkHandlers(state, deps);
  const { circuits, ping } = circuitHandlers(state, deps.ways);
  const { services, ...serviceCalls } = serviceHandlers(state, deps);
  return {
    ...documentCalls,
    ...topologyHandlers(state, deps),
    explain,
    ...fleetCalls,
    ...artifactCalls,
    ...serviceCalls,
    ...tunnelHandlers(state.clock, deps.ways?.tunnels),
    ...mapHandlers(state, deps.router),
    ...nameHandlers(deps.names),
    ...statusHandlers(state, { ...deps, reachability: deps.ways?.reachability }),
    ...limitHandlers(deps.limits),
    ...machineHandlers(state, deps.shutdown),
    ping,
    shutdown: async () => {
      if (deps.host === undefined) {
        throw daemonDown();
      }
      deps.shutdown();
      return { done: true };
    },
    resources: {
      documents,
      pending,
      tokens,
      artifacts,
      services,
      ...nodeHandlers(state, deps),
      links,
      routes,
      circuits,
      ...eventHandlers(state),
    },
  };
}

/** Where this node can be reached; while it does not run, where it could when it last did. */
function knownAddresses(state: NodeState, host: Host | undefined): string[] {
  return host?.addresses() ?? lastAddresses(state.settings);
}
