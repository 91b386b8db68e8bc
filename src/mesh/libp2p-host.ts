import type { Connection, Stream } from "@libp2p/interface";
import { type ByteStream, type Clock, errorMessage, Fault, type Log } from "#core";
import type { NodeId } from "#identity";
import { parseAddress, parseNetworks } from "./address.ts";
import { Gatekeeper } from "./gatekeeper.ts";
import { HELLO_PROTOCOL } from "./hello-exchange.ts";
import type { Carrier } from "./carrier.ts";
import type {
  CarriedHost,
  HandleOptions,
  HostDeps,
  HostOptions,
  MessageHandler,
  OpenOptions,
  SessionListener,
  Stranger,
  StrangerConnection,
  StrangerHandlerLimits,
} from "./host.ts";
import { createNode, type Libp2pNode, type Libp2pParts } from "./libp2p-node.ts";
import { ProtocolStreams } from "./protocol-streams.ts";
import { ProbeSockets } from "./probe-sockets.ts";
import type { LiveSession, Session } from "./session.ts";
import { watchSessions } from "./session-watch.ts";
import { SharedDial } from "./shared-dial.ts";
import { parseProxy } from "./socket-dial.ts";

/** A host over libp2p, for what builds on libp2p itself: the DHT. */
export interface Libp2pBackedHost extends CarriedHost {
  readonly parts: Libp2pParts;
  /** Serves a protocol with libp2p's own streams, to neighbours only. */
  serveRaw(protocol: string, handler: (stream: Stream, connection: Connection) => void): void;
  /** Connections that are open, accepted or not. */
  connections(): number;
  /** The connection that carries the session with a neighbour. */
  connectionTo(peer: NodeId): Connection | undefined;
  /** Resolves when streams may be opened on it. */
  settled(connection: Connection): Promise<void>;
}

/** Starts listening and lets neighbours in through the gate. Throws Fault `mesh.address`, `mesh.cidr`, `mesh.proxy-url` or `mesh.listen`. */
export async function startHost(deps: HostDeps, options: Readonly<HostOptions>): Promise<Libp2pBackedHost> {
  for (const address of options.listen) parseAddress(address);
  const route = { isLan: parseNetworks(options.lan ?? []), proxy: parseProxy(options.proxy) };
  const node = await createNode(deps, { listen: options.listen, announce: options.announce ?? [], route });
  const host = new Libp2pHost(deps, node);
  await host.start();
  return host;
}

class Libp2pHost implements Libp2pBackedHost {
  readonly nodeId: NodeId;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #node: Libp2pNode;
  readonly #keeper: Gatekeeper;
  readonly #sockets: ProbeSockets;
  readonly #listeners = new Set<SessionListener>();
  readonly #messages = new Map<string, MessageHandler>();
  readonly #streams: ProtocolStreams;
  readonly #connecting = new Map<NodeId, SharedDial>();
  readonly #stop = new AbortController();

  constructor(deps: HostDeps, node: Libp2pNode) {
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#node = node;
    this.nodeId = node.libp2p.peerId.toString();
    this.#sockets = new ProbeSockets({ clock: deps.clock, log: deps.log, listening: node.listening });
    this.#keeper = new Gatekeeper({
      clock: deps.clock,
      log: deps.log,
      self: this.nodeId,
      stop: this.#stop.signal,
      random: deps.random,
      boot: deps.random.bytes(16),
      gate: deps.gate,
      guards: node.guards,
      addresses: () => this.addresses(),
      releaseStranger: node.releaseStranger,
      message: (session, kind, body) => this.#message(session, kind, body),
      changed: (session, event, reason) => this.#changed(session, event, reason),
    });
    this.#streams = new ProtocolStreams({ node, keeper: this.#keeper, clock: deps.clock, log: deps.log });
  }

  async start(): Promise<void> {
    const { libp2p, start } = this.#node;
    libp2p.addEventListener("connection:open", ({ detail }) => this.#keeper.opened(detail));
    libp2p.addEventListener("connection:close", ({ detail }) => this.#closed(detail));
    this.#streams.serve(HELLO_PROTOCOL, (stream, connection) => this.#keeper.acceptHello(stream, connection));
    await start();
    this.#sockets.open();
    const { isDirect } = this.#node;
    watchSessions({ clock: this.#clock, keeper: this.#keeper, sockets: this.#sockets, isDirect }, this.#stop.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("mesh.stopped", "the host is stopped"));
    this.#sockets[Symbol.dispose]();
    await this.#node.libp2p.stop();
  }

  addresses(): string[] {
    return this.#node.libp2p.getMultiaddrs().map((address) => address.toString());
  }

  async connect(addresses: readonly string[], signal: AbortSignal): Promise<Session> {
    const [first] = addresses;
    const peer = first === undefined ? undefined : parseAddress(first).nodeId;
    if (peer === undefined) return this.#connect(addresses, signal);
    const live = this.#keeper.sessions.get(peer);
    if (live !== undefined) return live;
    signal.throwIfAborted();
    let dial = this.#connecting.get(peer);
    if (dial === undefined) {
      dial = new SharedDial((inner) => this.#connect(addresses, inner).finally(() => this.#connecting.delete(peer)));
      this.#connecting.set(peer, dial);
    }
    return dial.join(signal);
  }

  session(peer: NodeId): Session | undefined {
    return this.#keeper.sessions.get(peer);
  }

  carriedSession(peer: NodeId): Session | undefined {
    return this.#keeper.carried.get(peer);
  }

  async connectOver(carrier: Carrier, signal: AbortSignal): Promise<Session> {
    return this.#keeper.greet(await this.#node.connectOver(carrier, signal), signal);
  }

  acceptOver(carrier: Carrier, signal: AbortSignal): Promise<void> {
    return this.#node.acceptOver(carrier, signal);
  }

  sessions(): Session[] {
    return [...this.#keeper.sessions.values()];
  }

  onSession(listener: SessionListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  open(peer: NodeId, protocol: string, signal: AbortSignal, options: OpenOptions = {}): Promise<ByteStream> {
    return this.#streams.openTo(peer, this.#keeper.sessions.get(peer), protocol, signal, options.eager);
  }

  openCarried(peer: NodeId, protocol: string, signal: AbortSignal, options: OpenOptions = {}): Promise<ByteStream> {
    return this.#streams.openTo(peer, this.#keeper.carried.get(peer), protocol, signal, options.eager);
  }

  handle(protocol: string, handler: (stream: ByteStream, peer: Session) => void, options: HandleOptions = {}): void {
    this.#streams.handle(protocol, handler, options);
  }

  serveRaw(protocol: string, handler: (stream: Stream, connection: Connection) => void): void {
    this.#streams.handleRaw(protocol, handler);
  }

  handleStranger(
    protocol: string,
    handler: (stream: ByteStream, peer: Stranger) => void,
    limits: Readonly<StrangerHandlerLimits>,
  ): void {
    this.#streams.handleStranger(protocol, handler, limits);
  }

  async settled(connection: Connection): Promise<void> {
    await this.#keeper.settled(connection);
  }

  get parts(): Libp2pParts {
    return this.#node.parts;
  }

  connections(): number {
    return this.#keeper.connections;
  }

  connectionTo(peer: NodeId): Connection | undefined {
    return this.#keeper.sessions.get(peer)?.link.connection;
  }

  async connectStranger(addresses: readonly string[], signal: AbortSignal): Promise<StrangerConnection> {
    const connection = await this.#node.dial(addresses, signal);
    return {
      nodeId: connection.remotePeer.toString(),
      address: connection.remoteAddr.toString(),
      open: (protocol, inner) => this.#streams.open(connection, protocol, inner),
      close: () => this.#keeper.close(connection),
    };
  }

  disconnect(peer: NodeId, reason: string): void {
    this.#keeper.disconnect(peer, reason);
  }

  part(peer: NodeId, reason: string): void {
    this.#keeper.part(peer, reason);
  }

  isBusy(peer: NodeId): boolean {
    const streams = this.connectionTo(peer)?.streams.length ?? 0;
    return streams > 1; // one is the session's
  }

  onMessage(kind: string, handler: MessageHandler): void {
    this.#messages.set(kind, handler);
  }

  async #connect(addresses: readonly string[], signal: AbortSignal): Promise<Session> {
    const connection = await this.#node.dial(addresses, signal);
    return this.#keeper.greet(connection, signal);
  }

  #closed(connection: Connection): void {
    const accepted = this.#keeper.closed(connection);
    const peer = connection.remotePeer;
    if (accepted || this.session(peer.toString()) !== undefined) return;
    // libp2p remembers everyone who ever connected; strangers must not fill its memory
    this.#node.libp2p.peerStore.delete(peer).catch((error: Error) => {
      this.#log.warn("peer not forgotten", { peer: peer.toString(), reason: error.message });
    });
  }

  #message(session: LiveSession, kind: string, body: unknown): void {
    const handler = this.#messages.get(kind);
    if (handler === undefined) return this.#log.debug("message of unknown kind", { peer: session.nodeId, kind });
    this.#guarded(`message ${kind}`, () => handler(session, body));
  }

  #changed(session: LiveSession, event: "up" | "down", reason?: string): void {
    this.#log.info(event === "up" ? "neighbour up" : "neighbour down", {
      peer: session.nodeId,
      name: session.name,
      reason,
    });
    for (const listener of this.#listeners) this.#guarded(`neighbour ${event}`, () => listener(session, event, reason));
  }

  /** What throws above must not take the session below with it. */
  #guarded(what: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#log.error("a listener failed", { what, reason: errorMessage(error) });
    }
  }
}
