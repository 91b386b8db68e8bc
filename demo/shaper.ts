import { type Clock, RateLimit } from "#core";

/** What one direction of a WAN access link does to bytes. */
export type Shape = {
  /** Bits per second that pass, over all connections together. */
  rateBps: number;
  /** How long each byte is under way here, in one direction. */
  delayMs: number;
};

/** Where the bytes of a lane come out. */
export interface LaneExit {
  /** `false`: takes nothing more for now; whoever makes it ready calls `Shaper.wake`. */
  ready(): boolean;
  write(bytes: Uint8Array): void;
  /** Called once, after the last byte. */
  end(): void;
  /** The lane has room again after `push` returned false. */
  room(): void;
}

/** Bytes that one connection may have waiting before its sender is held back: two reads of a socket (64 KiB each). */
export const LANE_HIGH_WATER_BYTES = 128 * 1024;
/**
 * Credit that an idle link gathers, as time at its rate. Shorter, and every stall of this process (a busy machine with two
 * cores: 10 to 30 ms) is rate lost for good; longer, and short transfers go faster than the link.
 */
const BURST_MS = 50;
/** Time at the link's rate that one connection holds it for before the next one's turn. */
const TURN_MS = 2;
/** A turn carries at least an Ethernet frame's payload, and at most what keeps a slow link fair. */
const TURN_BYTES = { min: 1_500, max: 16 * 1024 };

/** One connection's way through a shaper. */
export interface Lane {
  /** Queues `bytes`, uncopied. `false`: hold the sender until `LaneExit.room`. */
  push(bytes: Uint8Array): boolean;
  /** No more bytes; `LaneExit.end` follows the last one. */
  end(): void;
  /** Forgets what is queued; nothing more comes out. */
  drop(): void;
}

type Waiting = Lane & {
  exit: LaneExit;
  pieces: Uint8Array[];
  bytes: number;
  held: boolean;
  ending: boolean;
  gone: boolean;
};
type UnderWay = { dueMs: number; lane: Waiting; pieces: Uint8Array[]; last: boolean };

/**
 * One direction of an access link: a token bucket shared by turns between the connections, then a delay line. What waits is
 * bounded by back-pressure per connection, what is under way by rate × delay.
 */
export class Shaper {
  readonly #clock: Clock;
  readonly #bucket: RateLimit;
  readonly #turnBytes: number;
  readonly #delayMs: number;
  readonly #stop = new AbortController();
  #ring: Waiting[] = []; // lanes with something to send, in order of their turns
  #line: UnderWay[] = []; // in order of their due times, because the delay is the same for all
  #wakeAtMs = Number.POSITIVE_INFINITY;
  #held = false;
  #passedBytes = 0;

  constructor(clock: Clock, shape: Shape) {
    const bytesPerMs = shape.rateBps / 8_000;
    this.#clock = clock;
    this.#delayMs = shape.delayMs;
    this.#turnBytes = Math.min(TURN_BYTES.max, Math.max(TURN_BYTES.min, Math.floor(bytesPerMs * TURN_MS)));
    this.#bucket = new RateLimit(clock, shape.rateBps / 8, Math.max(bytesPerMs * BURST_MS, this.#turnBytes));
  }

  /** Bytes that have passed the bucket since the start. */
  get passedBytes(): number {
    return this.#passedBytes;
  }

  /** Adds a connection. */
  open(exit: LaneExit): Lane {
    const lane: Waiting = {
      exit,
      pieces: [],
      bytes: 0,
      held: false,
      ending: false,
      gone: false,
      push: (bytes) => this.#push(lane, bytes),
      end: () => this.#end(lane),
      drop: () => this.#drop(lane),
    };
    return lane;
  }

  /** While held, nothing moves and nothing is lost: a cable that was cut and will be mended. */
  hold(held: boolean): void {
    this.#held = held;
    if (!held) this.wake();
  }

  /** Moves what can move now. */
  wake(): void {
    if (this.#held || this.#stop.signal.aborted) return;
    this.#deliver();
    this.#send();
    const next = this.#line[0];
    if (next !== undefined) this.#wakeAfter(next.dueMs - this.#clock.nowMs());
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#ring = [];
    this.#line = [];
  }

  #push(lane: Waiting, bytes: Uint8Array): boolean {
    if (lane.gone || lane.ending || bytes.length === 0) return true;
    if (lane.bytes === 0) this.#ring.push(lane);
    lane.pieces.push(bytes);
    lane.bytes += bytes.length;
    lane.held = lane.bytes >= LANE_HIGH_WATER_BYTES;
    this.wake();
    return !lane.held;
  }

  #end(lane: Waiting): void {
    if (lane.gone || lane.ending) return;
    lane.ending = true;
    if (lane.bytes > 0) return; // its last turn ends it
    this.#line.push({ dueMs: this.#clock.nowMs() + this.#delayMs, lane, pieces: [], last: true });
    this.wake();
  }

  #drop(lane: Waiting): void {
    lane.gone = true;
    lane.pieces = [];
    lane.bytes = 0;
    this.#ring = this.#ring.filter((other) => other !== lane);
  }

  #deliver(): void {
    const nowMs = this.#clock.nowMs();
    let done = 0;
    for (const { dueMs, lane, pieces, last } of this.#line) {
      if (dueMs > nowMs) break;
      done += 1;
      if (lane.gone) continue;
      for (const piece of pieces) lane.exit.write(piece);
      if (last) lane.exit.end();
    }
    if (done > 0) this.#line.splice(0, done);
  }

  #send(): void {
    const blocked: Waiting[] = [];
    for (let lane = this.#ring.shift(); lane !== undefined; lane = this.#ring.shift()) {
      const sizeBytes = Math.min(lane.bytes, this.#turnBytes);
      if (!lane.exit.ready()) {
        blocked.push(lane);
      } else if (this.#bucket.take(sizeBytes)) {
        this.#turn(lane, sizeBytes);
        if (lane.bytes > 0) this.#ring.push(lane);
      } else {
        this.#ring.unshift(lane);
        this.#wakeAfter(this.#bucket.waitMs(sizeBytes));
        break;
      }
    }
    this.#ring.push(...blocked);
  }

  #turn(lane: Waiting, sizeBytes: number): void {
    const pieces = takeBytes(lane.pieces, sizeBytes);
    lane.bytes -= sizeBytes;
    this.#passedBytes += sizeBytes;
    const last = lane.ending && lane.bytes === 0;
    this.#line.push({ dueMs: this.#clock.nowMs() + this.#delayMs, lane, pieces, last });
    if (lane.held && lane.bytes < LANE_HIGH_WATER_BYTES / 2) {
      lane.held = false;
      lane.exit.room();
    }
  }

  /** An earlier timer that is already set serves as well; a later one then wakes for nothing, which harms nobody. */
  #wakeAfter(ms: number): void {
    const waitMs = Math.max(1, Math.ceil(ms)); // timers have no finer grain
    const atMs = this.#clock.nowMs() + waitMs;
    if (atMs >= this.#wakeAtMs) return;
    this.#wakeAtMs = atMs;
    const wake = async (): Promise<void> => {
      await this.#clock.sleep(waitMs, this.#stop.signal);
      if (this.#wakeAtMs === atMs) this.#wakeAtMs = Number.POSITIVE_INFINITY;
      this.wake();
    };
    wake().catch(() => undefined); // stopped
  }
}

/** Cuts `sizeBytes` off the front of `pieces`. */
function takeBytes(pieces: Uint8Array[], sizeBytes: number): Uint8Array[] {
  const taken: Uint8Array[] = [];
  let left = sizeBytes;
  for (let piece = pieces.shift(); piece !== undefined; piece = pieces.shift()) {
    taken.push(piece.subarray(0, left));
    if (piece.length > left) pieces.unshift(piece.subarray(left));
    left -= Math.min(left, piece.length);
    if (left === 0) break;
  }
  return taken;
}
