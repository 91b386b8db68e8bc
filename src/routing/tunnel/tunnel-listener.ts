import { createServer, type Server, type Socket } from "node:net";
import { type Clock, errorMessage, Fault, type Log } from "#core";
import { KEEP_ALIVE_MS } from "./dial-target.ts";
import { type ListenAddress, noListen } from "./listen-address.ts";
import type { Choose } from "./ports.ts";
import { type Meter, relayTcp } from "./tcp-relay.ts";
import type { TunnelOpener } from "./tunnel-opener.ts";

/** Connections at a time; more are closed at once. */
export const MAX_CONNECTIONS = 4_096;
/** Connections that the kernel holds while this process is busy. */
const BACKLOG = 1_024;

export type ListenerDeps = {
  clock: Clock;
  log: Log;
  opener: TunnelOpener;
  choose: Choose;
  /** Whether whoever is at this address may use the port; absent: everybody who reaches it. */
  admits?: (address: string) => boolean;
};

/** What a listener did so far. */
export type ListenerCounts = {
  /** Connections or flows that are open, that were opened in all, that reached no instance, that there was no room for. */
  open: number;
  opened: number;
  failed: number;
  dropped: number;
} & Meter;

/** A port of this machine that leads to a service. Disposing of it closes the port and resets what is open. */
export interface Listener extends AsyncDisposable {
  readonly protocol: "tcp" | "udp";
  readonly address: ListenAddress;
  readonly counts: Readonly<ListenerCounts>;
}

/** Listens for TCP connections and carries each to an instance of a service. Throws Fault `routing.port-in-use` or `routing.listen`. */
export async function listenTcp(deps: ListenerDeps, address: ListenAddress): Promise<Listener> {
  const listener = new TcpListener(deps);
  await listener.listen(address);
  return listener;
}

class TcpListener implements Listener {
  readonly protocol = "tcp";
  readonly counts: ListenerCounts = { open: 0, opened: 0, failed: 0, dropped: 0, fromSocketBytes: 0, toSocketBytes: 0 };
  readonly #deps: ListenerDeps;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #stop = new AbortController();
  address: ListenAddress = { host: "", port: 0 };

  constructor(deps: ListenerDeps) {
    this.#deps = deps;
    this.#server = createServer({
      allowHalfOpen: true,
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on("drop", () => (this.counts.dropped += 1));
    this.#server.on("connection", (socket) => void this.#serve(socket));
  }

  listen({ host, port }: ListenAddress): Promise<void> {
    return new Promise((resolve, reject) => {
      const server = this.#server;
      server.once("error", (error) => reject(noListen({ host, port }, error)));
      server.listen({ host, port, backlog: BACKLOG }, () => {
        const bound = server.address();
        this.address = { host, port: typeof bound === "object" ? (bound?.port ?? port) : port };
        server.removeAllListeners("error");
        server.on("error", (error) => this.#deps.log.warn("connection not accepted", { reason: error.message }));
        resolve();
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("routing.listener-closed", "the listener is closed"));
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  async #serve(socket: Socket): Promise<void> {
    const { counts } = this;
    if (this.#deps.admits?.(socket.remoteAddress ?? "") === false) {
      counts.dropped += 1;
      socket.resetAndDestroy();
      return;
    }
    this.#sockets.add(socket);
    counts.open += 1;
    socket.on("error", () => undefined); // before there is a relay; its close says the rest
    try {
      await this.#carry(socket);
    } catch (error) {
      counts.failed += 1;
      this.#deps.log.debug("connection reached no instance", { reason: errorMessage(error) });
      socket.resetAndDestroy();
    }
    counts.open -= 1;
    this.#sockets.delete(socket);
  }

  /** Throws when no instance takes the connection. */
  async #carry(socket: Socket): Promise<void> {
    const { opener, choose } = this.#deps;
    const tunnel = await opener.open({ choose, key: socket.remoteAddress ?? "", protocol: "tcp" }, this.#stop.signal);
    try {
      this.counts.opened += 1;
      const relayed = relayTcp(socket, tunnel.stream, this.counts);
      const [reset] = await Promise.all([relayed, tunnel.opened]);
      if (reset !== undefined) this.#deps.log.debug("connection reset", { reason: reset.message });
    } finally {
      tunnel.release();
    }
  }
}
