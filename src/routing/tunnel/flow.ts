import { asError, type ByteSink, type ByteStream, Fault, lengthOf, streamEnded, Waiters } from "#core";
import { type GrowthBudget, ReceiveWindow, SendCredit } from "./flow-window.ts";
import { frameFault } from "./trunk-frame.ts";

/** What may wait in a flow before its sender has to: as much as goes out in one turn. */
const HIGH_WATER_BYTES = 256 * 1024;

/** What a flow tells its trunk. */
export type FlowPort = {
  nowMs: () => number;
  /** There is something to send. */
  wake: (flow: Flow) => void;
  credit: (flow: Flow, bytes: number) => void;
  /** Nothing goes out on it any more, and with `reset` the peer is to be told so. */
  over: (flow: Flow, reset?: Error) => void;
};

/** What a flow has to send next. */
export type Outgoing = { pieces: Uint8Array[]; bytes: number; isLast: boolean };

/** One connection within a trunk: a stream of bytes each way, with a window of its own each way. */
export class Flow implements ByteStream {
  readonly id: number;
  /** Resolves once the other side has taken the flow in; rejects with what ended it before. */
  readonly accepted: Promise<void>;
  readonly #port: FlowPort;
  readonly #accepting = Promise.withResolvers<void>();
  readonly #credit = new SendCredit();
  readonly #window: ReceiveWindow;
  #isAccepted: boolean;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #closing = false;
  #endSent = false;
  readonly #waiters = new Waiters();
  #held: Uint8Array[] = [];
  #sink: ByteSink | undefined;
  #delivering = false;
  #paused = false;
  #endReceived = false;
  #failure: Error | undefined;

  /** `isAccepted`: the peer opened it. */
  constructor(id: number, isAccepted: boolean, port: FlowPort, growth: GrowthBudget) {
    this.id = id;
    this.#port = port;
    this.#isAccepted = isAccepted;
    this.#window = new ReceiveWindow(growth, port.nowMs());
    this.accepted = this.#accepting.promise;
    this.accepted.catch(() => undefined); // also when nobody waits for it
    if (isAccepted) this.#accepting.resolve();
  }

  get heldBytes(): number {
    return this.#queuedBytes + lengthOf(this.#held);
  }

  send(...pieces: Uint8Array[]): boolean {
    if (this.#closing || this.#failure !== undefined) throw streamEnded(this.#failure);
    for (const piece of pieces) {
      if (piece.length === 0) continue;
      this.#queue.push(piece);
      this.#queuedBytes += piece.length;
    }
    if (this.canSend) this.#port.wake(this);
    return this.#queuedBytes < HIGH_WATER_BYTES;
  }

  drained(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    if (this.#closing || this.#failure !== undefined) return Promise.reject(streamEnded(this.#failure));
    if (this.#queuedBytes < HIGH_WATER_BYTES) return Promise.resolve();
    return this.#waiters.wait(signal);
  }

  listen(sink: ByteSink): void {
    this.#sink = sink;
    queueMicrotask(() => {
      this.#delivering = true;
      this.#deliver();
    });
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#deliver();
  }

  close(): void {
    if (this.#closing || this.#failure !== undefined) return;
    this.#closing = true;
    this.#waiters.reject(streamEnded(this.#failure));
    this.#port.wake(this);
  }

  abort(reason: Error): void {
    if (this.#failure !== undefined) return;
    const isOpen = !this.#isOver;
    this.fail(reason);
    if (isOpen) this.#port.over(this, reason);
  }

  /** Whether something can go out now. */
  get canSend(): boolean {
    if (this.#endSent || this.#failure !== undefined) return false;
    return this.#queuedBytes > 0 ? this.#credit.leftBytes > 0 : this.#closing;
  }

  /** Takes at most so much of what may go out now; for the trunk. */
  take(maxBytes: number): Outgoing {
    const bytes = Math.min(maxBytes, this.#queuedBytes, this.#credit.leftBytes);
    const pieces: Uint8Array[] = [];
    for (let left = bytes; left > 0; ) {
      const piece = this.#queue[0] as Uint8Array;
      if (piece.length > left) {
        pieces.push(piece.subarray(0, left));
        this.#queue[0] = piece.subarray(left);
        break;
      }
      pieces.push(piece);
      this.#queue.shift();
      left -= piece.length;
    }
    this.#credit.spend(bytes);
    this.#queuedBytes -= bytes;
    if (this.#queuedBytes < HIGH_WATER_BYTES) this.#waiters.resolve();
    const isLast = this.#closing && this.#queuedBytes === 0;
    if (isLast) {
      this.#endSent = true;
      if (this.#isOver) this.#port.over(this);
    }
    return { pieces, bytes, isLast };
  }

  /** The other side took the flow in. Throws Fault `routing.tunnel-frame`, as all that follow, where it may not say so. */
  acceptedByPeer(): void {
    if (this.#isAccepted) throw frameFault("a flow was accepted twice");
    this.#isAccepted = true;
    this.#accepting.resolve();
  }

  creditFromPeer(bytes: number): void {
    this.#mustBeAccepted();
    const couldSend = this.canSend;
    this.#credit.add(bytes);
    if (!couldSend && this.canSend) this.#port.wake(this);
  }

  dataFromPeer(piece: Uint8Array): void {
    this.#mustBeAccepted();
    if (this.#endReceived) throw frameFault("a flow went on behind its end");
    this.#window.arrived(piece.length);
    if (this.#delivering && !this.#paused && this.#held.length === 0) this.#hand(piece);
    else this.#held.push(piece);
  }

  endFromPeer(): void {
    this.#mustBeAccepted();
    if (this.#endReceived) throw frameFault("a flow ended twice");
    this.#endReceived = true;
    if (this.#isOver) this.#port.over(this);
    this.#deliver();
  }

  /** Ends it here only: the peer knows, or cannot be told. What waits in either direction is dropped. */
  fail(reason: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = reason;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#held = [];
    this.#accepting.reject(reason);
    this.#waiters.reject(streamEnded(this.#failure));
    queueMicrotask(() => this.#deliver());
  }

  get #isOver(): boolean {
    return this.#endSent && this.#endReceived;
  }

  #mustBeAccepted(): void {
    if (!this.#isAccepted) throw frameFault("a flow was used before it was accepted");
  }

  #deliver(): void {
    if (!this.#delivering) return;
    while (!this.#paused) {
      const piece = this.#held.shift();
      if (piece === undefined) break;
      this.#hand(piece);
    }
    const isDone = this.#endReceived && this.#held.length === 0 && !this.#paused;
    if (this.#sink === undefined || (!isDone && this.#failure === undefined)) return;
    const sink = this.#sink;
    this.#sink = undefined;
    this.#window.close();
    if (this.#failure === undefined) sink.end();
    else sink.end(this.#failure);
  }

  #hand(piece: Uint8Array): void {
    try {
      this.#sink?.data(piece);
    } catch (error) {
      return this.abort(asError(error)); // it costs this flow, not its trunk
    }
    const credit = this.#window.taken(piece.length, this.#port.nowMs());
    if (credit > 0 && !this.#endReceived && this.#failure === undefined) this.#port.credit(this, credit);
  }
}

/** The peer reset the flow. */
export function flowReset(cause?: Error): Fault {
  return new Fault("core.stream-reset", "the peer reset the stream", { cause });
}
