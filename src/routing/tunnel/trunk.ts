import { asError, type ByteStream, type Clock, Fault, streamEnded } from "#core";
import { Flow, flowReset } from "./flow.ts";
import type { GrowthBudget } from "./flow-window.ts";
import {
  type ControlType,
  encodeHeader,
  encodeWindow,
  FRAME,
  frameFault,
  MAX_DATA_BYTES,
  readCredit,
  TrunkReader,
} from "./trunk-frame.ts";
import { decodeReset, encodeReset } from "./tunnel-wire.ts";

/** After so much of one flow it is the next one's turn, if others have something to send. */
const TURN_BYTES = 64 * 1024;
/** Frames but for data that wait while the stream takes no more; a peer that has us answer without listening loses the trunk. */
const MAX_WAITING_FRAMES = 16_384;
/** Flow numbers are 32 bits and never used twice. */
const MAX_FLOW_ID = 2 ** 32 - 1;

export type TrunkDeps = {
  clock: Clock;
  stream: ByteStream;
  growth: GrowthBudget;
  /** Hears of flows that the peer opens; without it, it may open none, and this side opens them. */
  opened?: (flow: Flow, request: Uint8Array) => void;
  /** Called once, when it has ended. */
  ended?: () => void;
  /** Called when a flow has ended and others may be left. */
  flowEnded?: () => void;
};

/**
 * Many flows over one stream, each with its window. Who opened the stream opens the flows. Flows that have something to send take turns of
 * 64 KiB; what gathers in one turn of the event loop goes out in one piece. The end of the stream resets the flows that are open.
 */
export class Trunk {
  readonly #deps: TrunkDeps;
  readonly #flows = new Map<number, Flow>();
  /** Flows that can send, the next one first. */
  readonly #ready = new Set<Flow>();
  readonly #reader = new TrunkReader({
    control: (type, id, payload) => this.#control(type, id, payload),
    data: (id, piece) => this.#known(id)?.dataFromPeer(piece),
  });
  readonly #port = {
    nowMs: () => this.#deps.clock.nowMs(),
    wake: (flow: Flow) => {
      this.#ready.add(flow);
      this.#schedule();
    },
    credit: (flow: Flow, bytes: number) => this.#push(encodeWindow(flow.id, bytes)),
    over: (flow: Flow, reset?: Error) => this.#over(flow, reset),
  };
  /** Frames but for data, in order. */
  #waiting: Uint8Array[] = [];
  #waitingFrames = 0;
  #lastId = 0;
  #pumping: NodeJS.Immediate | undefined;
  #isFull = false;
  #isClosing = false;
  #failure: Error | undefined;

  constructor(deps: TrunkDeps) {
    this.#deps = deps;
    deps.stream.listen({
      data: (bytes) => this.#hear(bytes),
      end: (error) => {
        if (error === undefined) deps.stream.close();
        this.#fail(error ?? streamEnded());
      },
    });
  }

  /** Flows that are open. */
  get flows(): number {
    return this.#flows.size;
  }

  get isOver(): boolean {
    return this.#failure !== undefined;
  }

  /** Asks for a flow, which may be used at once, within its first window. Throws Fault `core.stream-ended`. */
  open(request: Uint8Array): Flow {
    if (this.#failure !== undefined || this.#lastId === MAX_FLOW_ID) throw streamEnded(this.#failure);
    this.#lastId += 1;
    const flow = new Flow(this.#lastId, false, this.#port, this.#deps.growth);
    this.#flows.set(flow.id, flow);
    this.#push(encodeHeader(FRAME.open, flow.id, request.length), request);
    return flow;
  }

  /** Tells the peer that a flow which it opened is taken in. */
  accept(flow: Flow): void {
    if (this.#flows.get(flow.id) === flow) this.#push(encodeHeader(FRAME.accept, flow.id, 0));
  }

  /** Ends it in good order; for one without flows. */
  close(): void {
    this.#isClosing = true;
    this.#schedule();
  }

  /** Ends it at once, and its flows with it. */
  abort(reason: Error): void {
    this.#deps.stream.abort(reason);
    this.#fail(reason);
  }

  #hear(bytes: Uint8Array): void {
    if (this.#failure !== undefined) return;
    try {
      this.#reader.push(bytes);
    } catch (error) {
      this.abort(asError(error));
    }
  }

  #control(type: ControlType, id: number, payload: Uint8Array): void {
    if (type === FRAME.open) return this.#take(id, payload);
    const flow = this.#known(id);
    if (flow === undefined) return;
    if (type === FRAME.window) flow.creditFromPeer(readCredit(payload));
    else if (type === FRAME.accept) flow.acceptedByPeer();
    else if (type === FRAME.end) flow.endFromPeer();
    else this.#reset(flow, payload);
  }

  /** The peer opens a flow. Numbers only grow, so that what is said of one that is over is told from nonsense. */
  #take(id: number, request: Uint8Array): void {
    const { opened, growth } = this.#deps;
    if (opened === undefined || id <= this.#lastId) throw frameFault(`flow ${id} may not be opened`);
    this.#lastId = id;
    const flow = new Flow(id, true, this.#port, growth);
    this.#flows.set(id, flow);
    opened(flow, request);
  }

  /** `undefined` for a flow that is over on this side: the peer may not have heard of that. */
  #known(id: number): Flow | undefined {
    const flow = this.#flows.get(id);
    if (flow === undefined && (id > this.#lastId || id === 0)) throw frameFault(`there is no flow ${id}`);
    return flow;
  }

  #reset(flow: Flow, payload: Uint8Array): void {
    const reason = payload.length === 0 ? flowReset() : decodeReset(payload);
    this.#forget(flow);
    flow.fail(reason);
  }

  #over(flow: Flow, reset: Error | undefined): void {
    if (this.#flows.get(flow.id) !== flow) return;
    if (reset !== undefined) {
      const payload = encodeReset(reset);
      this.#push(encodeHeader(FRAME.reset, flow.id, payload.length), payload);
    }
    this.#forget(flow);
  }

  #forget(flow: Flow): void {
    this.#ready.delete(flow);
    if (this.#flows.delete(flow.id)) this.#deps.flowEnded?.();
  }

  #push(...frame: Uint8Array[]): void {
    if (this.#failure !== undefined) return;
    this.#waiting.push(...frame);
    this.#waitingFrames += 1;
    if (this.#waitingFrames > MAX_WAITING_FRAMES) this.abort(frameFault("the peer does not take what it asked for"));
    else this.#schedule();
  }

  #schedule(): void {
    if (!this.#isFull && this.#failure === undefined) this.#pumping ??= setImmediate(() => this.#pump());
  }

  #pump(): void {
    this.#pumping = undefined;
    try {
      while (this.#waiting.length > 0 || this.#ready.size > 0) {
        if (this.#deps.stream.send(...this.#batch())) continue;
        return this.#wait();
      }
      if (this.#isClosing) this.#deps.stream.close();
    } catch (error) {
      this.abort(asError(error));
    }
  }

  /** What goes out next: all messages, then data of each flow in turn. */
  #batch(): Uint8Array[] {
    const pieces = this.#waiting;
    this.#waiting = [];
    this.#waitingFrames = 0;
    let bytes = 0;
    for (const flow of this.#ready) {
      if (bytes >= MAX_DATA_BYTES) break;
      this.#ready.delete(flow);
      const out = flow.take(this.#ready.size === 0 ? MAX_DATA_BYTES : TURN_BYTES);
      if (out.bytes > 0) pieces.push(encodeHeader(FRAME.data, flow.id, out.bytes), ...out.pieces);
      if (out.isLast) pieces.push(encodeHeader(FRAME.end, flow.id, 0));
      if (flow.canSend) this.#ready.add(flow); // the loop comes to it again
      bytes += out.bytes;
    }
    return pieces;
  }

  #wait(): void {
    this.#isFull = true;
    this.#deps.stream.drained().then(
      () => {
        this.#isFull = false;
        this.#pump();
      },
      () => undefined, // the stream has ended, and says so
    );
  }

  #fail(reason: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = reason;
    clearImmediate(this.#pumping);
    this.#ready.clear();
    this.#waiting = [];
    const flows = [...this.#flows.values()];
    this.#flows.clear();
    const lost = reason instanceof Fault ? reason : flowReset(reason);
    for (const flow of flows) flow.fail(lost);
    this.#deps.ended?.();
  }
}
