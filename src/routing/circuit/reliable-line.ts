import { Fault } from "#core";
import type { CarrierSecret } from "#mesh";
import {
  type CircuitFrame,
  CircuitFrameReader,
  encodeCircuitFrame,
  FrameCipher,
  type FrameType,
  MAX_PAYLOAD_BYTES,
  type Role,
} from "./circuit-frame.ts";
import { inParts, ReplayBuffer } from "./replay-buffer.ts";
import { MAX_WINDOW_BYTES, SendWindow } from "./send-window.ts";

/** So much taken is acknowledged at once; less, after `ACK_DELAY_MS`, which is whoever owns the line's to wait. */
const ACK_BYTES = 64 * 1024;
/** What a peer that holds to the window cannot have on its way: the window, and an end. */
const MAX_UNTAKEN_BYTES = MAX_WINDOW_BYTES + 1;

/** Of TLS from the peer, until it has its key: certificates and all take 1 to 2 KiB. */
const MAX_HANDSHAKE_BYTES = 16 * 1024;

/** What a line tells its owner, and asks of it. */
export type LineHooks = {
  nowMs(): number;
  /** Puts bytes on the path that the line is attached to. */
  send(pieces: Uint8Array[]): void;
  /** Of the peer's handshake. */
  handshake(pieces: Uint8Array[]): void;
  /** Bytes came, in order. The owner says with `taken` when it has room for as much again. */
  data(pieces: Uint8Array[], bytes: number): void;
  /** The peer has no more. */
  ended(): void;
  /** There is room again, or the peer has taken everything. */
  acked(): void;
  /** The peer ended the circuit at once. */
  reset(): void;
};

/** `cipher`: of what this end sends. `peerKeyed`: the peer's frames are sealed. */
type Path = { epoch: number; reader: CircuitFrameReader; cipher: FrameCipher | undefined; peerKeyed: boolean };

/**
 * Bytes both ways over one path after another: what was not acknowledged is sent again over the next, and nothing comes twice. An end counts as a
 * byte, as in TCP. Before all that, on the first path, come the bytes of a handshake that gives both ends the key. No I/O.
 */
export class ReliableLine {
  readonly #role: Role;
  readonly #hooks: LineHooks;
  readonly #window = new SendWindow();
  readonly #replay = new ReplayBuffer();
  #ackedOffset = 0;
  #endOffset: number | undefined;
  #receivedOffset = 0;
  #takenOffset = 0;
  #toldOffset = 0;
  #peerEnded = false;
  #handshakeBytes = 0;
  #secret: CarrierSecret | undefined;
  #path: Path | undefined;

  constructor(role: Role, hooks: LineHooks) {
    this.#role = role;
    this.#hooks = hooks;
  }

  /** Bytes that may be written now. */
  get room(): number {
    return this.#window.bytes - (this.#replay.until - this.#ackedOffset);
  }
  /** Offset up to which everything has come. */
  get received(): number {
    return this.#receivedOffset;
  }
  /** Whether `end` was called and the peer has taken all. */
  get isFinished(): boolean {
    return this.#endOffset !== undefined && this.#ackedOffset > this.#endOffset;
  }
  get isPeerFinished(): boolean {
    return this.#peerEnded;
  }
  /** Something is on its way that the peer has not acknowledged. */
  get isWaiting(): boolean {
    return this.#ackedOffset < this.#sentOffset;
  }
  get rttMs(): number | undefined {
    return this.#window.rttMs;
  }
  /** Both ends can tell each other's frames from anybody else's. */
  get isKeyed(): boolean {
    return this.#secret !== undefined;
  }

  get #sentOffset(): number {
    return this.#replay.until + (this.#endOffset === undefined ? 0 : 1);
  }

  /** Sends bytes of the handshake. After `key` there are none. */
  shake(pieces: readonly Uint8Array[]): void {
    for (const part of inParts(pieces, MAX_PAYLOAD_BYTES))
      this.#hooks.send(encodeCircuitFrame("handshake", 0, part, undefined));
  }

  /** Sends, also while there is no path: then it goes with the next one. To be called after `key` only. */
  write(pieces: readonly Uint8Array[]): void {
    const from = this.#replay.until;
    if (this.#path !== undefined) this.#sendData(from, pieces);
    this.#replay.push(pieces);
    this.#window.sent(from, this.#replay.until, this.#ackedOffset, this.#hooks.nowMs());
  }

  /** Says that nothing more will be written. */
  end(): void {
    if (this.#endOffset !== undefined) return;
    this.#endOffset = this.#replay.until;
    this.#say("end", this.#endOffset);
  }

  /** The owner has room again for so many bytes of those that came. */
  taken(bytes: number): void {
    this.#takenOffset += bytes;
    if (this.#takenOffset - this.#toldOffset >= ACK_BYTES) this.acknowledge();
  }

  /** Whether `acknowledge` would say something. */
  get owesAck(): boolean {
    return this.#takenOffset > this.#toldOffset;
  }

  acknowledge(): void {
    if (!this.owesAck || this.#path === undefined) return;
    this.#toldOffset = this.#takenOffset;
    this.#say("ack", this.#takenOffset);
  }

  ping(): void {
    this.#say("ping", 0);
  }

  reset(): void {
    this.#say("reset", 0);
  }

  /** From here on this end seals its frames; what waits for the key is read. */
  key(secret: CarrierSecret): void {
    this.#say("keyed", 0);
    this.#secret = secret;
    const path = this.#path;
    if (path === undefined) return;
    path.cipher = new FrameCipher(secret, this.#role, path.epoch);
    if (!path.peerKeyed) return;
    path.reader.expect(new FrameCipher(secret, other(this.#role), path.epoch));
    path.reader.release((frame) => this.#frame(frame));
  }

  /**
   * Goes on over a new path. `peerReceived`: the peer had everything up to there when it began to look for the path; it may have got more over the
   * path before, and have acknowledged it. Each epoch is used once.
   *
   * Throws Fault `routing.circuit-offset` when the peer cannot have received that; the circuit is over then.
   */
  attach(epoch: number, peerReceived: number): void {
    if (peerReceived > this.#sentOffset) {
      throw new Fault("routing.circuit-offset", `the peer has ${peerReceived} bytes, of which it was sent other parts`);
    }
    const secret = this.#secret;
    const cipher = secret === undefined ? undefined : new FrameCipher(secret, this.#role, epoch);
    const theirs = secret === undefined ? undefined : new FrameCipher(secret, other(this.#role), epoch);
    this.#path = { epoch, reader: new CircuitFrameReader(theirs), cipher, peerKeyed: secret !== undefined };
    this.#window.moved();
    if (secret === undefined) return;
    this.#toldOffset = Math.min(this.#toldOffset, this.#takenOffset - 1); // the last acknowledgement may be lost: say it again
    this.#replay.drop(Math.max(this.#replay.from, Math.min(peerReceived, this.#replay.until)));
    let offset = this.#replay.from;
    for (const part of this.#replay.parts(MAX_PAYLOAD_BYTES)) {
      this.#sendData(offset, part);
      for (const piece of part) offset += piece.length;
    }
    if (this.#endOffset !== undefined && peerReceived <= this.#endOffset) this.#say("end", this.#endOffset);
    this.acknowledge();
  }

  /** The path is gone; bytes that wait in the middle of a frame are forgotten. */
  detach(): void {
    this.#path = undefined;
  }

  /** Takes what came over the path. Throws Fault `routing.circuit-frame`: the path must not be used any more. */
  receive(piece: Uint8Array): void {
    const reader = this.#path?.reader;
    if (reader === undefined) return;
    reader.push(piece, (frame) => this.#frame(frame));
    if (reader.waitingBytes > MAX_UNTAKEN_BYTES + MAX_PAYLOAD_BYTES) throw invalid("too much for one window");
  }

  #frame({ type, value, payload, payloadBytes }: CircuitFrame): void {
    switch (type) {
      case "data":
        return this.#data(value, payload, payloadBytes);
      case "ack":
        return this.#acked(value);
      case "end":
        if (this.#peerEnded && value === this.#receivedOffset - 1) return undefined; // said again on another path
        if (value !== this.#receivedOffset || this.#peerEnded) throw invalid("an end in the wrong place");
        this.#peerEnded = true;
        this.#receivedOffset += 1;
        this.#hooks.ended();
        return this.taken(1);
      case "ping":
        return this.#say("pong", 0);
      case "keyed":
        return this.#expectSealed();
      case "handshake":
        this.#handshakeBytes += payloadBytes;
        if (this.#handshakeBytes > MAX_HANDSHAKE_BYTES) throw invalid("too long a handshake");
        return this.#hooks.handshake(payload);
      case "reset":
        return this.#hooks.reset();
      case "pong":
        return undefined; // that it came is what counts
    }
  }

  /** What the peer sent over the path before comes again, as far as it did not know that it had come. */
  #data(offset: number, payload: Uint8Array[], bytes: number): void {
    if (offset > this.#receivedOffset || bytes === 0) throw invalid("data in the wrong place");
    const known = this.#receivedOffset - offset;
    if (known >= bytes) return;
    if (this.#peerEnded) throw invalid("data behind the end");
    this.#receivedOffset += bytes - known;
    if (this.#receivedOffset - this.#takenOffset > MAX_UNTAKEN_BYTES) throw invalid("more than a window");
    this.#hooks.data(known === 0 ? payload : without(payload, known), bytes - known);
  }

  #acked(offset: number): void {
    if (offset > this.#sentOffset) throw invalid("an acknowledgement of what was not sent");
    if (offset <= this.#ackedOffset) return;
    this.#ackedOffset = offset;
    const bytes = Math.min(offset, this.#replay.until);
    if (bytes > this.#replay.from) this.#replay.drop(bytes);
    this.#window.acked(bytes, this.#hooks.nowMs());
    this.#hooks.acked();
  }

  /** The peer may have its key before this end has its own. */
  #expectSealed(): void {
    const path = this.#path;
    if (path === undefined || path.peerKeyed) throw invalid("a key for the second time");
    path.peerKeyed = true;
    if (this.#secret === undefined) path.reader.hold();
    else path.reader.expect(new FrameCipher(this.#secret, other(this.#role), path.epoch));
  }

  #sendData(from: number, pieces: readonly Uint8Array[]): void {
    let offset = from;
    for (const part of inParts(pieces, MAX_PAYLOAD_BYTES)) {
      const frame = encodeCircuitFrame("data", offset, part, this.#path?.cipher);
      for (const piece of part) offset += piece.length;
      this.#hooks.send(frame);
    }
  }

  #say(type: FrameType, value: number): void {
    if (this.#path !== undefined) this.#hooks.send(encodeCircuitFrame(type, value, [], this.#path.cipher));
  }
}

function other(role: Role): Role {
  return role === "source" ? "target" : "source";
}

/** Pieces without their first bytes. */
function without(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes;
  return pieces.flatMap((piece) => {
    const skipped = Math.min(left, piece.length);
    left -= skipped;
    return skipped === piece.length ? [] : [piece.subarray(skipped)];
  });
}

function invalid(what: string): Fault {
  return new Fault("routing.circuit-frame", `the peer sent ${what} on a circuit`, { exit: "invalid" });
}
