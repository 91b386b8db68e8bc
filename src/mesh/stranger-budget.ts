import { isIPv6 } from "node:net";
import type { Clock } from "#core";
import { plainIp } from "./address.ts";

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

type Waiter = { place: string; network: string; admit: () => void };

/**
 * The places that strangers share, apart from the members'. Who comes when all places are taken waits a little rather than
 * being refused: after a power cut a whole site knocks at once, and a hello takes milliseconds.
 */
export class StrangerBudget {
  readonly #clock: Clock;
  readonly #places = new Map<string, string>(); // who has one → its network
  readonly #taken = new Map<string, number>(); // network → places
  #waiting: Waiter[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Places taken now. */
  get strangers(): number {
    return this.#places.size;
  }

  /** Takes a place for the socket that comes from this IP and port. Resolves to `false` when there was none in time. */
  async admit(host: string, port: number, signal: AbortSignal): Promise<boolean> {
    const network = networkOf(host);
    const place = placeOf(host, port);
    if (!this.#fits(network)) return this.#waitFor(place, network, signal);
    this.#take(place, network);
    return true;
  }

  /** Gives a place back. Does nothing for who has none. */
  release(host: string, port: number): void {
    const place = placeOf(host, port);
    const network = this.#places.get(place);
    if (network === undefined) return;
    this.#places.delete(place);
    const left = (this.#taken.get(network) ?? 1) - 1;
    if (left === 0) this.#taken.delete(network);
    else this.#taken.set(network, left);
    const next = this.#waiting.find((waiter) => this.#fits(waiter.network));
    if (next === undefined) return;
    this.#take(next.place, next.network);
    next.admit();
  }

  #fits(network: string): boolean {
    return this.#places.size < MAX_STRANGERS && (this.#taken.get(network) ?? 0) < MAX_STRANGERS_PER_NETWORK;
  }

  #take(place: string, network: string): void {
    this.#places.set(place, network);
    this.#taken.set(network, (this.#taken.get(network) ?? 0) + 1);
  }

  /** Resolves to whether a place was taken for the waiter. */
  #waitFor(place: string, network: string, signal: AbortSignal): Promise<boolean> {
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
      const waiter: Waiter = { place, network, admit: () => settle(true) };
      this.#waiting.push(waiter);
      signal.addEventListener("abort", giveUp, { once: true });
      this.#clock.sleep(MAX_STRANGER_WAIT_MS, timer.signal).then(giveUp, () => undefined);
    });
  }
}

function placeOf(host: string, port: number): string {
  return `${plainIp(host)}/${port}`;
}

/** The /24 of an IPv4 address, the /64 of an IPv6 address. */
export function networkOf(host: string): string {
  const plain = plainIp(host);
  if (!isIPv6(plain)) return plain.split(".").slice(0, 3).join(".");
  const [head = "", tail = ""] = plain.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === "" ? [] : tail.split(":");
  const zeros = plain.includes("::") ? Array<string>(Math.max(0, 8 - left.length - right.length)).fill("0") : [];
  return [...left, ...zeros, ...right].slice(0, 4).join(":");
}
