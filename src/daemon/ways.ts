import { matchesSelector, parseSelector } from "#api";
import { type ByteStream, memoryStreamPair } from "#core";
import { DEFAULT_TENANT, type NodeId } from "#identity";
import type { CarriedHost } from "#mesh";
import {
  answerPings,
  chooseInstances,
  Circuits,
  MAX_TUNNELS_OF_PEER,
  Reach,
  type Router,
  type ServiceLookup,
  type Services,
} from "#routing";
import type { NodeState } from "./node-state.ts";
import { Reachability } from "./reachability.ts";
import { type ServicePorts, Tunnels } from "./tunnels.ts";

/** How this node reaches others and their services, whether they reach it, and what it carries. */
export type Ways = { circuits: Circuits; reach: Reach; tunnels: Tunnels; reachability: Reachability };

export type WaysDeps = {
  host: CarriedHost;
  router: Router;
  services: Services;
  lookup: ServiceLookup;
  /** Whether this node passes on what is not for itself. */
  transit: boolean;
};

/** Opens circuits over the ways that the router knows, carries those of others, and tunnels to services over all of that. */
export function startWays(state: NodeState, deps: WaysDeps): Ways & Disposable {
  const { clock, random, log, data, store, members, trustedMs, whereabouts, topology } = state;
  const { host, router, transit } = deps;
  const stack = new DisposableStack();
  const mayUse = (peer: NodeId): boolean => Number.isFinite(topology.policy().admin(host.nodeId, peer));
  const circuits = stack.use(
    new Circuits({
      host,
      clock,
      random,
      log,
      key: data.key.key,
      fleet: () => store.fleet,
      trustedMs,
      isMember: (node) => members.of(node) !== undefined,
      isNear: (node) => {
        const own = members.of(host.nodeId);
        return own !== undefined && members.of(node)?.site === own.site;
      },
      mayUse,
      detour: (to, avoid) => router.detour(to, avoid),
      transit: () => transit && topology.policy().mayCarry(host.nodeId),
      pathsTo: (node) => router.ways(node),
      costAlong: (path) => router.costAlong(path),
    }),
  );
  const reach = new Reach({
    host,
    clock,
    addressesOf: (peer) => whereabouts.of(peer),
    mayUse,
    circuit: (peer, signal) => circuits.connect(peer, signal),
  });
  const reachability = stack.use(
    new Reachability(
      host,
      () => members.of(host.nodeId)?.site,
      () => clock.nowMs(),
    ),
  );
  answerPings(host);
  stack.defer(
    store.onAccepted(({ kind }) => (kind === "Revocation" || kind === "Tombstone" ? circuits.endRevoked() : undefined)),
  );
  const tunnels = stack.use(makeTunnels(state, deps, reach));
  return { circuits, reach, tunnels, reachability, [Symbol.dispose]: () => stack.dispose() };
}

/** Tunnels over links and circuits; to a service of this very node, within the process. */
function makeTunnels(state: NodeState, deps: WaysDeps, reach: Reach): Tunnels {
  const { clock, log, data } = state;
  const self = data.key.nodeId;
  let serve: (stream: ByteStream, peer: NodeId) => void = () => undefined;
  const open = async (node: NodeId, protocol: string, signal: AbortSignal): Promise<ByteStream> => {
    if (node !== self) return reach.open(node, protocol, signal);
    const [ours, theirs] = memoryStreamPair();
    serve(theirs, self);
    return ours;
  };
  const handle = (protocol: string, handler: typeof serve): void => {
    serve = handler;
    const maxStreams = MAX_TUNNELS_OF_PEER;
    deps.host.handle(protocol, (stream, peer) => handler(stream, peer.nodeId), { maxStreams });
  };
  return new Tunnels({ clock, log, open, handle }, servicePorts(state, deps));
}

/** A service is for the members of its tenant. */
function servicePorts({ data, members, random }: NodeState, { services, lookup }: WaysDeps): ServicePorts {
  const { directory, mayExpose } = services;
  return {
    targetOf: (tenant, name) => services.targetOf(tenant, name),
    mayReach: (peer, tenant) => members.of(peer)?.tenant === tenant,
    mayExpose,
    chooserOf: async ({ service, strategy, selector = "", openOf, ...wanted }) => {
      const tenant = wanted.tenant ?? members.of(data.key.nodeId)?.tenant ?? DEFAULT_TENANT;
      const terms = parseSelector(selector);
      const [first] = await lookup.find(service, tenant);
      return {
        protocol: first?.protocol,
        choose: (key) =>
          chooseInstances(directory.instances(service, tenant), {
            strategy,
            matches: ({ labels }) => matchesSelector(terms, labels),
            random,
            openOf,
            stickyTo: key,
          }),
      };
    },
  };
}
