import { Fault, withDeadline, type ByteStream } from "#core";
import type { Holders, Locality, SwarmNet } from "#artifacts";
import type { NodeId } from "#identity";
import type { Host } from "#mesh";
import type { Router } from "#routing";
import type { BlobIndex } from "./blob-index.ts";
import type { NodeState } from "./node-state.ts";

/** What artifacts need of the mesh, plugged into its ports. */
export type Mesh = { net: SwarmNet; locality: Locality; holders: Holders };

/** Dialling a member that is no neighbour yet. */
const CONNECT_MS = 10_000;

export type MeshDeps = {
  host: Host;
  index: BlobIndex;
  router: Router;
};

export function plugMesh(state: NodeState, { host, index, router }: MeshDeps): Mesh {
  const siteOf = (peer: NodeId): string | undefined => state.members.of(peer)?.site;
  const self = state.data.key.nodeId;
  return {
    net: {
      self,
      open: (peer, protocol, signal) => openTo(state, host, peer, protocol, signal),
      handle: (protocol, handler) => host.handle(protocol, (stream, peer) => handler(stream, peer.nodeId)),
      onPeerDown: (listener) =>
        host.onSession((session, event) => (event === "down" ? listener(session.nodeId) : undefined)),
    },
    locality: {
      get ownSite() {
        return siteOf(self) ?? "";
      },
      siteOf,
    },
    holders: {
      announce: (root) => index.announce(root),
      neighbours: () => {
        const near = host.sessions().map((session) => ({ session, cost: router.costOf(session).total }));
        return near.toSorted((a, b) => (a.cost < b.cost ? -1 : 1)).map(({ session }) => session.nodeId);
      },
      lookUp: (root, signal) => index.find(root, signal),
    },
  };
}

/** A stream to a member; who is no neighbour is dialled first. Throws Fault `daemon.no-address`, or as `Host.connect` and `Host.open`. */
export async function openTo(
  { clock, whereabouts }: NodeState,
  host: Host,
  peer: NodeId,
  protocol: string,
  signal: AbortSignal,
): Promise<ByteStream> {
  if (host.session(peer) === undefined) {
    const addresses = whereabouts.of(peer);
    if (addresses.length === 0)
      throw new Fault("daemon.no-address", `no address of ${peer} is known`, { exit: "offline" });
    await withDeadline(clock, CONNECT_MS, "connecting", (inner) => host.connect(addresses, inner), signal);
  }
  return host.open(peer, protocol, signal);
}
