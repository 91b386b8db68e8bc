import { yamux } from "@chainsafe/libp2p-yamux";
import type { Connection, MessageStream, StreamMuxer, StreamMuxerFactory } from "@libp2p/interface";
import type { Uint8ArrayList } from "uint8arraylist";
import { asError, type Clock, Fault } from "#core";
import { SocketConnection } from "./socket-connection.ts";
import { keepPaused, tellWindowsInSteps } from "./yamux-windows.ts";

tellWindowsInSteps();
keepPaused();

/** First window of a stream over native TLS (docs/spec/transport.md): a fresh stream need not wait for it to grow. */
export const NATIVE_WINDOW_BYTES = 1024 * 1024;
/** First window where the peer may be any libp2p node (yamux specification). */
export const STANDARD_WINDOW_BYTES = 256 * 1024;
/** Windows grow up to this: at 100 ms round trip 4 MiB carry 335 Mbit/s. A paused stream holds that much, below its read limit. */
export const MAX_WINDOW_BYTES = 4 * 1024 * 1024;
const MAX_READ_BUFFER_BYTES = 9 * 1024 * 1024;
/** A writer that does not wait for `drained` loses its stream here, not the process its memory. */
const MAX_WRITE_BUFFER_BYTES = 16 * 1024 * 1024;
/** Streams per connection and direction; above the sum of what our protocols open: trunks of tunnels 1,024, each other 256 at most. */
export const MAX_STREAMS = 2_048;

/** What a peer may use of us before the hello has accepted it (docs/spec/hello.md). */
export type StrangerLimits = { maxBytes: number; maxStreams: number };

// yamux frame header (hashicorp/yamux spec): version 1, type 1, flags 2, stream 4, length 4
const HEADER_BYTES = 12;
const TYPE_DATA = 0;
const FLAG_SYN = 1;

/**
 * Watches the yamux frames of one connection, because yamux itself would gather a frame of up to 4 GiB before it looks at
 * it: no frame over the largest window, and for a stranger no more bytes and streams than it was given.
 */
export class MuxGuard {
  readonly #clock: Clock;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  #bodyBytes = 0; // of the current frame, still to come
  #limits: StrangerLimits | undefined;
  #heardMs: number;
  readonly #sending: () => boolean;

  /** `sending`: whether the connection waits for the kernel to take what was sent. */
  constructor(clock: Clock, sending: () => boolean = () => false) {
    this.#clock = clock;
    this.#sending = sending;
    this.#heardMs = clock.nowMs();
  }

  /** When the last byte of the peer arrived, in the clock's monotonic milliseconds. */
  get heardMs(): number {
    return this.#heardMs;
  }

  /** Whether what was sent waits for the kernel to take it; `false` where that cannot be seen. */
  get sending(): boolean {
    return this.#sending();
  }

  /** From now on the peer may send this much; `undefined`: it is a member. */
  limit(limits: StrangerLimits | undefined): void {
    this.#limits = limits === undefined ? undefined : { ...limits };
  }

  /** Looks at what arrived. Throws Fault `mesh.frame` or `mesh.stranger-limit`, and the connection must end. */
  check(data: Uint8Array | Uint8ArrayList): void {
    this.#heardMs = this.#clock.nowMs();
    if (this.#limits !== undefined) {
      this.#limits.maxBytes -= data.byteLength;
      if (this.#limits.maxBytes < 0) throw overLimit("bytes");
    }
    if (data instanceof Uint8Array) this.#scan(data);
    else for (const piece of data) this.#scan(piece);
  }

  #scan(piece: Uint8Array): void {
    let at = 0;
    while (at < piece.length) {
      if (this.#bodyBytes > 0) {
        const skip = Math.min(this.#bodyBytes, piece.length - at);
        this.#bodyBytes -= skip;
        at += skip;
        continue;
      }
      const take = Math.min(HEADER_BYTES - this.#headerBytes, piece.length - at);
      this.#header.set(piece.subarray(at, at + take), this.#headerBytes);
      this.#headerBytes += take;
      at += take;
      if (this.#headerBytes === HEADER_BYTES) this.#startFrame();
    }
  }

  #startFrame(): void {
    this.#headerBytes = 0;
    if (
      this.#limits !== undefined &&
      (this.#header.readUInt16BE(2) & FLAG_SYN) !== 0 &&
      this.#header.readUInt32BE(4) !== 0
    ) {
      this.#limits.maxStreams -= 1;
      if (this.#limits.maxStreams < 0) throw overLimit("streams");
    }
    if (this.#header[1] !== TYPE_DATA) return;
    this.#bodyBytes = this.#header.readUInt32BE(8);
    if (this.#bodyBytes > MAX_WINDOW_BYTES) {
      throw new Fault("mesh.frame", `the peer announced a frame of ${this.#bodyBytes} bytes`, { exit: "invalid" });
    }
  }
}

function overLimit(what: string): Fault {
  return new Fault("mesh.stranger-limit", `a peer that has not been accepted used up its ${what}`, { exit: "denied" });
}

/** The muxers of all connections of a host, and their guards. */
export class MuxGuards {
  /** libp2p does not hand out a connection's muxer, but its live list of streams is the muxer's own. */
  readonly #guards = new WeakMap<object, { muxer: StreamMuxer; guard: MuxGuard }>();

  /** The guard of a connection; `undefined` for one that is not muxed by us, which must not be used. */
  of(connection: Connection): MuxGuard | undefined {
    return this.#guards.get(connection.streams)?.guard;
  }

  /** The muxer of a connection; `undefined` as above. */
  muxerOf(connection: Connection): StreamMuxer | undefined {
    return this.#guards.get(connection.streams)?.muxer;
  }

  set(muxer: StreamMuxer, guard: MuxGuard): void {
    this.#guards.set(muxer.streams, { muxer, guard });
  }
}

export type GuardedYamuxInit = {
  clock: Clock;
  guards: MuxGuards;
  /** Hold for every connection until `limit` is called on its guard. */
  limits: StrangerLimits;
  /** What a sender may send on a new stream. Both ends must assume the same: a peer that is sent more ends the connection. */
  initialWindowBytes: number;
};

/** yamux with our windows and a guard on every connection. */
export class GuardedYamux implements StreamMuxerFactory {
  readonly protocol: string;
  readonly #inner: StreamMuxerFactory;
  readonly #init: GuardedYamuxInit;

  constructor(init: GuardedYamuxInit) {
    this.#init = init;
    this.#inner = yamux({
      enableKeepAlive: true, // its first ping tells yamux the round trip by which windows grow; who is alive, our probes say
      keepAliveInterval: 3_600_000,
      maxInboundStreams: MAX_STREAMS,
      maxOutboundStreams: MAX_STREAMS,
      streamOptions: {
        initialStreamWindowSize: init.initialWindowBytes,
        maxStreamWindowSize: MAX_WINDOW_BYTES,
        maxReadBufferLength: MAX_READ_BUFFER_BYTES,
        maxWriteBufferLength: MAX_WRITE_BUFFER_BYTES,
      },
    })();
    this.protocol = this.#inner.protocol;
  }

  createStreamMuxer(connection: MessageStream): StreamMuxer {
    const sending = connection instanceof SocketConnection ? () => connection.sending : undefined;
    const guard = new MuxGuard(this.#init.clock, sending);
    guard.limit(this.#init.limits);
    connection.addEventListener("message", (event) => {
      try {
        guard.check(event.data);
      } catch (error) {
        event.stopImmediatePropagation(); // the muxer never sees it
        connection.abort(asError(error));
      }
    });
    const muxer = this.#inner.createStreamMuxer(connection);
    this.#init.guards.set(muxer, guard);
    return muxer;
  }
}
