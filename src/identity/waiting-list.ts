import type { NodeId } from "./node-id.ts";

/** Devices that wait for approval; more are sent away until one is answered or gives up. */
export const MAX_WAITING = 1_000;
/** A device that has not asked for this long has gone: ten times its slowest poll. */
const FORGET_AFTER_MS = 10 * 60_000;
/** Poll interval: 2 s at first, growing to 60 s (protocols: joining). */
const FIRST_RETRY_MS = 2_000;
const LAST_RETRY_MS = 60_000;

/** A device that proved its key and waits for an operator. */
export type WaitingDevice = {
  node: NodeId;
  /** Hex SHA-256 of its public key: what an approval names. */
  keyHash: string;
  /** Hex; lets the device ask again without the whole exchange. */
  ticket: string;
  serial?: string;
  model?: string;
  site?: string;
  address: string;
  sinceMs: number;
  lastAskedMs: number;
  polls: number;
  code: string;
  reason: string;
};

/** The pending list. In memory only: nothing of a stranger is written before its evidence verifies; after a restart they ask again. */
export class WaitingList {
  readonly #byNode = new Map<NodeId, WaitingDevice>();

  /** Whether one more fits; a device that waits already always does. */
  hasRoom(node: NodeId, nowMs: number): boolean {
    this.#forget(nowMs);
    return this.#byNode.has(node) || this.#byNode.size < MAX_WAITING;
  }

  /** Adds the device, or notes that it asked again and keeps its ticket. Returns its entry and when it should ask next. */
  ask(
    device: Omit<WaitingDevice, "sinceMs" | "lastAskedMs" | "polls">,
    nowMs: number,
  ): { entry: WaitingDevice; retryMs: number } {
    const known = this.#byNode.get(device.node);
    const entry: WaitingDevice = {
      ...device,
      ticket: known?.ticket ?? device.ticket,
      sinceMs: known?.sinceMs ?? nowMs,
      lastAskedMs: nowMs,
      polls: (known?.polls ?? 0) + 1,
    };
    this.#byNode.set(device.node, entry);
    return { entry, retryMs: Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(10, entry.polls - 1)) };
  }

  of(node: NodeId): WaitingDevice | undefined {
    return this.#byNode.get(node);
  }

  remove(node: NodeId): void {
    this.#byNode.delete(node);
  }

  /** Who waits, longest first. */
  list(nowMs: number): WaitingDevice[] {
    this.#forget(nowMs);
    return [...this.#byNode.values()].toSorted((a, b) => a.sinceMs - b.sinceMs);
  }

  #forget(nowMs: number): void {
    for (const { node, lastAskedMs } of this.#byNode.values()) {
      if (nowMs - lastAskedMs > FORGET_AFTER_MS) this.#byNode.delete(node);
    }
  }
}
