import type { Clock } from "#core";
import type { DiskQueue } from "./chunk-writer.ts";
import type { Link } from "./link.ts";
import { RateBudget } from "./rate-budget.ts";

/** Received bytes that wait for the disk before senders have to wait, too. */
const MAX_DISK_QUEUE_BYTES = 32 * 1024 * 1024;

/** Bytes per second to all peers, from all peers, and to other sites; absent: no limit. */
export type FlowLimits = {
  uploadBps?: number | undefined;
  downloadBps?: number | undefined;
  wanBps?: number | undefined;
};

/** What a node lets in and out, over all of its swarms. Coming in is held back by not acknowledging. */
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

  /** Payload came: it is acknowledged now, or when the disk and the limit allow. */
  received(link: Link, bytes: number): void {
    if (this.#held.length === 0 && this.#mayTake(bytes)) link.ack(bytes);
    else this.#held.push({ link, bytes });
  }

  /** Acknowledges what had to wait. */
  release(): void {
    for (let held = this.#held[0]; held !== undefined && this.#mayTake(held.bytes); held = this.#held[0]) {
      held.link.ack(held.bytes);
      this.#held.shift();
    }
  }

  forget(link: Link): void {
    this.#held = this.#held.filter((held) => held.link !== link);
  }

  /** Bytes that may be sent now to the site and over the WAN. */
  room(): { lanBytes: number; wanBytes: number } {
    const lanBytes = this.#upload.available();
    return { lanBytes, wanBytes: Math.min(lanBytes, this.#wan.available()) };
  }

  sent(bytes: { lan: number; wan: number }): void {
    this.#upload.spend(bytes.lan + bytes.wan);
    this.#wan.spend(bytes.wan);
  }

  #mayTake(bytes: number): boolean {
    if (this.disk.queuedBytes >= MAX_DISK_QUEUE_BYTES || this.#download.available() === 0) return false;
    this.#download.spend(bytes);
    return true;
  }
}
