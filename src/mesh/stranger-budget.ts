import { isIPv6 } from "node:net";
import type { Clock } from "#core";
import { plainIp } from "./address.ts";

/** Connections of strangers, in all (design: protocols, joining). A stranger is whoever dialled us and has not passed the hello. */
export const MAX_STRANGERS = 64;
/** Of those, per /24 (IPv4) or /64 (IPv6): one network cannot take them all. */
export const MAX_STRANGERS_PER_NETWORK = 4;
/** Places besides, for hosts from which members came before, and of those per host: a member that comes back does not wait behind strangers. */
export const MAX_RETURNING = 64;
export const MAX_RETURNING_PER_HOST = 4;
/** Hosts that are remembered so; those of the peers that a node keeps. */
export const MAX_KNOWN_HOSTS = 1_024;
/** Sockets that wait for their turn, unread. Enough for a site of 250 nodes that comes back from a power cut at once. */
export const MAX_WAITING_STRANGERS = 256;
/** Of those, per network. */
export const MAX_WAITING_PER_NETWORK = 128;
/** Longest wait for a turn. */
export const MAX_STRANGER_WAIT_MS = 5_000;

/** A share of the places, of which one network or host may have so many. */
type Lane = { name: string; of: string; most: number; mostInAll: number };
type Waiter = { host: string; place: string; admit: () => void };

/**
 * The places that strangers share, apart from the members'. Who comes when all places are taken waits a little rather than
 * being refused: after a power cut a whole site knocks at once, and a hello takes milliseconds. Who somebody is shows only after
 * its place was taken, so hosts from which members came have places of their own.
 */
export class StrangerBudget {
  readonly #clock: Clock;
  readonly #places = new Map<string, Lane>();
  readonly #taken = new Map<string, number>(); // by lane in all, and by network or host in it
  readonly #knownHosts = new Set<string>();
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
    const [ip, place] = [plainIp(host), placeOf(host, port)];
    return this.#take(ip, place) || this.#waitFor(ip, place, signal);
  }

  /** Who has this place is a member: gives it back, and remembers where members come from. */
  proved(host: string, port: number): void {
    const ip = plainIp(host);
    this.#knownHosts.delete(ip); // and puts it last
    this.#knownHosts.add(ip);
    if (this.#knownHosts.size > MAX_KNOWN_HOSTS) this.#knownHosts.delete(this.#knownHosts.values().next().value ?? "");
    this.release(host, port);
  }

  /** Gives a place back. Does nothing for who has none. */
  release(host: string, port: number): void {
    const place = placeOf(host, port);
    const lane = this.#places.get(place);
    if (lane === undefined) return;
    this.#places.delete(place);
    this.#count(lane, -1);
    const next = this.#waiting.find((waiter) => this.#take(waiter.host, waiter.place));
    next?.admit();
  }

  #take(ip: string, place: string): boolean {
    const lane = this.#lanesOf(ip).find(({ name, of, most, mostInAll }) => {
      const [inAll, here] = [this.#taken.get(name) ?? 0, this.#taken.get(`${name} ${of}`) ?? 0];
      return inAll < mostInAll && here < most;
    });
    if (lane === undefined) return false;
    this.#places.set(place, lane);
    this.#count(lane, 1);
    return true;
  }

  #lanesOf(ip: string): Lane[] {
    const strangers: Lane = {
      name: "strangers",
      of: networkOf(ip),
      most: MAX_STRANGERS_PER_NETWORK,
      mostInAll: MAX_STRANGERS,
    };
    if (!this.#knownHosts.has(ip)) return [strangers];
    return [{ name: "returning", of: ip, most: MAX_RETURNING_PER_HOST, mostInAll: MAX_RETURNING }, strangers];
  }

  #count({ name, of }: Lane, change: 1 | -1): void {
    for (const key of [name, `${name} ${of}`]) {
      const count = (this.#taken.get(key) ?? 0) + change;
      if (count === 0) this.#taken.delete(key);
      else this.#taken.set(key, count);
    }
  }

  /** Resolves to whether a place was taken for the waiter. */
  #waitFor(host: string, place: string, signal: AbortSignal): Promise<boolean> {
    const network = networkOf(host);
    const sameNetwork = this.#waiting.filter((waiter) => networkOf(waiter.host) === network).length;
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
      const waiter: Waiter = { host, place, admit: () => settle(true) };
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
