import type { AbortOptions, Logger, MessageStreamDirection } from "@libp2p/interface";
import { AbstractMultiaddrConnection, type SendResult } from "@libp2p/utils";
import type { Multiaddr } from "@multiformats/multiaddr";
import { Uint8ArrayList } from "uint8arraylist";
import { type ByteSocket, SocketOutbox } from "./socket-outbox.ts";

/**
 * Bytes that may gather within one turn of the event loop before they go up. TLS hands out records of 16 KiB; passing them
 * on one by one costs a third of the throughput (measured with bench/transport).
 */
const COALESCE_BYTES = 256 * 1024;

export type SocketConnectionInit = {
  /** Without Nagle's delay. */
  socket: ByteSocket;
  remoteAddr: Multiaddr;
  direction: MessageStreamDirection;
  log: Logger;
  /** See `SocketOutbox`. */
  joinBytes?: number;
};

/** A TCP or TLS socket, or what does as one, as libp2p sees it. Bytes come in as they were received. */
export class SocketConnection extends AbstractMultiaddrConnection {
  readonly #socket: ByteSocket;
  readonly #outbox: SocketOutbox;
  #received = new Uint8ArrayList();
  #flushing: NodeJS.Immediate | undefined;

  constructor(init: SocketConnectionInit) {
    super(init);
    const socket = init.socket;
    this.#socket = socket;
    this.#outbox = new SocketOutbox(socket, () => this.safeDispatchEvent("drain"), init.joinBytes);
    socket.on("data", (bytes: Uint8Array) => this.#receive(bytes));
    socket.resume(); // the listener had it paused
    socket.on("error", (error) => this.abort(error));
    socket.once("end", () => {
      this.#flush();
      this.onTransportClosed();
    });
    socket.once("close", () => {
      this.#flush();
      this.onTransportClosed();
    });
  }

  /** Whether the kernel has not taken all yet that was sent: its buffer is full, or this process has had no time to look. */
  get sending(): boolean {
    return this.#outbox.writing;
  }

  #receive(bytes: Uint8Array): void {
    this.#received.append(bytes);
    if (this.#received.byteLength >= COALESCE_BYTES) this.#flush();
    else this.#flushing ??= setImmediate(() => this.#flush());
  }

  #flush(): void {
    clearImmediate(this.#flushing);
    this.#flushing = undefined;
    const received = this.#received;
    if (received.byteLength === 0) return;
    this.#received = new Uint8ArrayList();
    this.onData(received);
  }

  override sendData(data: Uint8ArrayList): SendResult {
    const sentBytes = data.byteLength;
    return { sentBytes, canSendMore: this.#outbox.push(data) };
  }

  override sendClose(options?: AbortOptions): Promise<void> {
    if (this.#socket.destroyed) return Promise.resolve();
    const signal = options?.signal;
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(signal?.reason);
      this.#socket.once("close", () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#outbox.end();
    });
  }

  override sendReset(): void {
    this.#socket.destroy();
  }

  override sendPause(): void {
    this.#socket.pause();
  }

  override sendResume(): void {
    this.#socket.resume();
  }
}
