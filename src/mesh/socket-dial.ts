import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { Fault } from "#core";
import type { DialAddress } from "./address.ts";

/** How sockets get out of this machine. */
export type DialRoute = {
  /** Hosts that are dialled directly even when there is a proxy. */
  isLan: (host: string) => boolean;
  /** An HTTP CONNECT proxy (RFC 9110 §9.3.6) for all others; edge sites often get out only that way. */
  proxy: URL | undefined;
};

/** Reads `http://host:port`. Throws Fault `mesh.proxy-url` (exit `invalid`). */
export function parseProxy(text: string | undefined): URL | undefined {
  if (text === undefined) return undefined;
  const proxy = URL.canParse(text) ? new URL(text) : undefined;
  if (proxy?.protocol === "http:" && proxy.hostname !== "") return proxy;
  throw new Fault("mesh.proxy-url", `"${text}" is not the address of an HTTP proxy`, {
    exit: "invalid",
    fix: "Write it like http://10.1.0.1:3128.",
  });
}

/**
 * Opens the TCP connection, through the proxy where the route says so.
 *
 * Throws Fault `mesh.dial` (nobody answers) or `mesh.proxy` (the proxy will not), both exit `offline`; rejects with the
 * signal's reason.
 */
export function dialSocket(address: DialAddress, route: Readonly<DialRoute>, signal: AbortSignal): Promise<Socket> {
  if (route.proxy === undefined || route.isLan(address.host)) return dialDirect(address, signal);
  return dialThroughProxy(address, route.proxy, signal);
}

function dialDirect(address: DialAddress, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = connect({ host: address.host, port: address.port, noDelay: true, keepAlive: true });
    const settle = (): void => {
      signal.removeEventListener("abort", onAbort);
      socket.off("connect", onConnect);
      socket.off("error", onError);
    };
    const onConnect = (): void => {
      settle();
      resolve(socket);
    };
    const onError = (cause: Error): void => {
      settle();
      reject(unreachable(address, cause));
    };
    const onAbort = (): void => {
      settle();
      socket.on("error", () => undefined);
      socket.destroy();
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("connect", onConnect);
    socket.once("error", onError);
  });
}

function dialThroughProxy(address: DialAddress, proxy: URL, signal: AbortSignal): Promise<Socket> {
  const target = `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const connecting = request({
      host: proxy.hostname,
      port: proxy.port || 80,
      method: "CONNECT",
      path: target,
      headers: { host: target },
      agent: false,
    });
    const onAbort = (): void => {
      connecting.destroy();
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    connecting.once("connect", (response, socket: Socket, head) => {
      signal.removeEventListener("abort", onAbort);
      if (response.statusCode === 200) {
        if (head.length > 0) socket.unshift(head);
        socket.setNoDelay(true);
        resolve(socket);
        return;
      }
      socket.destroy();
      reject(proxyFault(`proxy ${proxy.host} answered ${response.statusCode} for ${target}`));
    });
    connecting.on("error", (cause) => {
      signal.removeEventListener("abort", onAbort);
      reject(proxyFault(`proxy ${proxy.host} did not connect to ${target}: ${cause.message}`, cause));
    });
    connecting.end();
  });
}

function unreachable(address: DialAddress, cause: Error): Fault {
  const code = "code" in cause ? String(cause.code) : cause.message;
  return new Fault("mesh.dial", `nobody answers at ${address.host}:${address.port} (${code})`, {
    exit: "offline",
    fix: "Check that the node is up and that its port is open in the firewall.",
    details: { address: address.text, errno: code },
    cause,
  });
}

function proxyFault(message: string, cause?: Error): Fault {
  return new Fault("mesh.proxy", message, {
    exit: "offline",
    fix: "Check the proxy's address and that it allows CONNECT to this port.",
    cause,
  });
}
