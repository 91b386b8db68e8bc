import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { errorMessage, Fault } from "#core";
import { type ListenAddress, noListen } from "./listen-address.ts";
import type { Listener, ListenerCounts, ListenerDeps } from "./tunnel-listener.ts";
import { INITIAL_WINDOW_BYTES } from "./flow-window.ts";
import { isFull, UdpFlow } from "./udp-flow.ts";

/** Flows at a time, each of one sender; datagrams of further senders are dropped. */
export const MAX_FLOWS = 1_024;
/** A sender whom no instance took is not heard for so long: each of its datagrams would try again. */
const DEAF_MS = 2_000;

/** What comes from one sender: held until its tunnel is open, then sent. */
type Sender = { flow: UdpFlow | undefined; held: Uint8Array[]; heldBytes: number };

/** Listens for datagrams and carries those of each sender to an instance of a service, and back. Throws as `listenTcp`. */
export async function listenUdp(deps: ListenerDeps, address: ListenAddress): Promise<Listener> {
  const listener = new UdpListener(deps, isIPv6(address.host));
  await listener.listen(address);
  return listener;
}

class UdpListener implements Listener {
  readonly protocol = "udp";
  readonly counts: ListenerCounts = { open: 0, opened: 0, failed: 0, dropped: 0, fromSocketBytes: 0, toSocketBytes: 0 };
  readonly #deps: ListenerDeps;
  readonly #socket: Socket;
  readonly #senders = new Map<string, Sender>();
  readonly #stop = new AbortController();
  address: ListenAddress = { host: "", port: 0 };

  constructor(deps: ListenerDeps, v6: boolean) {
    this.#deps = deps;
    this.#socket = createSocket(v6 ? "udp6" : "udp4");
    this.#socket.on("message", (datagram, from) => this.#hear(datagram, from));
  }

  listen({ host, port }: ListenAddress): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = this.#socket;
      socket.once("error", (error) => {
        socket.close();
        reject(noListen({ host, port }, error));
      });
      socket.bind({ address: host, port, exclusive: true }, () => {
        this.address = { host, port: socket.address().port };
        socket.removeAllListeners("error");
        socket.on("error", (error) => this.#deps.log.warn("datagram not sent", { reason: error.message }));
        resolve();
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("routing.listener-closed", "the listener is closed"));
    for (const { flow } of this.#senders.values()) flow?.end();
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }

  #hear(datagram: Uint8Array, from: RemoteInfo): void {
    if (from.port === 0) return; // nobody can be answered there, and trying throws
    const key = `${from.address} ${from.port}`;
    let sender = this.#senders.get(key);
    if (sender === undefined) {
      if (this.#senders.size >= MAX_FLOWS || this.#deps.admits?.(from.address) === false) {
        this.counts.dropped += 1;
        return;
      }
      sender = { flow: undefined, held: [], heldBytes: 0 };
      this.#senders.set(key, sender);
      void this.#serve(sender, from).finally(() => this.#senders.delete(key));
    }
    if (sender.flow !== undefined) return sender.flow.push(datagram);
    if (sender.heldBytes + datagram.length > INITIAL_WINDOW_BYTES) return; // the newest is dropped
    sender.held.push(datagram);
    sender.heldBytes += datagram.length;
  }

  async #serve(sender: Sender, from: RemoteInfo): Promise<void> {
    const { counts } = this;
    const { clock, log } = this.#deps;
    counts.open += 1;
    try {
      await this.#carry(sender, from);
    } catch (error) {
      counts.failed += 1;
      log.debug("flow reached no instance", { reason: errorMessage(error) });
      sender.held = [];
      await clock.sleep(DEAF_MS, this.#stop.signal).catch(() => undefined);
    }
    counts.open -= 1;
  }

  /** Throws when no instance takes the flow. */
  async #carry(sender: Sender, { address, port }: RemoteInfo): Promise<void> {
    const { clock, opener, choose } = this.#deps;
    const tunnel = await opener.open({ choose, key: address, protocol: "udp" }, this.#stop.signal);
    try {
      await tunnel.opened;
      this.counts.opened += 1;
      const deliver = (datagram: Uint8Array): void => {
        if (!this.#stop.signal.aborted && !isFull(this.#socket)) this.#socket.send(datagram, port, address);
      };
      sender.flow = new UdpFlow({ clock, stream: tunnel.stream, meter: this.counts, deliver });
      for (const datagram of sender.held) sender.flow.push(datagram);
      sender.held = [];
      await sender.flow.run();
    } finally {
      tunnel.release();
    }
  }
}
