import type { Duplex } from "node:stream";
import { connect, TLSSocket } from "node:tls";
import type { Connection, Logger, StreamMuxerFactory, Upgrader } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { asError, Fault } from "#core";
import type { NodeId } from "#identity";
import { CHACHA } from "./cipher-order.ts";
import { SocketConnection } from "./socket-connection.ts";
import { type ByteSocket, STREAM_JOIN_BYTES } from "./socket-outbox.ts";
import { secured, type TlsContext } from "./tls-handshake.ts";

/** Exported from the TLS session (RFC 8446 §7.5): a secret that only its two ends have. */
const EXPORT_LABEL = "EXPORTER-portolan-circuit";
const EXPORT_BYTES = 32;

/** What both ends have and nobody in between, and the cipher that TLS agreed on. */
export type CarrierSecret = { bytes: Uint8Array; cipher: "aes-128-gcm" | "chacha20-poly1305" };

/** Bytes to and from a peer that come over no socket of this host: others carry them. */
export type Carrier = {
  /** For the handshake of TLS, and nothing after it. */
  handshake: Duplex;
  /** Everything after: the carrier itself seals it with the secret. */
  duplex: ByteSocket;
  /** Who must be at the other end. */
  peer: NodeId;
  /** The handshake is over. */
  secured(secret: CarrierSecret): void;
};

export type CarrierDeps = { tls: TlsContext; log: Logger; muxerFactory: StreamMuxerFactory; upgrader: Upgrader };

/**
 * Makes a connection like any other of what a carrier carries, so that nobody in between reads it. Who is at the other end is proved by the same TLS
 * as on a socket of this host, and its keys come from there, as QUIC's do (RFC 9001 §2.1); the records are the carrier's.
 *
 * Throws Fault `mesh.tls`, `mesh.certificate`, `mesh.wrong-peer`, or the signal's reason; the carrier is of no use then.
 */
export async function connectOver(carrier: Carrier, deps: CarrierDeps, signal: AbortSignal): Promise<Connection> {
  const socket = connect({ socket: carrier.handshake, ...deps.tls.options });
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
  const socket = new TLSSocket(carrier.handshake, { isServer: true, ...deps.tls.options });
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
  const remotePeer = await secured(socket, direction === "outbound" ? "secureConnect" : "secure", signal);
  if (remotePeer.toString() !== peer) {
    socket.destroy();
    throw new Fault("mesh.wrong-peer", `${remotePeer.toString()} is at the end of the circuit to ${peer}`, {
      exit: "denied",
    });
  }
  // OpenSSL says that a handshake is done just before it hands out the last message of it
  await new Promise<void>((resolve) => setImmediate(resolve));
  signal.throwIfAborted();
  carrier.secured({
    bytes: socket.exportKeyingMaterial(EXPORT_BYTES, EXPORT_LABEL, Buffer.alloc(0)),
    cipher: socket.getCipher().standardName === CHACHA ? "chacha20-poly1305" : "aes-128-gcm",
  });
  socket.destroy();
  const remoteAddr = multiaddr(`/p2p-circuit/p2p/${peer}`); // libp2p takes a connection from there for an indirect one
  const connection = new SocketConnection({ socket: duplex, remoteAddr, direction, log, joinBytes: STREAM_JOIN_BYTES });
  return { connection, options: { skipEncryption: true, skipProtection: true, remotePeer, signal, muxerFactory } };
}
