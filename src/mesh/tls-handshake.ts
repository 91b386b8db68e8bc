import { constants } from "node:crypto";
import { createSecureContext, type SecureContext, type TLSSocket } from "node:tls";
import { publicKeyFromRaw } from "@libp2p/crypto/keys";
import type { PeerId } from "@libp2p/interface";
import { peerIdFromPublicKey } from "@libp2p/peer-id";
import { type Clock, type Ed25519Key, Fault, type Random } from "#core";
import { cipherOrder } from "./cipher-order.ts";
import { SOCKET_HIGH_WATER_BYTES } from "./socket-outbox.ts";
import { createTlsIdentity, nodeKeyOfCertificate } from "./tls-certificate.ts";

const ALPN = "libp2p";

/** What every TLS socket of this node starts from. */
export type TlsContext = {
  options: {
    secureContext: SecureContext;
    requestCert: true;
    /** Chains prove nothing here; `secured` judges the certificate instead, before a byte is read. */
    rejectUnauthorized: false;
    ALPNProtocols: string[];
    /** Node passes it on to the stream, though its types do not say so. */
    highWaterMark: number;
  };
};

/**
 * A fresh certificate for the node's key, and TLS 1.3 with it: no tickets and so no resumption or 0-RTT, and the cipher
 * that suits the slower side (a peer that puts ChaCha20 first has no AES instructions).
 */
export function createTlsContext(nodeKey: Ed25519Key, clock: Clock, random: Random): TlsContext {
  const secureContext = createSecureContext({
    ...createTlsIdentity(nodeKey, random.bytes(16)),
    minVersion: "TLSv1.3",
    ciphers: cipherOrder(clock),
    honorCipherOrder: true,
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_PRIORITIZE_CHACHA,
  });
  return {
    options: {
      secureContext,
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: [ALPN],
      highWaterMark: SOCKET_HIGH_WATER_BYTES,
    },
  };
}

/**
 * Waits until the handshake is done (`event`: `secure` on the server's side, `secureConnect` on the client's) and says
 * whose connection this is. Nothing of the application has been read by then.
 *
 * Throws Fault `mesh.certificate`, `mesh.tls`, or the signal's reason; the socket is destroyed then.
 */
export async function secured(
  socket: TLSSocket,
  event: "secure" | "secureConnect",
  signal: AbortSignal,
): Promise<PeerId> {
  // from here on: when the signal fires because the stream below failed, that failure is told before anybody can run who waits here
  socket.on("error", () => undefined);
  try {
    await handshake(socket, event, signal);
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined || socket.alpnProtocol !== ALPN) {
      throw new Fault("mesh.tls", "the peer speaks TLS but is not a libp2p node", { exit: "denied" });
    }
    return peerIdFromPublicKey(publicKeyFromRaw(nodeKeyOfCertificate(certificate)));
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function handshake(socket: TLSSocket, event: "secure" | "secureConnect", signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const settle = (done: () => void): void => {
      signal.removeEventListener("abort", onAbort);
      socket.off(event, onSecure);
      socket.off("error", onError);
      socket.off("close", onClose);
      done();
    };
    const onSecure = (): void => settle(resolve);
    const onError = (cause: Error): void => settle(() => reject(tlsFault(cause.message, cause)));
    const onClose = (): void => settle(() => reject(tlsFault("the peer closed the connection")));
    const onAbort = (): void => settle(() => reject(signal.reason));
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once(event, onSecure);
    socket.once("error", onError);
    socket.once("close", onClose);
  });
}

function tlsFault(why: string, cause?: Error): Fault {
  return new Fault("mesh.tls", `the TLS handshake failed: ${why}`, { exit: "offline", cause });
}
