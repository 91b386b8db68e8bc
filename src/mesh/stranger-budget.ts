import { isIPv6 } from "node:net";
import type { Clock } from "#core";

/** Connections of strangers, in all (design: protocols, joining). A stranger is whoever dialled us and has not passed the hello. */
export const MAX_STRANGERS = 64;
/** Of those, per /24 (IPv4) or /64 (IPv6): one network cannot take them all. */
export const MAX_STRANGERS_PER_NETWORK = 4;
/** Sockets that wait for their turn, unread. Enough for a site of 250 nodes that comes back from a power cut at once. */
export const MAX_WAITING_STRANGERS = 256;
/** Of those, per network. */
export const MAX_WAITING_PER_NETWORK = 128;
/** Longest wait for a turn. */
export const MAX_STRANGER_WAIT_MS = 5_000;

type Waiter = { network: string; admit: () => void };

/**
 * The places that strangers share, apart from the members'. Who comes when all places are taken waits a little rather than
 * being refused: after a power cut a whole site knocks at once, and a hello takes milliseconds.
 */
export class StrangerBudget {
  readonly #clock: Clock;
  readonly #taken = new Map<string, number>(); // network → places
  #total = 0;
  #waiting: Waiter[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Places taken now. */
  get strangers(): number {
    return this.#total;
  }

  /**
   * Takes a place for a peer at this IP. Resolves to the function that gives it back (calling it again does nothing), or
   * to `undefined` when there was none in time.
   */
  async admit(host: string, signal: AbortSignal): Promise<(() => void) | undefined> {
    const network = networkOf(host);
    if (this.#fits(network)) this.#take(network);
    else if (!(await this.#waitFor(network, signal))) return undefined;
    let held = true;
    return () => {
      if (held) this.#release(network);
      held = false;
    };
  }

  #fits(network: string): boolean {
    return this.#total < MAX_STRANGERS && (this.#taken.get(network) ?? 0) < MAX_STRANGERS_PER_NETWORK;
  }

  #take(network: string): void {
    this.#total += 1;
    this.#taken.set(network, (this.#taken.get(network) ?? 0) + 1);
  }

  /** Resolves to whether a place was taken for the waiter. */
  #waitFor(network: string, signal: AbortSignal): Promise<boolean> {
    const sameNetwork = this.#waiting.filter((waiter) => waiter.network === network).length;
    const full = this.#waiting.length >= MAX_WAITING_STRANGERS || sameNetwork >= MAX_WAITING_PER_NETWORK;
    if (full || signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const timer = new AbortController();
      const settle = (admitted: boolean): void => {
        this.#waiting = this.#waiting.filter((other) => other !== waiter);
        signal.removeEventListener("abort", giveUp);
        timer.abort();
        resolve(admitted);
      };
      const giveUp = (): void => settle(false);
      const waiter: Waiter = { network, admit: () => settle(true) };
      this.#waiting.push(waiter);
      signal.addEventListener("abort", giveUp, { once: true });
      this.#clock.sleep(MAX_STRANGER_WAIT_MS, timer.signal).then(giveUp, () => undefined);
    });
  }

  #release(network: string): void {
    const left = (this.#taken.get(network) ?? 1) - 1;
    if (left === 0) this.#taken.delete(network);
    else this.#taken.set(network, left);
    this.#total -= 1;
    const next = this.#waiting.find((waiter) => this.#fits(waiter.network));
    if (next === undefined) return;
    this.#take(next.network);
    next.admit();
  }
}

/** The /24 of an IPv4 address, the /64 of an IPv6 address. */
export function networkOf(host: string): string {
  const plain = host.replace(/^::ffff:(?=\d+\.)/u, "");
  if (!isIPv6(plain)) return plain.split(".").slice(0, 3).join(".");
  const [head = "", tail = ""] = plain.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === "" ? [] : tail.split(":");
  const zeros = plain.includes("::") ? Array<string>(Math.max(0, 8 - left.length - right.length)).fill("0") : [];
  return [...left, ...zeros, ...right].slice(0, 4).join(":");
}
