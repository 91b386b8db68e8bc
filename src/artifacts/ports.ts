import type { ByteStream } from "#core";
import type { NodeId } from "#identity";

/** Streams to other nodes, as the swarm needs them; the daemon plugs the mesh in. Only nodes that were let in appear here. */
export interface SwarmNet {
  readonly self: NodeId;
  /** A new stream to a node; rejects when it cannot be reached or does not speak the protocol. */
  open(peer: NodeId, protocol: string, signal: AbortSignal): Promise<ByteStream>;
  handle(protocol: string, handler: (stream: ByteStream, peer: NodeId) => void): void;
  /** A node is gone, or no longer let in. Returns what ends the listening. */
  onPeerDown(listener: (peer: NodeId) => void): () => void;
}

/** Who may have, or be getting, a blob. */
export interface Holders {
  /** Nodes that are connected, so that asking them costs next to nothing; the nearest first. */
  neighbours(root: string): Iterable<NodeId>;
  /** Others, as an index of the whole fleet finds them; ends when there are no more for now. May repeat. */
  lookUp(root: string, signal: AbortSignal): AsyncIterable<NodeId>;
  /** This node has or is getting the blob: the index may name it. */
  announce(root: string): void;
}

/** Where nodes are: what stays in the site costs nothing, what crosses the WAN does. */
export interface Locality {
  readonly ownSite: string;
  /** `undefined` when it is not known; such a node counts as one of another site. */
  siteOf(peer: NodeId): string | undefined;
}
