import { Duplex } from "node:stream";

type Callback = (error?: Error | null) => void;

/** What TLS runs over until both ends have a key from it. What it says after that goes nowhere. */
export class HandshakePipe extends Duplex {
  #send: ((pieces: Uint8Array[]) => void) | undefined;

  constructor(send: (pieces: Uint8Array[]) => void) {
    super();
    this.on("error", () => undefined); // TLS says so, too; without a listener it would end the process
    this.#send = send;
  }

  /** Bytes of the peer's TLS. */
  receive(pieces: readonly Uint8Array[]): void {
    if (this.#send === undefined || this.destroyed) return;
    for (const piece of pieces) this.push(piece);
  }

  /** The handshake is over. */
  close(): void {
    this.#send = undefined;
  }

  override _read(): void {
    // what comes is pushed
  }

  override _write(chunk: Uint8Array, _encoding: string, callback: Callback): void {
    this.#send?.([chunk]);
    callback();
  }
}
