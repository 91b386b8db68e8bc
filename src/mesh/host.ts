import type { ByteStream, Clock, Log, Random } from "#core";
import type { NodeId } from "#identity";
import type { Carrier } from "./carrier.ts";
import type { Gate } from "./gatekeeper.ts";
import type { Session } from "./session.ts";

export type { Session } from "./session.ts";

export type HostDeps = {
  clock: Clock;
  random: Random;
  log: Log;
  /** The 32-byte seed of the node's Ed25519 key. */
  seed: Uint8Array;
  gate: Gate;
};

export type HostOptions = {
  /** Where to listen: `/ip4/0.0.0.0/tcp/7433/tls`; port 0 takes a free one. Empty: this node only dials. */
  listen: readonly string[];
  /** Addresses to announce instead of what was found at the sockets; for a node behind a port forward. Without a node id. */
  announce?: readonly string[];
  /** Networks that are dialled directly even with a proxy, such as `10.1.0.0/16`. */
  lan?: readonly string[];
  /** `http://host:port` of an HTTP CONNECT proxy for everything outside `lan`. */
  proxy?: string;
};

/** A peer that has not said hello. Its node id is proved, nothing else. */
export type Stranger = { nodeId: NodeId; address: string };

export type StrangerHandlerLimits = {
  /** Streams of this protocol that strangers may have open at a time, in all. */
  maxStreams: number;
  /** How long a stranger's connection may live once it has opened one. */
  timeoutMs: number;
};

export type HandleOptions = {
  /** Also before a new neighbour has settled (see `GateVerdict`), in both directions. */
  early?: boolean;
  /** Streams of this protocol on one connection, in each direction; default 256. */
  maxStreams?: number;
};

/** A connection on which no hello is said. */
export type StrangerConnection = {
  nodeId: NodeId;
  address: string;
  open(protocol: string, signal: AbortSignal): Promise<ByteStream>;
  close(): void;
};

export type SessionListener = (session: Session, event: "up" | "down", reason?: string) => void;
export type MessageHandler = (session: Session, body: unknown) => void;

export type OpenOptions = {
  /**
   * What is sent first goes along with the question whether the peer speaks the protocol: a round trip sooner. One that does not resets the stream. For
   * protocols that every member speaks.
   */
  eager?: boolean;
};

/** The node's end of the mesh: it knows connections and neighbours, not what is said over them. */
export interface Host extends AsyncDisposable {
  readonly nodeId: NodeId;
  /** Where this node can be reached: `/ip4/A/tcp/P/tls/p2p/ID`. */
  addresses(): string[];
  /**
   * Dials one peer at any of its addresses and says hello; gives back the live session if there is one.
   *
   * Throws Fault `mesh.dial`, `mesh.proxy`, `mesh.tls`, `mesh.certificate`, `mesh.wrong-peer`, `mesh.refused` (by the
   * peer; `details.code` says why), `mesh.peer-refused` (by our gate), `mesh.hello-ended` or `core.deadline`.
   */
  connect(addresses: readonly string[], signal: AbortSignal): Promise<Session>;
  session(peer: NodeId): Session | undefined;
  sessions(): Session[];
  /** Tells of neighbours that come and go. Returns how to stop. */
  onSession(listener: SessionListener): () => void;
  /** Opens a stream to a neighbour. Throws Fault `mesh.not-connected`, `mesh.no-protocol` or `core.deadline`. */
  open(peer: NodeId, protocol: string, signal: AbortSignal, options?: OpenOptions): Promise<ByteStream>;
  /** Serves a protocol to neighbours. */
  handle(protocol: string, handler: (stream: ByteStream, peer: Session) => void, options?: HandleOptions): void;
  /** Serves a protocol to those who have not said hello. For joining only. */
  handleStranger(
    protocol: string,
    handler: (stream: ByteStream, peer: Stranger) => void,
    limits: Readonly<StrangerHandlerLimits>,
  ): void;
  /** Connects without a hello, for joining only. The caller closes it. Throws like `connect`. */
  connectStranger(addresses: readonly string[], signal: AbortSignal): Promise<StrangerConnection>;
  /** Ends all connections with the peer now. It may come back if the gate lets it. */
  disconnect(peer: NodeId, reason: string): void;
  /** Closes the connections with a neighbour in good order: what was sent to it still goes out. */
  part(peer: NodeId, reason: string): void;
  /** Whether streams are open between this node and a neighbour, besides the session's own. */
  isBusy(peer: NodeId): boolean;
  /** Hears messages of a kind that sessions send. One handler per kind. */
  onMessage(kind: string, handler: MessageHandler): void;
}

/**
 * A host that also keeps sessions over bytes that others carry. Such a session serves every protocol, but it is no link: the fleet's news and
 * documents do not go over it, and `session` and `sessions` do not know of it.
 */
export interface CarriedHost extends Host {
  /** Says hello to a peer over a carrier. Throws Fault as `connect` does. */
  connectOver(carrier: Carrier, signal: AbortSignal): Promise<Session>;
  /** The other end of `connectOver`: resolves when the peer may say hello. */
  acceptOver(carrier: Carrier, signal: AbortSignal): Promise<void>;
  carriedSession(peer: NodeId): Session | undefined;
  /** Opens a stream to a peer over its carried session. Throws as `open`. */
  openCarried(peer: NodeId, protocol: string, signal: AbortSignal, options?: OpenOptions): Promise<ByteStream>;
}
