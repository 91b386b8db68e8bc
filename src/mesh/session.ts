import type { Connection } from "@libp2p/interface";
import { z } from "zod";
import { type ByteStream, type Clock, encodeFrame, Fault, lengthOf } from "#core";
import type { NodeId } from "#identity";
import { type Greeting, MAX_MESSAGE_BYTES } from "./hello-exchange.ts";
import { LinkHealth } from "./link-health.ts";
import type { MuxGuard } from "./mux-guard.ts";
import type { ProbeKey } from "./probe-sockets.ts";

/** Bytes of messages that wait for a slow peer; beyond them `send` says no, and anti-entropy makes up for it later. */
export const MAX_QUEUED_BYTES = 4 * 1024 * 1024;
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
  /** Others carry its bytes: it is no link (see `CarriedHost`). */
  readonly carried: boolean;
  /** Smoothed round trip in milliseconds; `undefined` until the first probe has come back. */
  rttMs(): number | undefined;
  /** Share of probes that were lost, from 0 to 1; `undefined` where that cannot be measured, or not yet. */
  lossRatio(): number | undefined;
  /** Share of the last half minute, about, in which the kernel had not taken what this end sent, from 0 to 1: how busy the link is, or this process. */
  loadRatio(): number;
  /** How round trip and loss were measured. */
  measuredBy(): "udp" | "stream" | undefined;
  /** Says that a live circuit runs over this link, which is then probed most often. Returns how to say that it does not any more. */
  carry(): () => void;
  /** Whether probes go unanswered; the session is dead, and ends, a few seconds later. */
  suspect(): boolean;
  /** Sends one message of at most 512 KiB. `false`: the queue is full or the session over, and it was not sent. */
  send(kind: string, body: unknown): boolean;
}

/** One accepted connection with its hello stream. */
export type Link = {
  connection: Connection;
  stream: ByteStream;
  guard: MuxGuard;
  greeting: Greeting;
  /** Our own name and key for probes. */
  probe: ProbeKey;
};

/** The session over whichever link of the peer is in use. */
export class LiveSession implements Session {
  readonly nodeId: NodeId;
  readonly #clock: Clock;
  #link: Link;
  #queue: Uint8Array[][] = [];
  #queuedBytes = 0;
  #blocked = false;
  #over = false;
  #health: LinkHealth;
  #circuits = 0;
  isSuspect = false;

  constructor(clock: Clock, nodeId: NodeId, link: Link) {
    this.#clock = clock;
    this.nodeId = nodeId;
    this.#link = link;
    this.#health = healthOf(link, clock);
  }

  /** Of the link in use. */
  get health(): LinkHealth {
    return this.#health;
  }
  get circuits(): number {
    return this.#circuits;
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
  get carried(): boolean {
    return !this.#link.connection.direct;
  }

  rttMs(): number | undefined {
    return this.#health.rttMs;
  }
  lossRatio(): number | undefined {
    return this.#health.lossRatio;
  }
  loadRatio(): number {
    return this.#health.loadRatio;
  }
  measuredBy(): "udp" | "stream" | undefined {
    return this.#health.measuredBy;
  }

  carry(): () => void {
    this.#circuits += 1;
    let carries = true;
    return () => {
      if (carries) this.#circuits -= 1;
      carries = false;
    };
  }

  suspect(): boolean {
    return this.isSuspect;
  }

  send(kind: string, body: unknown): boolean {
    const pieces = encodeFrame(body === undefined ? { k: kind } : { k: kind, b: body });
    const sizeBytes = lengthOf(pieces);
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
    this.#health = healthOf(link, this.#clock);
    this.#unblock();
  }

  /** No more messages. */
  end(): void {
    this.#over = true;
    this.#queue = [];
    this.#queuedBytes = 0;
  }

  /** Sends a probe on the stream. */
  probe(number: number): void {
    const rttMs = this.#health.rttMs;
    this.send("ping", { n: number, ...(rttMs === undefined ? {} : { r: Math.round(rttMs) }) });
  }

  /** Takes the session's own messages; `false` for all others. */
  receive(kind: string, body: unknown): boolean {
    if (kind !== "ping" && kind !== "pong") return false;
    const probe = Probe.safeParse(body);
    if (!probe.success) throw new Fault("mesh.probe", `malformed ${kind}`, { exit: "invalid" });
    const { n, r } = probe.data;
    if (kind === "pong") {
      this.#health.answeredOnStream(n, this.#clock.nowMs());
    } else {
      this.#health.askedOnStream(r);
      this.send("pong", { n });
    }
    return true;
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

function healthOf({ connection }: Link, clock: Clock): LinkHealth {
  return new LinkHealth(connection.direction === "outbound" ? "dialler" : "acceptor", clock.nowMs());
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
