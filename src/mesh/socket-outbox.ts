import type { Duplex } from "node:stream";

/** What waits below `push` before the sender is asked to wait, too. One yamux frame of our largest messages fits. */
export const SOCKET_HIGH_WATER_BYTES = 256 * 1024;
/** Largest plaintext of a TLS record (RFC 8446 §5.1). */
const RECORD_BYTES = 16 * 1024;

/** Over a stream in JavaScript a write takes a turn of the event loop, whatever its size; then it is worth a copy to have few of them. */
export const STREAM_JOIN_BYTES = 256 * 1024;

/** A socket, or what does as one. */
export type ByteSocket = Duplex & {
  /** Ends it, and destroys it once everything is written. */
  destroySoon(): void;
};

/**
 * Bytes on their way out of a socket. Node copies all pieces of a `writev` into one for TLS, so it is given one piece at a time: small ones
 * joined, up to one full record (or `joinBytes`), and large ones as they are.
 */
export class SocketOutbox {
  readonly #socket: ByteSocket;
  readonly #drained: () => void;
  readonly #joinBytes: number;
  #pieces: Uint8Array[] = [];
  #waitingBytes = 0;
  #writing = false;
  #full = false;
  #ending = false;

  /** `drained` is called when there is room again after `push` returned false. */
  constructor(socket: ByteSocket, drained: () => void, joinBytes = RECORD_BYTES) {
    this.#joinBytes = joinBytes;
    this.#socket = socket;
    this.#drained = drained;
  }

  /** Whether the kernel has not taken all yet of what was handed to it last. */
  get writing(): boolean {
    return this.#writing;
  }

  /** Takes pieces uncopied; false: wait until it has drained. */
  push(pieces: Iterable<Uint8Array>): boolean {
    for (const piece of pieces) {
      this.#pieces.push(piece);
      this.#waitingBytes += piece.length;
    }
    if (!this.#writing) this.#write();
    this.#full = this.#waitingBytes >= SOCKET_HIGH_WATER_BYTES;
    return !this.#full;
  }

  /** Ends the socket once everything is written. */
  end(): void {
    this.#ending = true;
    if (!this.#writing) this.#socket.destroySoon();
  }

  #write(): void {
    const bytes = this.#take();
    if (bytes === undefined) {
      if (this.#ending) this.#socket.destroySoon();
      return;
    }
    this.#writing = true;
    this.#socket.write(bytes, (error) => {
      this.#writing = false;
      if (error) return; // the socket says so, too
      this.#waitingBytes -= bytes.length;
      this.#write();
      if (!this.#full || this.#waitingBytes >= SOCKET_HIGH_WATER_BYTES) return;
      this.#full = false;
      this.#drained();
    });
  }

  #take(): Uint8Array | undefined {
    const joined: Uint8Array[] = [];
    let left = this.#joinBytes;
    for (let next = this.#pieces[0]; next !== undefined && left > 0; next = this.#pieces[0]) {
      if (joined.length > 0 && next.length > left) {
        joined.push(next.subarray(0, left));
        this.#pieces[0] = next.subarray(left);
        break;
      }
      this.#pieces.shift();
      joined.push(next);
      left -= next.length;
    }
    return joined.length > 1 ? Buffer.concat(joined) : joined[0];
  }
}
