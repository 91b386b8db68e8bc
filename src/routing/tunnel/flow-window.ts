import { frameFault } from "./trunk-frame.ts";

/** What either side of a flow may send before it hears of room for more: also what goes out before the tunnel is open. */
export const INITIAL_WINDOW_BYTES = 64 * 1024;
/** Windows grow up to this: at 100 ms round trip 4 MiB carry 335 Mbit/s. */
export const MAX_FLOW_WINDOW_BYTES = 4 * 1024 * 1024;
/** What all windows of one peer may grow by. With 1,024 flows that makes 96 MiB at most, if none of them is read. */
export const PEER_GROWTH_BYTES = 32 * 1024 * 1024;
/** Who uses half a window up within this has a window that is too small: so it holds about a second of what the reader takes. */
const GROW_WITHIN_MS = 500;
/** The peer is told of room when half of the window was taken; of the largest one, so much at a time: by halves, a long way would stand still for half of it. */
const STEP_BYTES = 512 * 1024;

/** Growth that is left for the windows of one peer. */
export class GrowthBudget {
  #leftBytes = PEER_GROWTH_BYTES;

  /** As much of `bytes` as there is. */
  take(bytes: number): number {
    const taken = Math.min(bytes, this.#leftBytes);
    this.#leftBytes -= taken;
    return taken;
  }

  giveBack(bytes: number): void {
    this.#leftBytes += bytes;
  }
}

/** What a peer may send on a flow, and when it is told of more. No I/O. */
export class ReceiveWindow {
  readonly #budget: GrowthBudget;
  #sizeBytes = INITIAL_WINDOW_BYTES;
  /** What the peer may still send. */
  #openBytes = INITIAL_WINDOW_BYTES;
  /** Taken by the reader, and not told to the peer. */
  #untoldBytes = 0;
  #toldMs: number;

  constructor(budget: GrowthBudget, nowMs: number) {
    this.#budget = budget;
    this.#toldMs = nowMs;
  }

  /** So much came. Throws Fault `routing.tunnel-frame` when that is more than there was room for. */
  arrived(bytes: number): void {
    this.#openBytes -= bytes;
    if (this.#openBytes < 0) throw frameFault("a flow sent more than its window");
  }

  /** The reader took so much. Returns the credit to tell the peer of; 0: none yet. */
  taken(bytes: number, nowMs: number): number {
    this.#untoldBytes += bytes;
    if (this.#untoldBytes < this.#stepBytes) return 0;
    const growth = nowMs - this.#toldMs <= GROW_WITHIN_MS ? this.#grow() : 0;
    const credit = this.#untoldBytes + growth;
    this.#openBytes += credit;
    this.#untoldBytes = 0;
    this.#toldMs = nowMs;
    return credit;
  }

  /** Nothing more comes: gives back what the window grew by. */
  close(): void {
    this.#budget.giveBack(this.#sizeBytes - INITIAL_WINDOW_BYTES);
    this.#sizeBytes = INITIAL_WINDOW_BYTES;
  }

  get #stepBytes(): number {
    return this.#sizeBytes < MAX_FLOW_WINDOW_BYTES ? this.#sizeBytes / 2 : STEP_BYTES;
  }

  #grow(): number {
    const growth = this.#budget.take(Math.min(this.#sizeBytes, MAX_FLOW_WINDOW_BYTES - this.#sizeBytes));
    this.#sizeBytes += growth;
    return growth;
  }
}

/** What this side may still send on a flow. No I/O. */
export class SendCredit {
  #leftBytes = INITIAL_WINDOW_BYTES;

  get leftBytes(): number {
    return this.#leftBytes;
  }

  spend(bytes: number): void {
    this.#leftBytes -= bytes;
  }

  /** Throws Fault `routing.tunnel-frame` for none, or more than the largest window. */
  add(bytes: number): void {
    this.#leftBytes += bytes;
    if (bytes === 0 || this.#leftBytes > MAX_FLOW_WINDOW_BYTES)
      throw frameFault(`a credit of ${bytes} bytes makes no sense`);
  }
}
