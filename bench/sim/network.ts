import type { EventQueue } from "./event-queue.ts";

/** Of a full packet over Ethernet, without headers (RFC 879; RFC 6928 for the first window of ten). */
const SEGMENT_BYTES = 1_460;
const FIRST_WINDOW_BYTES = 10 * SEGMENT_BYTES;
const LEAST_WINDOW_BYTES = 4 * SEGMENT_BYTES;
/** What CUBIC leaves of a window after a loss, and how fast it comes back: segments per s³ (RFC 9438). */
const AFTER_LOSS = 0.7;
const CUBIC_C = 0.4;
/** A connection that was silent for so long starts slowly again (RFC 5681 §4.1; Linux's least timeout). */
const IDLE_MS = 300;
/** A long message goes in such pieces. */
const PIECE_BYTES = 16 * 1024;
/** Smaller ones are one packet: it waits its turn on every link, but a queue always has room for it. */
const PACKET_BYTES = SEGMENT_BYTES;
/** Headers of a packet: Ethernet, IP, TCP, TLS record, yamux frame. */
const HEADER_BYTES = 14 + 20 + 32 + 22 + 12;

/** One direction of a wire: first come, first served; `queueBytes` wait at most, what is more is dropped. */
export class Link {
  readonly bytesPerMs: number;
  readonly #queueBytes: number;
  freeMs = 0;
  /** All that ever went through, and what did not fit. */
  bytes = 0;
  lostBytes = 0;
  /** Of what was sent over it once: all that is not the blob's bytes. */
  otherBytes = 0;

  constructor(bps: number, queueBytes: number) {
    this.bytesPerMs = bps / 8_000;
    this.#queueBytes = queueBytes;
  }

  /** How long what comes now has to wait. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.freeMs - nowMs);
  }

  /** Bytes that begin to come now, the last of them `overMs` later. Returns how many are dropped. */
  take(bytes: number, overMs: number, nowMs: number): number {
    const waiting = this.waitMs(nowMs) * this.bytesPerMs;
    const overflow = waiting + bytes - overMs * this.bytesPerMs - this.#queueBytes;
    const lost = Math.min(bytes, Math.max(0, overflow));
    this.lostBytes += lost;
    this.bytes += bytes - lost;
    this.freeMs = Math.max(nowMs, this.freeMs) + (bytes - lost) / this.bytesPerMs;
    return lost;
  }
}

/** A link, and how long it takes from its end to the next. */
export type Hop = { link: Link; delayMs: number };
/** A message on its way: `unsent` waits in the socket, `missing` has not arrived. */
type Parcel = { unsent: number; missing: number; deliver: () => void };

/**
 * One direction of a connection: messages arrive in order. It has a window like TCP's (slow start, additive growth, less after a loss), and what
 * exceeds that waits in the socket, in front of all that is said later.
 */
export class Stream {
  readonly #queue: EventQueue;
  readonly #hops: readonly Hop[];
  readonly #back: readonly Hop[];
  readonly #rttMs: number;
  readonly #parcels: Parcel[] = [];
  #socket: Parcel[] = [];
  #windowBytes: number;
  #threshold = Number.POSITIVE_INFINITY;
  #inFlight = 0;
  /** When the window was cut last, and what it was. */
  #lossMs = Number.NEGATIVE_INFINITY;
  #lossBytes = 0;
  #sentMs = 0;
  #writeMs = Number.NEGATIVE_INFINITY;
  #arrivedMs = 0;

  constructor(queue: EventQueue, hops: readonly Hop[], back: readonly Hop[]) {
    this.#queue = queue;
    this.#hops = hops;
    this.#back = back;
    this.#rttMs = [...hops, ...back].reduce((sum, { delayMs }) => sum + delayMs, 0);
    this.#windowBytes = FIRST_WINDOW_BYTES;
  }

  /** `blobBytes` of it are the blob's. `deliver` runs when all of it, and all that was sent before, is there. */
  send(bytes: number, blobBytes: number, deliver: () => void): void {
    const total = bytes + (this.#writeMs === this.#queue.nowMs ? 0 : HEADER_BYTES);
    this.#writeMs = this.#queue.nowMs;
    for (const { link } of this.#hops) link.otherBytes += total - blobBytes;
    const parcel = { unsent: total, missing: total, deliver };
    this.#parcels.push(parcel);
    this.#socket.push(parcel);
    this.#flush();
  }

  /** Nothing more is sent or delivered. */
  close(): void {
    this.#socket = [];
    this.#parcels.length = 0;
  }

  #flush(): void {
    const nowMs = this.#queue.nowMs;
    if (this.#inFlight === 0 && nowMs - this.#sentMs > IDLE_MS) {
      this.#threshold = Math.max(this.#threshold, 0.75 * this.#windowBytes);
      this.#windowBytes = Math.min(this.#windowBytes, FIRST_WINDOW_BYTES);
    }
    for (let parcel = this.#socket[0]; parcel !== undefined; parcel = this.#socket[0]) {
      while (parcel.unsent > 0) {
        const room = this.#windowBytes - this.#inFlight;
        if (room < Math.min(parcel.unsent, SEGMENT_BYTES)) return;
        const bytes = Math.min(parcel.unsent, room, PIECE_BYTES);
        parcel.unsent -= bytes;
        this.#inFlight += bytes;
        this.#sentMs = nowMs;
        if (bytes <= PACKET_BYTES) this.#passPacket(parcel, bytes);
        else this.#pass(parcel, bytes, 0, 0, 0);
      }
      this.#socket.shift();
    }
  }

  /** Small enough to be reckoned through at once. */
  #passPacket(parcel: Parcel, bytes: number): void {
    let atMs = this.#queue.nowMs;
    for (const { link, delayMs } of this.#hops) {
      atMs += link.waitMs(atMs) + bytes / link.bytesPerMs + delayMs;
      link.take(bytes, Number.POSITIVE_INFINITY, this.#queue.nowMs);
    }
    this.#queue.at(atMs, () => this.#arrive(parcel, bytes));
  }

  /** Passes links of packets, which are small against a message: a link starts when the one before it does, and ends no earlier. */
  #pass(parcel: Parcel, bytes: number, hop: number, overMs: number, tailMs: number): void {
    const { link, delayMs } = this.#hops[hop] ?? { link: undefined, delayMs: 0 };
    if (link === undefined) return this.#arrive(parcel, bytes);
    const nowMs = this.#queue.nowMs;
    const startMs = nowMs + link.waitMs(nowMs);
    const lost = link.take(bytes, overMs, nowMs);
    if (lost > 0) this.#lose(parcel, lost);
    if (lost === bytes) return;
    const endMs = Math.max(link.freeMs, tailMs) + delayMs;
    const last = hop + 1 === this.#hops.length;
    const tookMs = Math.max(overMs, (bytes - lost) / link.bytesPerMs);
    this.#queue.at(last ? endMs : startMs + delayMs, () => this.#pass(parcel, bytes - lost, hop + 1, tookMs, endMs));
  }

  /** The receiver's answers to what came after show the gap a round trip later, and it is sent again. */
  #lose(parcel: Parcel, bytes: number): void {
    const nowMs = this.#queue.nowMs;
    const queuedMs = this.#hops.reduce((sum, { link }) => sum + link.waitMs(nowMs), 0);
    const knownMs = nowMs + queuedMs + this.#rttMs;
    this.#queue.at(knownMs, () => {
      if (this.#lossMs < nowMs) {
        this.#lossMs = this.#queue.nowMs; // once per round trip
        this.#lossBytes = this.#windowBytes;
        this.#windowBytes = Math.max(LEAST_WINDOW_BYTES, AFTER_LOSS * this.#windowBytes);
        this.#threshold = this.#windowBytes;
      }
      this.#pass(parcel, bytes, 0, 0, 0);
    });
  }

  #arrive(parcel: Parcel, bytes: number): void {
    parcel.missing -= bytes;
    this.#queue.at(this.#acknowledgedMs(), () => this.#acknowledged(bytes));
    while (this.#parcels[0] !== undefined && this.#parcels[0].missing < 1e-6) this.#parcels.shift()?.deliver();
  }

  #acknowledgedMs(): number {
    let atMs = this.#queue.nowMs;
    for (const { link, delayMs } of this.#back) atMs += link.waitMs(atMs) + delayMs;
    this.#arrivedMs = Math.max(this.#arrivedMs, atMs);
    return this.#arrivedMs;
  }

  #acknowledged(bytes: number): void {
    const limited = this.#inFlight > 0.8 * this.#windowBytes;
    this.#inFlight -= bytes;
    if (limited) this.#grow(bytes);
    this.#flush();
  }

  /** Slow start, then CUBIC, but never slower than one segment per round trip. */
  #grow(bytes: number): void {
    if (this.#windowBytes < this.#threshold) {
      this.#windowBytes += bytes;
      return;
    }
    const backS = Math.cbrt(((1 - AFTER_LOSS) * this.#lossBytes) / SEGMENT_BYTES / CUBIC_C);
    const cubic = this.#lossBytes + CUBIC_C * SEGMENT_BYTES * ((this.#queue.nowMs - this.#lossMs) / 1_000 - backS) ** 3;
    const linear = this.#windowBytes + (bytes * SEGMENT_BYTES) / this.#windowBytes;
    this.#windowBytes = Math.max(linear, Math.min(cubic, this.#windowBytes + bytes / 2));
  }
}
