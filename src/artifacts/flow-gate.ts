import type { Clock } from "#core";
import type { DiskQueue } from "./chunk-writer.ts";
import type { Link } from "./link.ts";
import { LinkShare } from "./link-share.ts";
import type { Precedence } from "./precedence.ts";
import { RateBudget } from "./rate-budget.ts";

/** Received bytes that wait for the disk before senders have to wait, too. What is on its way then still comes; twice as many were no faster. */
const MAX_DISK_QUEUE_BYTES = 16 * 1024 * 1024;

/** Bytes per second to all peers, from all peers, to other sites, and from other sites; absent: no limit. */
export type FlowLimits = {
  uploadBps?: number | undefined;
  downloadBps?: number | undefined;
  wanUploadBps?: number | undefined;
  wanDownloadBps?: number | undefined;
};

/** Bytes that may be sent to the site and over the WAN, and accepted from either, until asked again. */
export type FlowRoom = { lanBytes: number; wanBytes: number; lanInBytes: number; wanInBytes: number };

/** What goes one way: all of it, and of it what stays in the site and what crosses the WAN. */
class Direction {
  readonly #all: RateBudget;
  readonly #wan: RateBudget;
  readonly #lanShare: LinkShare;
  readonly #wanShare: LinkShare;

  constructor(clock: Clock) {
    this.#all = new RateBudget(clock);
    this.#wan = new RateBudget(clock);
    this.#lanShare = new LinkShare(clock);
    this.#wanShare = new LinkShare(clock);
  }

  limit(allBps: number | undefined, wanBps: number | undefined): void {
    this.#all.limit(allBps);
    this.#wan.limit(wanBps);
  }

  room(foreground: boolean): { lan: number; wan: number } {
    const all = this.#all.available(foreground);
    const wan = Math.min(this.#wan.available(foreground), this.#wanShare.available(foreground));
    return { lan: Math.min(all, this.#lanShare.available(foreground)), wan: Math.min(all, wan) };
  }

  hold({ lan, wan }: { lan: boolean; wan: boolean }): void {
    if (lan || wan) this.#all.hold();
    if (wan) this.#wan.hold();
  }

  ease(): void {
    for (const part of [this.#all, this.#wan, this.#lanShare, this.#wanShare]) part.ease();
  }

  spend({ lan, wan }: { lan: number; wan: number }, foreground: boolean): void {
    this.#all.spend(lan + wan, foreground);
    this.#wan.spend(wan, foreground);
    this.#lanShare.spend(lan, foreground);
    this.#wanShare.spend(wan, foreground);
  }
}

/** What a node lets in and out, over all of its swarms. A limit holds chunks back before they are accepted, a full disk queue by not acknowledging. */
export class FlowGate {
  readonly disk: DiskQueue = { queuedBytes: 0 };
  readonly #out: Direction;
  readonly #in: Direction;
  #held: { link: Link; bytes: number }[] = [];

  constructor(clock: Clock, limits: FlowLimits) {
    this.#out = new Direction(clock);
    this.#in = new Direction(clock);
    this.limit(limits);
  }

  /** Other limits from now on, also for what is on its way. */
  limit({ uploadBps, downloadBps, wanUploadBps, wanDownloadBps }: FlowLimits): void {
    this.#out.limit(uploadBps, wanUploadBps);
    this.#in.limit(downloadBps, wanDownloadBps);
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

  room({ foreground }: Precedence): FlowRoom {
    const [out, coming] = [this.#out.room(foreground), this.#in.room(foreground)];
    return { lanBytes: out.lan, wanBytes: out.wan, lanInBytes: coming.lan, wanInBytes: coming.wan };
  }

  /** The foreground declined what was offered, for lack of room. */
  declined(lanes: { lan: boolean; wan: boolean }): void {
    this.#in.hold(lanes);
  }

  /** Nobody waits for anything any more: the background need not step back. */
  ease(): void {
    this.#out.ease();
    this.#in.ease();
  }

  /** Chunks of so many bytes were accepted. */
  accepted(bytes: { lan: number; wan: number }, { foreground }: Precedence): void {
    this.#in.spend(bytes, foreground);
  }

  sent(bytes: { lan: number; wan: number }, { foreground }: Precedence): void {
    this.#out.spend(bytes, foreground);
  }

  #diskHasRoom(): boolean {
    return this.disk.queuedBytes < MAX_DISK_QUEUE_BYTES;
  }
}
