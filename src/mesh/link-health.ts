import type { Probe } from "./probe-datagram.ts";

/** Probe intervals: with a live circuit, within a minute of user bytes, at rest (design: hello, links). */
export const CIRCUIT_PROBE_MS = 120;
export const USED_PROBE_MS = 500;
export const IDLE_PROBE_MS = 2_000;
/** Probes that must go unanswered before a link is suspect; while in doubt they follow each other this fast. */
const SUSPECT_MISSES = 3;
export const DOUBT_PROBE_MS = 120;
/** While in doubt it is looked at so often between two probes: what a verdict is late by, a live circuit stands still longer. */
const DOUBT_LOOKS = 6;
/** A datagram that was not answered for so long, or four round trips, is missed; on a stream TCP may first have to send again. */
const DATAGRAM_WAIT_MS = 100;
const STREAM_WAIT_MS = 1_000;
/** A datagram that has not come back by then, or after twice the time by which it is missed, is lost. */
const LOST_MS = 1_000;
/** Silence after which a link is dead, unless four round trips and a probe interval are longer. */
export const DEAD_MS = 5_000;
/** Datagrams lost in a row after which they do not pass any more, and those after which they never did. */
const BLOCKED_LOSSES = 16;
const NEVER_PASSED_LOSSES = 5;
/** Then they are tried again, one at a time, this often. */
const BLOCKED_RETRY_MS = 30_000;
/** While datagrams answer, the stream is probed this often, and must answer within the second time: a firewall may drop only TCP. */
const STREAM_CHECK_MS = 60_000;
const STREAM_STUCK_MS = 20_000;
/** Probes that are remembered until they are answered or lost. */
const MAX_OUTSTANDING = 64;
/** Outcomes of which the loss is worked out, at least and at most: at rest it is known after half a minute. */
const LOSS_SAMPLES_MIN = 16;
const LOSS_SAMPLES_MAX = 128;
/** A sample is the shortest of the last eight round trips; the new one counts 0.164 (RFC 9616 §4.2 takes 0.836 for the old). */
const RTT_WINDOW = 8;
const RTT_SMOOTHING = 0.836;
/** What was seen of the load so long ago counts 1/e of what is seen now. */
const LOAD_MS = 30_000;
/** One look stands for so long at most: this process may have stood still. */
const LOAD_STEP_MS = 2_000;

export type Liveness = "alive" | "suspect" | "dead";

/** A probe under way. `waitsFromMs`: when it was sent, and later by as long as this process stood still since. */
type Sent = { number: number; sentMs: number; waitsFromMs: number };

/** What the link is used for, and what it offers. */
export type LinkUse = {
  /** When the last byte came over the connection. */
  heardMs: number;
  /** Whether what this end sent waits for the kernel to take it. */
  sending: boolean;
  /** How often this side wants it probed. */
  intervalMs: number;
  /** How often at most while in doubt; `DOUBT_PROBE_MS` unless many are. */
  doubtMs: number;
  /** Whether there is an address to send datagrams to. */
  datagrams: boolean;
};

type Silence = { silentMs: number; lateMs: number; promisedMs: number };

/** What to send now, and how the link is. */
export type LinkCheck = {
  liveness: Liveness;
  /** Something that should have come did not. */
  inDoubt: boolean;
  datagram: Omit<Probe, "link"> | undefined;
  /** Number of the probe to send on the stream. */
  stream: number | undefined;
  /** When to look again, at the latest. */
  nextMs: number;
};

/**
 * The health of one link: whom to probe when, and what answers and silence mean. The dialler asks; the acceptor learns from
 * what it is asked, and asks too when it wants to know more or hears less than it was promised. Datagrams, because TCP hides
 * loss and a probe on a stream queues behind bulk; the stream where they do not pass. No I/O.
 */
export class LinkHealth {
  readonly #dials: boolean;
  #numbers = 0;
  #asked = 0; // newest number the peer asked with
  #peerIntervalMs = IDLE_PROBE_MS;
  #heardMs: number; // by datagram
  #forgivenMs: number; // silence before this does not count
  #lastHeardMs: number; // by whatever means, as of the last check
  #promisedMs = IDLE_PROBE_MS; // within which something is to come, as of the last check
  #promisedFromMs = Number.NEGATIVE_INFINITY; // since when it is so short
  #datagramSentMs = Number.NEGATIVE_INFINITY;
  #misses = 0; // probes without an answer since the last sign of life
  #lostInARow = 0;
  #passes = false; // datagrams do
  #blockedUntilMs = Number.NEGATIVE_INFINITY;
  #outstanding: Sent[] = [];
  #streamProbe: Sent | undefined;
  #streamSentMs = Number.NEGATIVE_INFINITY;
  readonly #outcomes: boolean[] = []; // answered?
  #unanswered = 0; // of those
  readonly #rtts: number[] = [];
  #rttMs: number | undefined;
  #toldLoss: number | undefined;
  #load = 0;
  #loadSeenMs: number;
  #unheard = false; // the peer says it hears nothing of us

  constructor(role: "dialler" | "acceptor", nowMs: number) {
    this.#dials = role === "dialler";
    this.#heardMs = nowMs;
    this.#forgivenMs = nowMs;
    this.#lastHeardMs = nowMs;
    this.#loadSeenMs = nowMs;
  }

  /** Smoothed, in milliseconds; `undefined` until something came back. */
  get rttMs(): number | undefined {
    return this.#rttMs;
  }

  /** Share of datagrams that did not come back; `undefined` where none pass, or too few were sent yet. */
  get lossRatio(): number | undefined {
    if (!this.#passes) return undefined;
    if (this.#outcomes.length < LOSS_SAMPLES_MIN) return this.#toldLoss;
    return this.#unanswered / this.#outcomes.length;
  }

  /** Share of the checks, by time, at which this end was sending. */
  get loadRatio(): number {
    return this.#load;
  }

  /** How the figures were measured; `undefined` until something came back. */
  get measuredBy(): "udp" | "stream" | undefined {
    if (this.#rttMs === undefined) return undefined;
    return this.#passes ? "udp" : "stream";
  }

  /** This process stood still for so long until now: nobody is blamed for that. */
  forgive(stoodMs: number, nowMs: number): void {
    this.#forgivenMs = Math.min(nowMs, this.#lastHeardMs + stoodMs);
    for (const probe of this.#outstanding) probe.waitsFromMs += stoodMs;
    if (this.#streamProbe !== undefined) this.#streamProbe.waitsFromMs += stoodMs;
  }

  /** A datagram with our MAC asks. Says whether to answer: not twice, or a recorded one could be played again. */
  asked({ type, number, rttMs, lossRatio, intervalMs }: Probe, nowMs: number): boolean {
    if (number <= this.#asked) return false;
    this.#asked = number;
    this.#heard(nowMs);
    this.#peerIntervalMs = Math.max(intervalMs, DOUBT_PROBE_MS);
    if (!this.#dials || this.#rttMs === undefined) this.#rttMs = rttMs ?? this.#rttMs;
    this.#toldLoss = lossRatio;
    this.#unheard = type === "ask-deaf";
    return true;
  }

  /** A datagram with our MAC answers. */
  answered(number: number, nowMs: number): void {
    const at = this.#outstanding.findIndex((probe) => probe.number === number);
    const [probe] = at < 0 ? [] : this.#outstanding.splice(at, 1);
    if (probe === undefined) return;
    this.#heard(nowMs);
    this.#unheard = false;
    this.#sample(nowMs - probe.sentMs);
    this.#outcome(true);
  }

  /** The peer asks on the stream, and says what it measured. */
  askedOnStream(rttMs: number | undefined): void {
    if (rttMs !== undefined && (!this.#dials || this.#rttMs === undefined)) this.#rttMs = rttMs;
  }

  answeredOnStream(number: number, nowMs: number): void {
    if (this.#streamProbe?.number !== number) return;
    if (!this.#passes) this.#sample(nowMs - this.#streamProbe.sentMs);
    this.#streamProbe = undefined;
  }

  /** Decides what to send now. Call it at `nextMs`, or earlier. */
  check(use: LinkUse, nowMs: number): LinkCheck {
    this.#seeLoad(use.sending, nowMs);
    const heardMs = Math.max(use.heardMs, this.#heardMs, this.#forgivenMs);
    this.#lastHeardMs = heardMs;
    this.#countMisses(heardMs, nowMs);
    const promisedMs = this.#dials ? use.intervalMs : Math.min(use.intervalMs, this.#peerIntervalMs);
    if (promisedMs < this.#promisedMs) this.#promisedFromMs = nowMs; // a link at rest is not late when it comes into use
    this.#promisedMs = promisedMs;
    const silentMs = nowMs - heardMs;
    const lateMs = nowMs - Math.max(heardMs, this.#promisedFromMs);
    const inDoubt = this.#isInDoubt(lateMs, promisedMs);
    const asks = this.#dials || inDoubt || use.intervalMs < this.#peerIntervalMs;
    const everyMs = inDoubt ? use.doubtMs : use.intervalMs;
    const hears = this.#judge({ silentMs, lateMs, promisedMs }, use, nowMs);
    const isDue = asks && use.datagrams && this.#datagramIsDue(everyMs, nowMs);
    const datagram = isDue ? this.#ask(hears === "alive" ? "ask" : "ask-deaf", use, nowMs) : undefined;
    const stream = asks && this.#streamIsDue(use, inDoubt, nowMs) ? this.#askOnStream(nowMs) : undefined;
    return {
      liveness: hears === "alive" && this.#unheard ? "suspect" : hears,
      inDoubt,
      datagram,
      stream,
      nextMs: nowMs + (inDoubt ? use.doubtMs / DOUBT_LOOKS : Math.min(everyMs, promisedMs)),
    };
  }

  #waitMs(leastMs: number): number {
    return Math.max(leastMs, 4 * (this.#rttMs ?? 0));
  }

  #seeLoad(sending: boolean, nowMs: number): void {
    const sinceMs = Math.min(nowMs - this.#loadSeenMs, LOAD_STEP_MS);
    const share = 1 - Math.exp(-sinceMs / LOAD_MS);
    this.#load += share * ((sending ? 1 : 0) - this.#load);
    this.#loadSeenMs = nowMs;
  }

  /** Something that should have come by now did not. */
  #isInDoubt(lateMs: number, promisedMs: number): boolean {
    if (this.#misses > 0 || this.#unheard) return true;
    return lateMs > promisedMs + this.#waitMs(DATAGRAM_WAIT_MS) && (this.#passes || !this.#dials);
  }

  /** By what this side hears: since when it hears nothing, and since when something should have come. */
  #judge({ silentMs, lateMs, promisedMs }: Silence, use: LinkUse, nowMs: number): Liveness {
    const waitsFromMs = this.#streamProbe?.waitsFromMs ?? nowMs;
    if (nowMs - waitsFromMs > STREAM_STUCK_MS && use.heardMs < waitsFromMs) return "dead";
    if (silentMs >= Math.max(DEAD_MS, promisedMs + this.#waitMs(0))) return "dead";
    if (this.#passes && use.datagrams) {
      const unasked = lateMs >= SUSPECT_MISSES * promisedMs + this.#waitMs(DATAGRAM_WAIT_MS);
      return unasked || (this.#misses >= SUSPECT_MISSES && silentMs >= this.#waitMs(0)) ? "suspect" : "alive";
    }
    return lateMs >= promisedMs + this.#waitMs(STREAM_WAIT_MS) ? "suspect" : "alive";
  }

  #heard(nowMs: number): void {
    this.#heardMs = nowMs;
    this.#misses = 0;
    this.#lostInARow = 0;
    this.#passes = true;
    this.#blockedUntilMs = Number.NEGATIVE_INFINITY;
  }

  /** Probes are missed when their time is over; those sent before the last sign of life say nothing about the link now. */
  #countMisses(heardMs: number, nowMs: number): void {
    const missedMs = this.#waitMs(DATAGRAM_WAIT_MS);
    const lostMs = Math.max(LOST_MS, 2 * missedMs);
    const isMissed = (sent: Sent): boolean => sent.waitsFromMs >= heardMs && nowMs - sent.waitsFromMs >= missedMs;
    this.#misses = this.#passes ? this.#outstanding.filter(isMissed).length : 0;
    while (this.#outstanding[0] !== undefined && nowMs - this.#outstanding[0].waitsFromMs >= lostMs) {
      this.#outstanding.shift();
      this.#lostInARow += 1;
      this.#outcome(false);
    }
    if (this.#lostInARow < (this.#passes ? BLOCKED_LOSSES : NEVER_PASSED_LOSSES)) return;
    this.#lostInARow = NEVER_PASSED_LOSSES - 1; // one more try at a time
    this.#passes = false;
    this.#blockedUntilMs = nowMs + BLOCKED_RETRY_MS;
    this.#outcomes.length = 0;
    this.#unanswered = 0;
  }

  #datagramIsDue(everyMs: number, nowMs: number): boolean {
    return nowMs >= this.#blockedUntilMs && nowMs - this.#datagramSentMs >= everyMs;
  }

  #ask(type: Probe["type"], { intervalMs }: LinkUse, nowMs: number): Omit<Probe, "link"> {
    this.#numbers += 1;
    this.#datagramSentMs = nowMs;
    if (this.#outstanding.length >= MAX_OUTSTANDING) this.#outstanding.shift();
    this.#outstanding.push({ number: this.#numbers, sentMs: nowMs, waitsFromMs: nowMs });
    return { type, number: this.#numbers, rttMs: this.#rttMs, lossRatio: this.lossRatio, intervalMs };
  }

  #streamIsDue(use: LinkUse, inDoubt: boolean, nowMs: number): boolean {
    if (this.#streamProbe !== undefined) return false;
    const restMs = this.#passes && use.datagrams ? STREAM_CHECK_MS : use.intervalMs;
    const everyMs = inDoubt && this.#passes ? use.doubtMs : restMs;
    return nowMs - this.#streamSentMs >= everyMs;
  }

  #askOnStream(nowMs: number): number {
    this.#numbers += 1;
    this.#streamSentMs = nowMs;
    this.#streamProbe = { number: this.#numbers, sentMs: nowMs, waitsFromMs: nowMs };
    return this.#numbers;
  }

  #outcome(answered: boolean): void {
    this.#outcomes.push(answered);
    if (!answered) this.#unanswered += 1;
    if (this.#outcomes.length > LOSS_SAMPLES_MAX && this.#outcomes.shift() === false) this.#unanswered -= 1;
  }

  #sample(rttMs: number): void {
    this.#rtts.push(rttMs);
    if (this.#rtts.length > RTT_WINDOW) this.#rtts.shift();
    const least = Math.min(...this.#rtts);
    this.#rttMs = this.#rttMs === undefined ? least : RTT_SMOOTHING * this.#rttMs + (1 - RTT_SMOOTHING) * least;
  }
}
