import { createServer, type Server, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import {
  type Listener,
  type ListenerEvents,
  type Logger,
  type StreamMuxerFactory,
  TypedEventEmitter,
  type Upgrader,
} from "@libp2p/interface";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import { type Clock, Fault, withDeadline } from "#core";
import { announcedHosts, formatAddress, parseAddress } from "./address.ts";
import { SocketConnection } from "./socket-connection.ts";
import { SOCKET_HIGH_WATER_BYTES } from "./socket-outbox.ts";
import type { StrangerBudget } from "./stranger-budget.ts";
import { secured, type TlsContext } from "./tls-handshake.ts";

/** First byte of a TLS record that carries a handshake (RFC 8446 §5.1). */
const TLS_HANDSHAKE = 0x16;
/** First byte of multistream-select: the length of "/multistream/1.0.0\n" (multistream-select specification). */
const MULTISTREAM = 0x13;
/** From accept to a peer whose key is known, on either protocol. */
export const SECURE_TIMEOUT_MS = 5_000;
/** Sockets in all, members included; the process has 1,024 files by default on small systems, 4,096 on the rest. */
const MAX_SOCKETS = 2_048;

export type TlsListenerDeps = {
  clock: Clock;
  log: Logger;
  tls: TlsContext;
  upgrader: Upgrader;
  /** Used over native TLS, without negotiation; over Noise libp2p negotiates its own. */
  muxerFactory: StreamMuxerFactory;
  budget: StrangerBudget;
  /** Hears why listening failed; libp2p itself passes on only a text. */
  onListenFailed: (fault: Fault) => void;
};

/** One TCP port for both kinds of peer: the first byte tells TLS from multistream and Noise. */
export class TlsListener extends TypedEventEmitter<ListenerEvents> implements Listener {
  readonly #deps: TlsListenerDeps;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #closing = new AbortController();

  constructor(deps: TlsListenerDeps) {
    super();
    this.#deps = deps;
    this.#server = createServer({
      noDelay: true,
      keepAlive: true,
      highWaterMark: SOCKET_HIGH_WATER_BYTES,
      pauseOnConnect: true, // nothing is read of a stranger before it has a place
    });
    this.#server.maxConnections = MAX_SOCKETS;
    this.#server.on("connection", (socket) => this.#accept(socket));
    this.#server.on("close", () => this.safeDispatchEvent("close"));
  }

  listen(address: Multiaddr): Promise<void> {
    const { host, port } = parseAddress(address.toString());
    return new Promise((resolve, reject) => {
      const onError = (cause: Error): void => {
        const fault = portFault(host, port, cause);
        this.#deps.onListenFailed(fault);
        reject(fault);
      };
      this.#server.once("error", onError);
      this.#server.listen(port, host, () => {
        this.#server.off("error", onError);
        this.#server.on("error", (error) => this.#deps.log.error("listening socket failed - %e", error));
        this.safeDispatchEvent("listening");
        resolve();
      });
    });
  }

  getAddrs(): Multiaddr[] {
    return this.bound().flatMap(({ host, port }) =>
      announcedHosts(host).map((announced) => multiaddr(formatAddress(announced, port))),
    );
  }

  /** The socket that it listens at. */
  bound(): { host: string; port: number }[] {
    const bound = this.#server.address();
    return bound === null || typeof bound === "string" ? [] : [{ host: bound.address, port: bound.port }];
  }

  updateAnnounceAddrs(): void {
    // nothing about our addresses depends on the certificate
  }

  async close(): Promise<void> {
    this.#closing.abort();
    for (const socket of this.#sockets) socket.destroy();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", () => undefined); // each stage below hears of it as a close; without a listener it would end the process
    this.#welcome(socket).catch((error: Error) => {
      this.#deps.log("inbound connection failed - %e", error);
      socket.destroy();
    });
  }

  async #welcome(socket: Socket): Promise<void> {
    const { clock, budget } = this.#deps;
    const host = socket.remoteAddress;
    const port = socket.remotePort;
    if (host === undefined || port === undefined) throw gone();
    const admitted = await budget.admit(host, port, this.#closing.signal);
    if (!admitted) throw new Fault("mesh.strangers", "too many connections of strangers");
    socket.once("close", () => budget.release(host, port));
    if (socket.destroyed) return budget.release(host, port);
    const remoteAddr = multiaddr(formatAddress(host, port));
    const what = `securing the connection from ${host}`;
    await withDeadline(
      clock,
      SECURE_TIMEOUT_MS,
      what,
      (signal) => this.#secure(socket, remoteAddr, signal),
      this.#closing.signal,
    );
  }

  async #secure(socket: Socket, remoteAddr: Multiaddr, signal: AbortSignal): Promise<void> {
    const { upgrader, muxerFactory, tls, log } = this.#deps;
    const first = await firstByte(socket, signal);
    if (first === TLS_HANDSHAKE) {
      const wrapped = new TLSSocket(socket, { isServer: true, ...tls.options });
      const remotePeer = await secured(wrapped, "secure", signal);
      const connection = new SocketConnection({ socket: wrapped, remoteAddr, direction: "inbound", log });
      const options = {
        skipEncryption: true,
        skipProtection: true,
        remotePeer,
        signal,
        muxerFactory,
      } as const;
      return upgrader.upgradeInbound(connection, options);
    }
    if (first === MULTISTREAM) {
      const connection = new SocketConnection({ socket, remoteAddr, direction: "inbound", log });
      return upgrader.upgradeInbound(connection, { signal });
    }
    throw new Fault("mesh.protocol", `the first byte 0x${first.toString(16)} is neither TLS nor libp2p`);
  }
}

/** Waits for the first byte and puts it back. */
function firstByte(socket: Socket, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void): void => {
      signal.removeEventListener("abort", onAbort);
      socket.off("readable", onReadable);
      socket.off("close", onClose);
      done();
    };
    const onReadable = (): void => {
      const bytes: unknown = socket.read();
      const first = bytes instanceof Uint8Array ? bytes[0] : undefined;
      if (first === undefined) return; // nothing yet
      socket.unshift(bytes);
      settle(() => resolve(first));
    };
    const onClose = (): void => settle(() => reject(gone()));
    const onAbort = (): void => settle(() => reject(signal.reason));
    signal.addEventListener("abort", onAbort, { once: true });
    socket.on("readable", onReadable);
    socket.once("close", onClose);
  });
}

function gone(): Fault {
  return new Fault("mesh.closed", "the peer closed the connection before it was secured");
}

function portFault(host: string, port: number, cause: Error): Fault {
  const inUse = "code" in cause && cause.code === "EADDRINUSE";
  return new Fault("mesh.listen", `cannot listen on ${host} port ${port}: ${inUse ? "it is in use" : cause.message}`, {
    exit: inUse ? "conflict" : "internal",
    fix: "Choose another address with --listen, or stop what uses this one.",
    cause,
  });
}
