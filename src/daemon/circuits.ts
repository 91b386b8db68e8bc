import type { CarriedHost } from "#mesh";
import { answerPings, Circuits, Reach, type Router } from "#routing";
import type { NodeState } from "./node-state.ts";

/** How this node reaches others, and what it carries. */
export type Ways = { circuits: Circuits; reach: Reach };

/** Opens circuits over the ways that the router knows, and carries those of others. */
export function startCircuits(
  state: NodeState,
  { host, router, transit }: { host: CarriedHost; router: Router; transit: boolean },
): Ways & Disposable {
  const { clock, random, log, data, store, members, trustedMs, whereabouts } = state;
  const circuits = new Circuits({
    host,
    clock,
    random,
    log,
    key: data.key.key,
    fleet: () => store.fleet,
    trustedMs,
    isMember: (node) => members.of(node) !== undefined,
    transit,
    pathsTo: (node) => router.ways(node),
    costAlong: (path) => router.costAlong(path),
  });
  const reach = new Reach({
    host,
    clock,
    addressesOf: (peer) => whereabouts.of(peer),
    circuit: (peer, signal) => circuits.connect(peer, signal),
  });
  answerPings(host);
  const unlisten = store.onAccepted(({ kind }) =>
    kind === "Revocation" || kind === "Tombstone" ? circuits.endRevoked() : undefined,
  );
  return {
    circuits,
    reach,
    [Symbol.dispose]: () => {
      unlisten();
      circuits[Symbol.dispose]();
    },
  };
}
