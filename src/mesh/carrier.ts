import type { Duplex } from "node:stream";
import { connect, TLSSocket } from "node:tls";
import type { Connection, Logger, StreamMuxerFactory, Upgrader } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { asError, Fault } from "#core";
import type { NodeId } from "#identity";
import { SocketConnection } from "./socket-connection.ts";
import { STREAM_JOIN_BYTES } from "./socket-outbox.ts";
import { secured, type TlsContext } from "./tls-handshake.ts";

/** Exported from the TLS session (RFC 8446 §7.5): a secret that only its two ends have. */
const EXPORT_LABEL = "EXPORTER-portolan-circuit";
const EXPORT_BYTES = 32;

/** Bytes to and from a peer that come over no socket of this host: others carry them. */
export type Carrier = {
  duplex: Duplex;
  /** Who must be at the other end. */
  peer: NodeId;
  /** Is handed a secret that both ends have and nobody in between, once the handshake is over. */
  secured(secret: Uint8Array): void;
};

export type CarrierDeps = { tls: TlsContext; log: Logger; muxerFactory: StreamMuxerFactory; upgrader: Upgrader };

/**
 * Makes a connection like any other of what a carrier carries: the same TLS as on a socket of this host, so that nobody in between reads it.
 *
 * Throws Fault `mesh.tls`, `mesh.certificate`, `mesh.wrong-peer`, or the signal's reason; the carrier is destroyed then.
 */
export async function connectOver(carrier: Carrier, deps: CarrierDeps, signal: AbortSignal): Promise<Connection> {
  const socket = connect({ socket: carrier.duplex, ...deps.tls.options });
  const { connection, options } = await secureCarrier(carrier, socket, "outbound", deps, signal);
  try {
    return await deps.upgrader.upgradeOutbound(connection, options);
  } catch (error) {
    connection.abort(asError(error));
    throw error;
  }
}

/** The other end of `connectOver`. */
export async function acceptOver(carrier: Carrier, deps: CarrierDeps, signal: AbortSignal): Promise<void> {
  const socket = new TLSSocket(carrier.duplex, { isServer: true, ...deps.tls.options });
  const { connection, options } = await secureCarrier(carrier, socket, "inbound", deps, signal);
  try {
    await deps.upgrader.upgradeInbound(connection, options);
  } catch (error) {
    connection.abort(asError(error));
    throw error;
  }
}

async function secureCarrier(
  carrier: Carrier,
  socket: TLSSocket,
  direction: "inbound" | "outbound",
  { log, muxerFactory }: CarrierDeps,
  signal: AbortSignal,
) {
  const { duplex, peer } = carrier;
  duplex.on("error", () => undefined); // heard again from the TLS socket; without a listener it would end the process
  const remotePeer = await secured(socket, direction === "outbound" ? "secureConnect" : "secure", signal);
  if (remotePeer.toString() !== peer) {
    socket.destroy();
    throw new Fault("mesh.wrong-peer", `${remotePeer.toString()} is at the end of the circuit to ${peer}`, {
      exit: "denied",
    });
  }
  carrier.secured(socket.exportKeyingMaterial(EXPORT_BYTES, EXPORT_LABEL, Buffer.alloc(0)));
  const remoteAddr = multiaddr(`/p2p-circuit/p2p/${peer}`); // libp2p takes a connection from there for an indirect one
  const connection = new SocketConnection({ socket, remoteAddr, direction, log, joinBytes: STREAM_JOIN_BYTES });
  return { connection, options: { skipEncryption: true, skipProtection: true, remotePeer, signal, muxerFactory } };
}
