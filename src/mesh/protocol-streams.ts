import type { Connection, Stream } from "@libp2p/interface";
import { type ByteStream, type Clock, errorMessage, Fault, type Log, withDeadline } from "#core";
import { agreementOn, openEagerly } from "./eager-stream.ts";
import type { Gatekeeper } from "./gatekeeper.ts";
import type { HandleOptions, Stranger, StrangerHandlerLimits } from "./host.ts";
import { Libp2pByteStream } from "./libp2p-byte-stream.ts";
import type { Libp2pNode } from "./libp2p-node.ts";
import type { LiveSession, Session } from "./session.ts";

/** Negotiating a protocol on a live connection. */
const OPEN_TIMEOUT_MS = 10_000;
/** Streams of one protocol on one connection; a swarm keeps a few, look-ups come in bursts. */
const MAX_PROTOCOL_STREAMS = 256;
const streamLimits = (max = MAX_PROTOCOL_STREAMS): { maxInboundStreams: number; maxOutboundStreams: number } => ({
  maxInboundStreams: max,
  maxOutboundStreams: max,
});

type Deps = { node: Libp2pNode; keeper: Gatekeeper; clock: Clock; log: Log };

/** Streams on connections: opened here, and served to members, or to strangers where that is meant. */
export class ProtocolStreams {
  readonly #deps: Deps;
  /** Protocols that do not wait until both ends have taken the other's hello in. */
  readonly #early = new Set<string>();

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** Opens a stream to whom a session is with; `to` is for the message where there is none. `eager`: without waiting for the peer's word on the protocol. */
  openTo(
    to: string,
    session: LiveSession | undefined,
    protocol: string,
    signal: AbortSignal,
    eager = false,
  ): Promise<ByteStream> {
    if (session === undefined)
      return Promise.reject(new Fault("mesh.not-connected", `no connection to ${to}`, { exit: "offline" }));
    const { connection } = session.link;
    const settled = this.#early.has(protocol) ? undefined : this.#deps.keeper.settled(connection);
    return this.open(connection, protocol, signal, settled, eager);
  }

  /** Opens a stream on a connection, once that is `settled`. Throws Fault `mesh.no-protocol`. */
  async open(
    connection: Connection,
    protocol: string,
    signal: AbortSignal,
    settled?: Promise<void>,
    eager = false,
  ): Promise<ByteStream> {
    const { node, clock } = this.#deps;
    const muxer = eager ? node.guards.muxerOf(connection) : undefined;
    const negotiate = async (inner: AbortSignal): Promise<ByteStream> => {
      await settled;
      try {
        if (muxer !== undefined)
          return new Libp2pByteStream(await openEagerly(muxer, protocol, inner), agreementOn(protocol));
        return new Libp2pByteStream(await connection.newStream([protocol], { signal: inner, ...streamLimits() }));
      } catch (cause) {
        const peer = connection.remotePeer.toString();
        throw new Fault("mesh.no-protocol", `${peer} does not open ${protocol}: ${errorMessage(cause)}`, {
          exit: "offline",
          cause,
        });
      }
    };
    return withDeadline(clock, OPEN_TIMEOUT_MS, `opening ${protocol}`, negotiate, signal);
  }

  handle(
    protocol: string,
    handler: (stream: ByteStream, peer: Session) => void,
    { early = false, maxStreams }: HandleOptions = {},
  ): void {
    if (early) this.#early.add(protocol);
    const accept = (stream: Stream, connection: Connection, session: Session): void => {
      const bytes = new Libp2pByteStream(stream); // before any wait, so that no end is missed
      const wait = early ? undefined : this.#deps.keeper.settled(connection);
      if (wait === undefined) handler(bytes, session);
      else
        wait.then(
          () => handler(bytes, session),
          () => undefined, // the connection ends
        );
    };
    this.#serveMembers(protocol, accept, maxStreams);
  }

  handleRaw(protocol: string, handler: (stream: Stream, connection: Connection) => void): void {
    this.#serveMembers(protocol, (stream, connection) => {
      Promise.resolve(this.#deps.keeper.settled(connection)).then(
        () => handler(stream, connection),
        () => undefined, // the connection ends
      );
    });
  }

  handleStranger(
    protocol: string,
    handler: (stream: ByteStream, peer: Stranger) => void,
    limits: Readonly<StrangerHandlerLimits>,
  ): void {
    const { keeper } = this.#deps;
    let open = 0;
    this.serve(protocol, (stream, connection) => {
      const member = keeper.sessionOf(connection) !== undefined;
      if (open >= limits.maxStreams || !(member || keeper.allowStranger(connection, limits.timeoutMs))) {
        stream.abort(new Fault("mesh.strangers", "too many strangers are joining", { exit: "denied" }));
        return;
      }
      open += 1;
      stream.addEventListener("close", () => {
        open -= 1;
      });
      const { remotePeer, remoteAddr } = connection;
      handler(new Libp2pByteStream(stream), { nodeId: remotePeer.toString(), address: remoteAddr.toString() });
    });
  }

  /** Serves a protocol to everybody. A handler that throws, or a stream that ends under it, costs that stream and nothing else. */
  serve(protocol: string, handler: (stream: Stream, connection: Connection) => void, maxStreams?: number): void {
    const { node, log } = this.#deps;
    node.libp2p.handle(protocol, handler, streamLimits(maxStreams)).catch((error: Error) => {
      log.error("protocol not served", { protocol, reason: error.message });
    });
  }

  #serveMembers(
    protocol: string,
    handler: (stream: Stream, connection: Connection, session: Session) => void,
    maxStreams?: number,
  ): void {
    const serve = (stream: Stream, connection: Connection): void => {
      const session = this.#deps.keeper.sessionOf(connection);
      if (session === undefined) stream.abort(new Fault("mesh.not-accepted", "say hello first", { exit: "denied" }));
      else handler(stream, connection, session);
    };
    this.serve(protocol, serve, maxStreams);
  }
}
