import type { Socket } from "node:net";
import type { AbortOptions, Logger, MessageStreamDirection } from "@libp2p/interface";
import { AbstractMultiaddrConnection, type SendResult } from "@libp2p/utils";
import type { Multiaddr } from "@multiformats/multiaddr";
import { Uint8ArrayList } from "uint8arraylist";
import { readInto } from "./socket-intake.ts";
import { SocketOutbox } from "./socket-outbox.ts";

/**
 * Memory that bytes are read into, and bytes that may gather within one turn of the event loop before they go up. TLS hands out records of
 * 16 KiB; passing them on one by one costs a third of the throughput (measured with bench/transport).
 */
const BULK_BYTES = 256 * 1024;
/** The same for a connection on which little comes: there may be thousands. */
const QUIET_BYTES = 16 * 1024;

export type SocketConnectionInit = {
  socket: Socket;
  remoteAddr: Multiaddr;
  direction: MessageStreamDirection;
  log: Logger;
};

/** A TCP or TLS socket as libp2p sees it. */
export class SocketConnection extends AbstractMultiaddrConnection {
  readonly #socket: Socket;
  readonly #outbox: SocketOutbox;
  /** What was read before Node was told where to put it, or is where it cannot be told. */
  #early = new Uint8ArrayList();
  #memory = Buffer.allocUnsafeSlow(QUIET_BYTES);
  #filled = 0;
  #passed = 0;
  #flushing: NodeJS.Immediate | undefined;

  constructor(init: SocketConnectionInit) {
    super(init);
    const socket = init.socket;
    this.#socket = socket;
    this.#outbox = new SocketOutbox(socket, () => this.safeDispatchEvent("drain"));
    socket.setNoDelay(true);
    readInto(socket, (bytesRead) => this.#place(bytesRead));
    socket.on("data", (bytes: Uint8Array) => {
      this.#early.append(bytes);
      if (this.#early.byteLength >= BULK_BYTES) this.#flush();
      else this.#flushSoon();
    });
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

  /** Takes note of what came, and says where the next bytes go. */
  #place(bytesRead: number): Uint8Array {
    this.#filled += bytesRead;
    if (this.#filled === this.#memory.length) this.#renew();
    else if (bytesRead > 0) this.#flushSoon();
    return this.#memory.subarray(this.#filled);
  }

  /** Memory is not used again: whoever is passed it may keep it. */
  #renew(): void {
    const bulk = this.#filled - this.#passed >= QUIET_BYTES;
    this.#flush();
    this.#memory = Buffer.allocUnsafeSlow(bulk ? BULK_BYTES : QUIET_BYTES);
    this.#filled = 0;
    this.#passed = 0;
  }

  #flushSoon(): void {
    this.#flushing ??= setImmediate(() => this.#flush());
  }

  #flush(): void {
    clearImmediate(this.#flushing);
    this.#flushing = undefined;
    const early = this.#early;
    if (early.byteLength > 0) {
      this.#early = new Uint8ArrayList();
      this.onData(early);
    }
    const read = this.#memory.subarray(this.#passed, this.#filled);
    this.#passed = this.#filled;
    if (read.length > 0) this.onData(read);
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
