import type { Clock } from "#core";
import type { DiskQueue } from "./chunk-writer.ts";
import type { Link } from "./link.ts";
import { RateBudget } from "./rate-budget.ts";

/** Received bytes that wait for the disk before senders have to wait, too. What is on its way then still comes; twice as many were no faster. */
const MAX_DISK_QUEUE_BYTES = 16 * 1024 * 1024;

/** Bytes per second to all peers, from all peers, and to other sites; absent: no limit. */
export type FlowLimits = {
  uploadBps?: number | undefined;
  downloadBps?: number | undefined;
  wanBps?: number | undefined;
};

/** Bytes that may be sent to the site and over the WAN, and accepted, until asked again. */
export type FlowRoom = { lanBytes: number; wanBytes: number; inBytes: number };

/** What a node lets in and out, over all of its swarms. A limit holds chunks back before they are accepted, a full disk queue by not acknowledging. */
export class FlowGate {
  readonly disk: DiskQueue = { queuedBytes: 0 };
  readonly #upload: RateBudget;
  readonly #download: RateBudget;
  readonly #wan: RateBudget;
  #held: { link: Link; bytes: number }[] = [];

  constructor(clock: Clock, { uploadBps, downloadBps, wanBps }: FlowLimits) {
    this.#upload = new RateBudget(clock, uploadBps);
    this.#download = new RateBudget(clock, downloadBps);
    this.#wan = new RateBudget(clock, wanBps);
  }

  /** Payload came: it is acknowledged now, or when the disk allows. */
  received(link: Link, bytes: number): void {
    if (this.#held.length === 0 && this.#diskHasRoom()) link.ack(bytes);
    else this.#held.push({ link, bytes });
  }

  /** Acknowledges what had to wait. */
  release(): void {
    for (let held = this.#held[0]; held !== undefined && this.#diskHasRoom(); held = this.#held[0]) {
      held.link.ack(held.bytes);
      this.#held.shift();
    }
  }

  forget(link: Link): void {
    this.#held = this.#held.filter((held) => held.link !== link);
  }

  room(): FlowRoom {
    const lanBytes = this.#upload.available();
    return { lanBytes, wanBytes: Math.min(lanBytes, this.#wan.available()), inBytes: this.#download.available() };
  }

  /** Chunks of so many bytes were accepted. */
  accepted(bytes: number): void {
    this.#download.spend(bytes);
  }

  sent(bytes: { lan: number; wan: number }): void {
    this.#upload.spend(bytes.lan + bytes.wan);
    this.#wan.spend(bytes.wan);
  }

  #diskHasRoom(): boolean {
    return this.disk.queuedBytes < MAX_DISK_QUEUE_BYTES;
  }
}
