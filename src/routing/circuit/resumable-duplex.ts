import { Duplex } from "node:stream";
import { asError, type ByteStream, type Clock, Fault } from "#core";
import type { NodeId } from "#identity";
import type { Carrier, CarrierSecret } from "#mesh";
import type { Role } from "./circuit-frame.ts";
import { HandshakePipe } from "./handshake-pipe.ts";
import { PathWatch, type PathVerdict, PAUSE_MS } from "./path-watch.ts";
import { ReliableLine } from "./reliable-line.ts";

/** What was taken is acknowledged after so long, if there is not enough of it for an acknowledgement of its own. */
const ACK_DELAY_MS = 20;
/** A round trip before any was measured. */
const UNKNOWN_RTT_MS = 100;
const HIGH_WATER_BYTES = 256 * 1024;

export type DuplexHooks = {
  /** There is no path any more; the circuit waits for another. */
  detached(why: string): void;
  /** It is over, in good order or not. Called once. */
  over(error: Error | undefined): void;
};

type Callback = (error?: Error | null) => void;
type Path = { stream: ByteStream; watch: PathWatch; blocked: boolean };

/**
 * A two-way stream of bytes over one path after another, once the handshake of its carrier gave both ends a key. It ends when its peer ends it, or when `destroy` is
 * called.
 */
export class ResumableDuplex extends Duplex {
  readonly #role: Role;
  readonly #handshake: HandshakePipe;
  readonly #clock: Clock;
  readonly #hooks: DuplexHooks;
  readonly #line: ReliableLine;
  #path: Path | undefined;
  #unread: Uint8Array[] = [];
  #unreadEnd = false;
  #written: Callback | undefined;
  #finished: Callback | undefined;
  #ackIsDue = false;
  bytesIn = 0;
  bytesOut = 0;

  constructor(role: Role, clock: Clock, hooks: DuplexHooks) {
    super({ highWaterMark: HIGH_WATER_BYTES, allowHalfOpen: false });
    this.on("error", () => undefined); // its owner hears of it through `over`; without a listener it would end the process
    this.#role = role;
    this.#clock = clock;
    this.#hooks = hooks;
    this.#line = new ReliableLine(role, {
      nowMs: () => clock.nowMs(),
      send: (pieces) => this.#send(pieces),
      handshake: (pieces) => this.#handshake.receive(pieces),
      data: (pieces, bytes) => this.#data(pieces, bytes),
      ended: () => this.#peerEnded(),
      acked: () => this.#acked(),
      reset: () => this.destroy(new Fault("routing.circuit-reset", "the peer ended the circuit", { exit: "offline" })),
    });
    this.#handshake = new HandshakePipe((pieces) => this.#line.shake(pieces));
  }

  /** Offset up to which everything has come: what a new path has to begin with. */
  get received(): number {
    return this.#line.received;
  }
  get isAttached(): boolean {
    return this.#path !== undefined;
  }
  /** Whether it can go on over another path. */
  get isResumable(): boolean {
    return this.#line.isKeyed && !this.destroyed;
  }
  get rttMs(): number {
    return this.#line.rttMs ?? UNKNOWN_RTT_MS;
  }

  /** What the mesh makes a connection to that peer of. */
  carrier(peer: NodeId): Carrier {
    const secured = (secret: CarrierSecret): void => {
      this.#handshake.close();
      this.#line.key(secret);
    };
    return { handshake: this.#handshake, duplex: this, peer, secured };
  }

  /** Ends it, and destroys it when the peer has taken everything. */
  destroySoon(): void {
    this.end(() => this.destroy());
  }

  /** Goes on over this stream. The one before is given up. */
  attach(stream: ByteStream, epoch: number, peerReceived: number): void {
    this.#leave("another path took over");
    const path: Path = { stream, watch: new PathWatch(this.#clock.nowMs()), blocked: false };
    this.#path = path;
    try {
      this.#line.attach(epoch, peerReceived);
    } catch (error) {
      this.destroy(asError(error));
      return;
    }
    stream.listen({
      data: (piece) => this.#receive(path, piece),
      end: (error) => this.#lost(path, error?.message ?? "the path ended"),
    });
    this.#goOn();
  }

  /** To be called every `PING_MS`; `undefined` while there is no path. */
  checkPath(): PathVerdict | undefined {
    const verdict = this.#path?.watch.check(this.#clock.nowMs(), this.rttMs, this.#line.isWaiting);
    if (verdict?.ping === true) this.#line.ping();
    return verdict;
  }

  /** Gives up the path, as one that leads nowhere. */
  abandon(why: string): void {
    if (this.#path !== undefined) this.#lost(this.#path, why);
  }

  override _write(chunk: Uint8Array, _encoding: string, callback: Callback): void {
    this.#write([chunk], callback);
  }

  override _writev(chunks: { chunk: Uint8Array }[], callback: Callback): void {
    this.#write(
      chunks.map(({ chunk }) => chunk),
      callback,
    );
  }

  override _read(): void {
    this.#deliver();
  }

  /** Done when the peer has taken everything. */
  override _final(callback: Callback): void {
    this.#finished = callback;
    this.#line.end();
    this.#acked();
  }

  override _destroy(error: Error | null, callback: Callback): void {
    const isDone = this.#line.isFinished && this.#line.isPeerFinished;
    if (!isDone) this.#line.reset();
    const stream = this.#path?.stream;
    this.#path = undefined;
    this.#line.detach();
    stream?.close();
    this.#handshake.destroy(error ?? undefined);
    this.#hooks.over(error ?? undefined);
    this.#written?.(error);
    callback(error);
  }

  #write(pieces: Uint8Array[], callback: Callback): void {
    for (const piece of pieces) this.bytesOut += piece.length;
    this.#path?.watch.used(this.#clock.nowMs());
    this.#line.write(pieces);
    this.#written = callback;
    this.#goOn();
  }

  /** Lets the writer write if there is room on the line and on the path. */
  #goOn(): void {
    const callback = this.#written;
    if (callback === undefined || this.#line.room <= 0 || this.#path === undefined || this.#path.blocked) return;
    this.#written = undefined;
    callback();
  }

  #acked(): void {
    if (this.#line.isFinished && this.#finished !== undefined) {
      const finished = this.#finished;
      this.#finished = undefined;
      finished();
    }
    this.#goOn();
  }

  #send(pieces: Uint8Array[]): void {
    const path = this.#path;
    if (path === undefined) return;
    try {
      if (path.stream.send(...pieces) || path.blocked) return;
    } catch (error) {
      queueMicrotask(() => this.#lost(path, asError(error).message));
      return;
    }
    path.blocked = true;
    path.stream.drained().then(
      () => {
        path.blocked = false;
        this.#goOn();
        return undefined;
      },
      () => undefined, // its end is told to the listener
    );
  }

  #receive(path: Path, piece: Uint8Array): void {
    if (this.#path !== path) return;
    path.watch.heard(this.#clock.nowMs());
    try {
      this.#line.receive(piece);
    } catch (error) {
      this.#lost(path, asError(error).message);
    }
  }

  #data(pieces: Uint8Array[], bytes: number): void {
    this.bytesIn += bytes;
    this.#path?.watch.used(this.#clock.nowMs());
    this.#unread.push(...pieces);
    this.#deliver();
  }

  #peerEnded(): void {
    this.#unreadEnd = true;
    this.#deliver();
  }

  /** Hands on what came, as long as the reader wants it. */
  #deliver(): void {
    let taken = 0;
    for (let wanted = this.readableLength < this.readableHighWaterMark; wanted; ) {
      const piece = this.#unread.shift();
      if (piece === undefined) break;
      taken += piece.length;
      wanted = this.push(piece);
    }
    if (this.#unreadEnd && this.#unread.length === 0) {
      this.#unreadEnd = false;
      this.push(null);
    }
    if (taken > 0) this.#line.taken(taken);
    this.#acknowledgeSoon();
  }

  #acknowledgeSoon(): void {
    if (!this.#line.owesAck || this.#ackIsDue) return;
    this.#ackIsDue = true;
    this.#clock.sleep(ACK_DELAY_MS).then(
      () => {
        this.#ackIsDue = false;
        this.#line.acknowledge();
        this.#askWhenQuiet();
        return undefined;
      },
      () => undefined,
    );
  }

  /** The source finds other ways, so it is the one to ask. */
  #askWhenQuiet(): void {
    const path = this.#path;
    if (this.#role !== "source" || path === undefined) return;
    this.#clock.sleep(PAUSE_MS).then(
      () => {
        if (this.#path === path && path.watch.checkPause(this.#clock.nowMs())) this.#line.ping();
        return undefined;
      },
      () => undefined,
    );
  }

  #lost(path: Path, why: string): void {
    if (this.#path !== path) return;
    this.#leave(why);
    if (this.isResumable) this.#hooks.detached(why);
    else
      this.destroy(
        new Fault("routing.circuit-lost", `the way broke while the circuit began: ${why}`, { exit: "offline" }),
      );
  }

  #leave(why: string): void {
    const stream = this.#path?.stream;
    this.#path = undefined;
    this.#line.detach();
    stream?.abort(new Fault("routing.path-left", why));
  }
}
