import type { Socket } from "node:dgram";
import { asError, type ByteStream, type Clock, Fault } from "#core";
import { DatagramReader, encodeDatagram } from "./datagrams.ts";
import type { Meter } from "./tcp-relay.ts";

/** A flow in which nothing came or went for so long is over. */
export const FLOW_IDLE_MS = 60_000;

/** Datagrams that the kernel has not taken yet; further ones are dropped. */
const MAX_UNSENT = 1_024;

/** Whether a socket has more to send than it gets rid of. */
export function isFull(socket: Socket): boolean {
  return socket.getSendQueueCount() >= MAX_UNSENT;
}

export type UdpFlowDeps = {
  clock: Clock;
  stream: ByteStream;
  meter: Meter;
  /** Hands over a datagram that came through the tunnel. */
  deliver: (datagram: Uint8Array) => void;
};

/**
 * Datagrams of one sender and receiver over a stream, until either side ends it or it is idle. It never waits: what comes while the stream takes no
 * more is dropped, the newest first, as a full queue in a network does.
 */
export class UdpFlow {
  readonly #deps: UdpFlowDeps;
  readonly #over = new AbortController();
  #usedMs: number;
  #isFull = false;

  constructor(deps: UdpFlowDeps) {
    this.#deps = deps;
    this.#usedMs = deps.clock.nowMs();
  }

  /** Sends a datagram; the buffer must not be changed afterwards. */
  push(datagram: Uint8Array): void {
    const { clock, stream, meter } = this.#deps;
    if (this.#isFull || this.#over.signal.aborted) return;
    this.#usedMs = clock.nowMs();
    meter.fromSocketBytes += datagram.length;
    try {
      if (stream.send(...encodeDatagram(datagram))) return;
    } catch (error) {
      return this.end(asError(error));
    }
    this.#isFull = true;
    stream.drained(this.#over.signal).then(
      () => {
        this.#isFull = false;
      },
      () => undefined, // the stream has ended
    );
  }

  /** Carries datagrams until the flow is over. */
  async run(): Promise<void> {
    const { clock, stream, meter, deliver } = this.#deps;
    const reader = new DatagramReader();
    stream.listen({
      data: (bytes) => {
        if (this.#over.signal.aborted) return;
        this.#usedMs = clock.nowMs();
        reader.push(bytes, (datagram) => {
          meter.toSocketBytes += datagram.length;
          deliver(datagram);
        });
      },
      end: () => this.end(),
    });
    const { signal } = this.#over;
    try {
      for (let leftMs = FLOW_IDLE_MS; leftMs > 0; leftMs = this.#usedMs + FLOW_IDLE_MS - clock.nowMs()) {
        await clock.sleep(leftMs, signal);
      }
    } catch {
      // it was ended
    }
    this.end();
    stream.abort(new Fault("routing.flow-over", "the flow of datagrams is over"));
  }

  /** Ends it now. */
  end(reason?: Error): void {
    this.#over.abort(reason);
  }
}
