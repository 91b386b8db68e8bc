import type { Connection } from "@libp2p/interface";
import { z } from "zod";
import { type ByteStream, type Clock, encodeFrame, Fault } from "#core";
import type { NodeId } from "#identity";
import { type Greeting, MAX_MESSAGE_BYTES } from "./hello-exchange.ts";
import type { MuxGuard } from "./mux-guard.ts";

/** Bytes of messages that wait for a slow peer; beyond them `send` says no, and anti-entropy makes up for it later. */
export const MAX_QUEUED_BYTES = 4 * 1024 * 1024;
/** Smoothing of round trips: the new one counts 0.164 (RFC 9616 §4.2 takes 0.836 for the old). */
const RTT_SMOOTHING = 0.836;

/** `n` numbers a probe; `r` is the asker's smoothed round trip, in whole milliseconds. */
const Probe = z.strictObject({ n: z.int().min(0), r: z.int().min(0).max(3_600_000).optional() });

/** The long-lived link to an accepted neighbour. It outlives a change of the connection under it. */
export interface Session {
  readonly nodeId: NodeId;
  readonly site: string;
  readonly name: string;
  /** The remote end of the connection in use. */
  readonly address: string;
  /** Where the peer says it listens; a hint, never proof. */
  readonly addresses: readonly string[];
  readonly direction: "inbound" | "outbound";
  /** Smoothed round trip in milliseconds; `undefined` until the first probe has come back. */
  rttMs(): number | undefined;
  /** Whether probes go unanswered; the session is dead, and ends, a few seconds later. */
  suspect(): boolean;
  /** Sends one message of at most 512 KiB. `false`: the queue is full or the session over, and it was not sent. */
  send(kind: string, body: unknown): boolean;
}

/** One accepted connection with its hello stream. */
export type Link = { connection: Connection; stream: ByteStream; guard: MuxGuard; greeting: Greeting };

/** The session over whichever link of the peer is in use. */
export class LiveSession implements Session {
  readonly nodeId: NodeId;
  readonly #clock: Clock;
  #link: Link;
  #queue: Uint8Array[][] = [];
  #queuedBytes = 0;
  #blocked = false;
  #over = false;
  #rttMs: number | undefined;
  #probe: { number: number; sentMs: number } | undefined;
  #probes = 0;
  isSuspect = false;

  constructor(clock: Clock, nodeId: NodeId, link: Link) {
    this.#clock = clock;
    this.nodeId = nodeId;
    this.#link = link;
  }

  get link(): Link {
    return this.#link;
  }
  get site(): string {
    return this.#link.greeting.site;
  }
  get name(): string {
    return this.#link.greeting.name;
  }
  get address(): string {
    return this.#link.connection.remoteAddr.toString();
  }
  get addresses(): readonly string[] {
    return this.#link.greeting.addresses;
  }
  get direction(): "inbound" | "outbound" {
    return this.#link.connection.direction;
  }

  rttMs(): number | undefined {
    return this.#rttMs;
  }

  suspect(): boolean {
    return this.isSuspect;
  }

  send(kind: string, body: unknown): boolean {
    const pieces = encodeFrame(body === undefined ? { k: kind } : { k: kind, b: body });
    const sizeBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (sizeBytes > MAX_MESSAGE_BYTES) {
      throw new Fault("mesh.message-size", `a "${kind}" message of ${sizeBytes} bytes is over ${MAX_MESSAGE_BYTES}`);
    }
    if (this.#over || this.#queuedBytes + sizeBytes > MAX_QUEUED_BYTES) return false;
    this.#queue.push(pieces);
    this.#queuedBytes += sizeBytes;
    this.#flush();
    return true;
  }

  /** Goes on over another link; what was queued goes there. */
  move(link: Link): void {
    this.#link = link;
    this.#probe = undefined; // its answer may be lost with the old one
    this.#unblock();
  }

  /** No more messages. */
  end(): void {
    this.#over = true;
    this.#queue = [];
    this.#queuedBytes = 0;
  }

  /** Sends a probe unless one is on its way. */
  probe(): void {
    if (this.#probe !== undefined) return;
    this.#probes += 1;
    this.#probe = { number: this.#probes, sentMs: this.#clock.nowMs() };
    const rttMs = this.#rttMs === undefined ? {} : { r: Math.round(this.#rttMs) };
    if (!this.send("ping", { n: this.#probes, ...rttMs })) this.#probe = undefined;
  }

  /** Takes the session's own messages; `false` for all others. */
  receive(kind: string, body: unknown): boolean {
    if (kind !== "ping" && kind !== "pong") return false;
    const probe = Probe.safeParse(body);
    if (!probe.success) throw new Fault("mesh.probe", `malformed ${kind}`, { exit: "invalid" });
    if (kind === "pong") this.#pong(probe.data.n);
    else this.#ping(probe.data);
    return true;
  }

  /** Who only answers learns the round trip from who asks. */
  #ping({ n, r }: z.infer<typeof Probe>): void {
    if (r !== undefined && this.#probe === undefined) this.#rttMs = r;
    this.send("pong", { n });
  }

  #pong(number: number): void {
    if (this.#probe === undefined || number !== this.#probe.number) return;
    const sampleMs = this.#clock.nowMs() - this.#probe.sentMs;
    this.#probe = undefined;
    this.#rttMs = this.#rttMs === undefined ? sampleMs : RTT_SMOOTHING * this.#rttMs + (1 - RTT_SMOOTHING) * sampleMs;
  }

  #flush(): void {
    const { stream } = this.#link;
    try {
      while (!this.#blocked && !this.#over) {
        const pieces = this.#queue.shift();
        if (pieces === undefined) return;
        for (const piece of pieces) this.#queuedBytes -= piece.length;
        this.#blocked = !stream.send(...pieces);
      }
    } catch {
      return; // the link is ending; its end moves or ends the session
    }
    if (this.#blocked) this.#awaitDrain(stream);
  }

  #unblock(): void {
    this.#blocked = false;
    this.#flush();
  }

  #awaitDrain(stream: ByteStream): void {
    stream.drained().then(
      () => {
        if (this.#link.stream === stream) this.#unblock(); // otherwise it moved meanwhile
        return undefined;
      },
      () => undefined, // the link is ending
    );
  }
}

/**
 * Which of two links of one peer carries the session; both ends decide alike: of two dials by the same side the newer
 * stays; of a simultaneous dial the one dialled by the lower node id.
 */
export function preferredLink(self: NodeId, peer: NodeId, current: Link, newer: Link): Link {
  if (current.connection.direction === newer.connection.direction) return newer;
  const lowerDialled = self < peer ? "outbound" : "inbound";
  return newer.connection.direction === lowerDialled ? newer : current;
}
