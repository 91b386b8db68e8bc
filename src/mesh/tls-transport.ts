import { connect } from "node:tls";
import {
  type Connection,
  type CreateListenerOptions,
  type DialTransportOptions,
  type Listener,
  type Logger,
  type PeerId,
  type StreamMuxerFactory,
  serviceCapabilities,
  type Transport,
  transportSymbol,
} from "@libp2p/interface";
import type { Multiaddr } from "@multiformats/multiaddr";
import { asError, type Clock, Fault } from "#core";
import { parseAddress } from "./address.ts";
import { SocketConnection } from "./socket-connection.ts";
import { type DialRoute, dialSocket } from "./socket-dial.ts";
import type { StrangerBudget } from "./stranger-budget.ts";
import { secured, type TlsContext } from "./tls-handshake.ts";
import { TlsListener } from "./tls-listener.ts";

export type TlsTransportDeps = {
  clock: Clock;
  log: Logger;
  tls: TlsContext;
  muxerFactory: StreamMuxerFactory;
  budget: StrangerBudget;
  route: DialRoute;
  /** Takes in each listener that is made. */
  listeners: Set<TlsListener>;
  onListenFailed: (fault: Fault) => void;
};

/**
 * TLS 1.3 straight on the TCP socket, with the libp2p certificate: `/ip4/A/tcp/P/tls`. Both ends know that yamux
 * follows, so a connection is ready after the handshake. docs/spec/transport.md.
 */
export class TlsTransport implements Transport {
  readonly [transportSymbol] = true;
  readonly [Symbol.toStringTag] = "portolan/native-tls";
  readonly [serviceCapabilities] = ["@libp2p/transport"];
  readonly #deps: TlsTransportDeps;

  constructor(deps: TlsTransportDeps) {
    this.#deps = deps;
  }

  /** Throws Fault `mesh.dial`, `mesh.proxy`, `mesh.tls`, `mesh.certificate`, or `mesh.wrong-peer` when another node answers than the one in the address. */
  async dial(address: Multiaddr, options: DialTransportOptions): Promise<Connection> {
    const { tls, route, log } = this.#deps;
    const target = parseAddress(address.toString());
    const signal = options.signal;
    const tcp = await dialSocket(target, route, signal);
    tcp.on("error", () => undefined); // heard again from the TLS socket; without a listener it would end the process
    const socket = connect({ socket: tcp, ...tls.options });
    const remotePeer = await secured(socket, "secureConnect", signal);
    if (target.nodeId !== undefined && remotePeer.toString() !== target.nodeId) {
      socket.destroy();
      throw wrongPeer(target.nodeId, remotePeer, target.text);
    }
    const connection = new SocketConnection({ socket, remoteAddr: address, direction: "outbound", log });
    try {
      return await options.upgrader.upgradeOutbound(connection, {
        skipEncryption: true,
        skipProtection: true,
        remotePeer,
        signal,
        muxerFactory: this.#deps.muxerFactory,
      });
    } catch (error) {
      connection.abort(asError(error));
      throw error;
    }
  }

  createListener(options: CreateListenerOptions): Listener {
    const listener = new TlsListener({ ...this.#deps, upgrader: options.upgrader });
    this.#deps.listeners.add(listener);
    return listener;
  }

  listenFilter(addresses: Multiaddr[]): Multiaddr[] {
    return addresses.filter(isDialable);
  }

  dialFilter(addresses: Multiaddr[]): Multiaddr[] {
    return addresses.filter(isDialable);
  }
}

function isDialable(address: Multiaddr): boolean {
  try {
    parseAddress(address.toString());
    return true;
  } catch {
    return false;
  }
}

function wrongPeer(expected: string, found: PeerId, address: string): Fault {
  return new Fault("mesh.wrong-peer", `${address} is now the address of another node, ${found.toString()}`, {
    exit: "denied",
    fix: "Take the node's address from `portolan status` on that node, or a fresh token.",
    details: { expected, found: found.toString() },
  });
}
