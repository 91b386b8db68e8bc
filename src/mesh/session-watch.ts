import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { type Clock, Fault, RateLimit } from "#core";
import { parseAddress, plainIp } from "./address.ts";
import type { Gatekeeper } from "./gatekeeper.ts";
import { CIRCUIT_PROBE_MS, DEAD_MS, DOUBT_PROBE_MS, IDLE_PROBE_MS, USED_PROBE_MS } from "./link-health.ts";
import type { ProbeSockets, ProbeTarget } from "./probe-sockets.ts";
import type { Probe } from "./probe-datagram.ts";
import type { Link, LiveSession } from "./session.ts";

/** All sessions are looked at this often at least; a link in doubt is looked at after 50 ms. */
const LOOK_MS = 500;
/** Looks closer than this are one: 10 links then wake an idle process a few times a second. */
const TOGETHER_MS = 20;
/** So long after user bytes a link is probed more often (design: hello, links). */
const USED_MS = 60_000;
/**
 * Links in doubt at the same time that are probed as fast as one alone. Where there are more it is this node, or its machine, that is too busy to hear
 * (Lifeguard, Dadgar 2018), and more probes would make it busier: all together get no more than these.
 */
const DOUBTS_AT_ONCE = 8;
/** Probes that one peer may have answered a second: twice what the fastest interval asks. */
const ANSWERS_PER_SECOND = 16;

export type WatchDeps = {
  clock: Clock;
  keeper: Gatekeeper;
  sockets: ProbeSockets;
  /** Whether datagrams to this host may leave this machine, as connections to it do. */
  isDirect: (host: string) => boolean;
};

/** Probes all sessions until the signal fires, and ends those that are dead. */
export function watchSessions(deps: WatchDeps, signal: AbortSignal): void {
  new SessionWatch(deps).run(signal).catch(() => undefined); // the signal fired
}

/** What is known of a link besides its health. */
class WatchedLink {
  readonly link: Link;
  readonly #limit: RateLimit;
  readonly #stop: () => void;
  /** Where to send datagrams: where we dialled, or where the peer's own last came from. */
  target: ProbeTarget | undefined;
  usedMs = Number.NEGATIVE_INFINITY;
  busy = false;

  constructor({ clock, sockets, isDirect }: WatchDeps, session: LiveSession) {
    const { link, health } = session;
    this.link = link;
    this.#limit = new RateLimit(clock, ANSWERS_PER_SECOND, ANSWERS_PER_SECOND);
    if (link.connection.direction === "outbound") this.#aim(link.connection.remoteAddr.toString(), isDirect);
    this.#stop = sockets.listen(link.probe, (probe: Probe, from) => {
      const { probe: theirs } = link.greeting;
      if (probe.type === "answer") return health.answered(probe.number, clock.nowMs());
      if (theirs === undefined || !this.#limit.take() || !health.asked(probe, clock.nowMs())) return;
      if (link.connection.direction === "inbound") this.target = from;
      sockets.send({ ...probe, type: "answer" }, theirs, from);
    });
  }

  end(): void {
    this.#stop();
  }

  #aim(address: string, isDirect: (host: string) => boolean): void {
    const { host, port } = parseAddress(address);
    if (!isDirect(host)) return;
    if (isIP(host) !== 0) {
      this.target = { host: plainIp(host), port };
      return;
    }
    lookup(host).then(
      ({ address: ip }) => (this.target = { host: ip, port }),
      () => undefined, // probed on the stream
    );
  }
}

class SessionWatch {
  readonly #deps: WatchDeps;
  readonly #watched = new Map<LiveSession, WatchedLink>();
  /** Links in doubt at the last look. */
  #doubts = 0;

  constructor(deps: WatchDeps) {
    this.#deps = deps;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, keeper } = this.#deps;
    for (let dueMs = clock.nowMs(); ; ) {
      await clock.sleep(dueMs - clock.nowMs(), signal);
      const nowMs = clock.nowMs();
      const stoodMs = nowMs - dueMs;
      dueMs = nowMs + LOOK_MS;
      const doubtMs = DOUBT_PROBE_MS * Math.max(1, this.#doubts / DOUBTS_AT_ONCE);
      this.#doubts = 0;
      for (const session of keeper.sessions.values()) {
        if (stoodMs > TOGETHER_MS) session.health.forgive(stoodMs, nowMs);
        dueMs = Math.min(dueMs, this.#look(session, nowMs, doubtMs));
      }
      dueMs = Math.max(dueMs, nowMs + TOGETHER_MS);
      this.#forgetEnded();
    }
  }

  /** Says when to look again. */
  #look(session: LiveSession, nowMs: number, doubtMs: number): number {
    const { keeper, sockets } = this.#deps;
    const { link, health } = session;
    const watched = this.#watch(session);
    const { probe: theirs } = link.greeting;
    const { target } = watched;
    const use = {
      heardMs: link.guard.heardMs,
      sending: link.guard.sending,
      intervalMs: intervalOf(session, watched, nowMs),
      doubtMs,
      datagrams: theirs !== undefined && target !== undefined,
    };
    const { liveness, inDoubt, datagram, stream, nextMs } = health.check(use, nowMs);
    if (inDoubt) this.#doubts += 1;
    if (datagram !== undefined && theirs !== undefined && target !== undefined) sockets.send(datagram, theirs, target);
    if (stream !== undefined) session.probe(stream);
    session.isSuspect = liveness !== "alive";
    if (liveness === "dead") keeper.end(link.connection, new Fault("mesh.silent", `no sign of life for ${DEAD_MS} ms`));
    return nextMs;
  }

  #watch(session: LiveSession): WatchedLink {
    const known = this.#watched.get(session);
    if (known?.link === session.link) return known;
    known?.end();
    const fresh = new WatchedLink(this.#deps, session);
    this.#watched.set(session, fresh);
    return fresh;
  }

  #forgetEnded(): void {
    for (const [session, watched] of this.#watched) {
      if (this.#deps.keeper.sessions.get(session.nodeId) === session) continue;
      watched.end();
      this.#watched.delete(session);
    }
  }
}

/** A stream that is open twice in a row carries something; look-ups and the like are over by then. */
function intervalOf(session: LiveSession, watched: WatchedLink, nowMs: number): number {
  const busy = session.link.connection.streams.length > 1; // one is the session's
  if (busy && watched.busy) watched.usedMs = nowMs;
  watched.busy = busy;
  if (session.circuits > 0) return CIRCUIT_PROBE_MS;
  return nowMs - watched.usedMs < USED_MS ? USED_PROBE_MS : IDLE_PROBE_MS;
}
