import type { Random, VirtualClock } from "#core";
import { DOUBT_PROBE_MS, IDLE_PROBE_MS, LinkHealth } from "../../src/mesh/link-health.ts";
import { MemoryHost } from "./memory-mesh.ts";

/** How often the daemon looks at a link at least (src/mesh/session-watch.ts). */
const LOOK_MS = 500;
/** A new connection: TCP, TLS and the hello. */
const DIAL_MS = 100;

type End = 0 | 1;
const other = (end: End): End => (end === 0 ? 1 : 0);
/** What one end measures, and when it looks next. */
type Probing = { health: LinkHealth; heardMs: number; nextMs: number; isSuspect: boolean };
/** A direction of the wire. `held`: what TCP has to send again, because it was lost on the way. */
type Direction = { isLost: boolean; delayMs: number; jitterRatio: number; arrivesMs: number; held: (() => void)[] };

/**
 * A wire between two hosts in memory, probed by the daemon's own `LinkHealth`, on virtual time. The session over it ends when an end takes it for
 * dead, and comes up again when the wire carries. In each direction packets may get lost: those of a stream come later, if the session lives.
 */
export class ProbedWire {
  readonly #clock: VirtualClock;
  readonly #random: Random;
  readonly #hosts: [MemoryHost | undefined, MemoryHost | undefined] = [undefined, undefined];
  readonly #directions: readonly [Direction, Direction];
  #probing: readonly [Probing, Probing] | undefined;
  /** Both ends know that it is not there. */
  #isCut = false;
  #isDialling = false;
  #intervalMs = IDLE_PROBE_MS;
  /** How often an end took the other for dead. */
  deaths = 0;

  /** `delayMs`: one way. */
  constructor(clock: VirtualClock, random: Random, delayMs: number) {
    this.#clock = clock;
    this.#random = random;
    const direction = (): Direction => ({ isLost: false, delayMs, jitterRatio: 0, arrivesMs: 0, held: [] });
    this.#directions = [direction(), direction()];
  }

  /** Whether bytes get through both ways. */
  get carries(): boolean {
    return !this.#isCut && this.#directions.every(({ isLost }) => !isLost);
  }

  get isUp(): boolean {
    return this.#probing !== undefined;
  }

  /** A process starts at this end. */
  plug(end: End, host: MemoryHost): void {
    this.#hosts[end] = host;
    this.#redial();
  }

  /** It is gone: its connections are reset. */
  unplug(end: End): void {
    this.#end("reset");
    this.#hosts[end] = undefined;
  }

  #up(): void {
    const [a, b] = this.#hosts;
    if (this.#probing !== undefined || !this.carries || a === undefined || b === undefined) return;
    const nowMs = this.#clock.nowMs();
    const probing = (role: "dialler" | "acceptor"): Probing => ({
      health: new LinkHealth(role, nowMs),
      heardMs: nowMs,
      nextMs: nowMs,
      isSuspect: false,
    });
    this.#probing = [probing("dialler"), probing("acceptor")];
    const ends = this.#probing;
    MemoryHost.link(a, b, ends);
    this.#look(0, ends);
    this.#look(1, ends);
  }

  /** The connection is reset: both ends know at once. */
  cut(): void {
    this.#isCut = true;
    this.#end("cut");
  }

  /** Either end wants it probed this often from now on. */
  probeEvery(ms: number): void {
    this.#intervalMs = ms;
    this.#lookNow();
  }

  /** Packets get lost from now on, towards these ends. */
  lose(...towards: readonly End[]): void {
    for (const end of towards) this.#directions[end].isLost = true;
    this.#lookNow();
  }

  /** All is well with the wire again. What TCP held comes at once, or the ends connect anew. */
  heal(): void {
    this.#isCut = false;
    for (const direction of this.#directions) {
      direction.isLost = false;
      for (const deliver of direction.held.splice(0)) this.#fly(direction, deliver);
    }
    this.#redial();
  }

  /** One way takes so long from now on. */
  delay(towards: End, delayMs: number, jitterRatio = 0): void {
    Object.assign(this.#directions[towards], { delayMs, jitterRatio });
  }

  /** Brings a session's message, in order; what is lost comes again when the wire carries, unless the session is over by then. */
  carry(towards: End, deliver: () => void): void {
    const probing = this.#probing;
    if (probing === undefined) return;
    const arrive = (): void => {
      if (this.#probing !== probing) return;
      probing[towards].heardMs = this.#clock.nowMs();
      deliver();
    };
    const direction = this.#directions[towards];
    if (direction.isLost) direction.held.push(arrive);
    else this.#fly(direction, arrive);
  }

  #fly(direction: Direction, arrive: () => void): void {
    const nowMs = this.#clock.nowMs();
    direction.arrivesMs = Math.max(direction.arrivesMs, nowMs + this.#flightMs(direction));
    void this.#clock.sleep(direction.arrivesMs - nowMs).then(arrive);
  }

  #flightMs({ delayMs, jitterRatio }: Direction): number {
    return delayMs * (1 + jitterRatio * (2 * this.#random.unit() - 1));
  }

  #lookNow(): void {
    const ends = this.#probing;
    if (ends === undefined) return;
    for (const end of [0, 1] as const) if (this.#probing === ends) this.#look(end, ends);
  }

  #redial(): void {
    if (this.#isDialling || this.#probing !== undefined || !this.carries) return;
    this.#isDialling = true;
    void this.#clock.sleep(DIAL_MS).then(() => {
      this.#isDialling = false;
      this.#up();
    });
  }

  #end(reason: string): void {
    if (this.#probing === undefined) return;
    this.#probing = undefined;
    for (const direction of this.#directions) direction.held.length = 0;
    const [a, b] = this.#hosts;
    if (b !== undefined) a?.disconnect(b.nodeId, reason);
  }

  /** Looks at the link as the daemon does. Where nothing is lost, looks at which nothing is due are left out: they would change nothing. */
  #look(end: End, probing: readonly [Probing, Probing]): void {
    if (this.#probing !== probing) return;
    const nowMs = this.#clock.nowMs();
    const self = probing[end];
    const use = {
      heardMs: self.heardMs,
      sending: false,
      intervalMs: this.#intervalMs,
      doubtMs: DOUBT_PROBE_MS,
      datagrams: true,
    };
    const { liveness, datagram, stream, nextMs } = self.health.check(use, nowMs);
    self.isSuspect = liveness !== "alive";
    if (liveness === "dead") {
      this.#end("silent");
      this.deaths += 1;
      return this.#redial();
    }
    if (datagram !== undefined) this.#ask(end, probing, { ...datagram, link: "" });
    if (stream !== undefined) this.#askOnStream(end, probing, stream);
    const isSound = this.carries && liveness === "alive";
    const atMs = Math.max(nowMs + 20, isSound ? nextMs : Math.min(nextMs, nowMs + LOOK_MS));
    if (self.nextMs > nowMs && self.nextMs <= atMs) return; // that look is on its way
    self.nextMs = atMs;
    void this.#clock.sleep(atMs - nowMs).then(() => {
      if (self.nextMs === atMs) this.#look(end, probing);
    });
  }

  #ask(end: End, probing: readonly [Probing, Probing], probe: Parameters<LinkHealth["asked"]>[0]): void {
    const [asker, asked] = [probing[end], probing[other(end)]];
    this.#datagram(other(end), probing, () => {
      if (!asked.health.asked(probe, this.#clock.nowMs())) return;
      this.#datagram(end, probing, () => asker.health.answered(probe.number, this.#clock.nowMs()));
    });
  }

  #askOnStream(end: End, probing: readonly [Probing, Probing], number: number): void {
    const [asker, asked] = [probing[end], probing[other(end)]];
    this.carry(other(end), () => {
      asked.health.askedOnStream(asker.health.rttMs);
      this.carry(end, () => asker.health.answeredOnStream(number, this.#clock.nowMs()));
    });
  }

  #datagram(towards: End, probing: readonly [Probing, Probing], arrive: () => void): void {
    const direction = this.#directions[towards];
    if (direction.isLost) return;
    void this.#clock.sleep(this.#flightMs(direction)).then(() => {
      if (this.#probing === probing && !direction.isLost) arrive();
    });
  }
}
