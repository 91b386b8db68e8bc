import { asError, encodeFrame, Fault, faultCode, HeadedStream, RateLimit, withDeadline } from "#core";
import type { NodeId } from "#identity";
import type { Session } from "#mesh";
import { type CircuitsDeps, type CircuitState, HOLD_MS } from "./circuit.ts";
import { CIRCUIT_PROTOCOL, FROM_SOURCE, type Open, type Opening, readOpen, signAnswer } from "./circuit-open.ts";
import { Gateway } from "./gateway.ts";
import { type Leg, legOf } from "./leg.ts";
import { PING_MS } from "./path-watch.ts";
import { ResumableDuplex } from "./resumable-duplex.ts";
import { SeenOpens } from "./seen-opens.ts";
import { SourceCircuit } from "./source-circuit.ts";

/** How often it is asked whether a circuit should go a better way, and how many do at a time: everybody hears of the same link at once. */
export const BETTER_LOOK_MS = 1_000;
const MAX_MOVED_SHARE = 0.01;
/** How often links under circuits are looked at: adds to the half second that it takes them to be suspect. */
export const LINK_LOOK_MS = 25;
/** A way may break before the ends have the keys that they resume with. Then they begin anew, so often. */
const MAX_BEGINNINGS = 3;
/** From the stream to its head. */
const HEAD_TIMEOUT_MS = 5_000;
/** The handshake and the hello at the target's end. */
const ACCEPT_TIMEOUT_MS = 20_000;
/** Circuits that end here, of all and of one source. */
const MAX_TARGETS = 1_024;
const MAX_TARGETS_PER_SOURCE = 8;
/** Openings that one neighbour may bring in a second. Each costs a signature to check. */
const OPENS_PER_SECOND = 200;

type Target = { source: NodeId; duplex: ResumableDuplex; epoch: number; hold: AbortController };

/**
 * Connections to members that cannot be dialled, over links of others: opens them, accepts them, carries those of others, and moves live ones
 * to another way when theirs breaks. docs/spec/circuits.md.
 */
export class Circuits implements Disposable {
  readonly #deps: CircuitsDeps;
  readonly #gateway: Gateway;
  readonly #seen = new SeenOpens();
  readonly #limits = new WeakMap<Session, RateLimit>();
  readonly #sources = new Map<NodeId, SourceCircuit>();
  readonly #targets = new Map<string, Target>();
  readonly #stop = new AbortController();
  #watching = false;

  constructor(deps: CircuitsDeps) {
    this.#deps = deps;
    this.#gateway = new Gateway(deps);
    deps.host.handle(CIRCUIT_PROTOCOL, (stream, session) => {
      this.#opened(new HeadedStream(stream, FROM_SOURCE), session).catch((error: Error) => stream.abort(error));
    });
  }

  [Symbol.dispose](): void {
    const reason = new Fault("routing.stopped", "the node stops");
    this.#stop.abort(reason);
    for (const circuit of this.#sources.values()) circuit.end(reason);
    for (const { duplex } of this.#targets.values()) duplex.destroy(reason);
  }

  get gateway(): Gateway {
    return this.#gateway;
  }

  /** Circuits that begin or end here. */
  list(): CircuitState[] {
    const sources = [...this.#sources.values()].map((circuit) => circuit.state());
    const targets = [...this.#targets.values()].map(({ source, duplex, epoch }) => ({
      peer: source,
      role: "target" as const,
      path: undefined,
      moves: epoch,
      isAttached: duplex.isAttached,
      rttMs: duplex.rttMs,
      bytesIn: duplex.bytesIn,
      bytesOut: duplex.bytesOut,
    }));
    return [...sources, ...targets];
  }

  /**
   * The session with a member over a circuit; opens one if there is none. Throws Fault `routing.no-route` when no way is known, or what the last
   * way that was tried failed with.
   */
  async connect(peer: NodeId, signal: AbortSignal): Promise<Session> {
    for (let left = MAX_BEGINNINGS; ; ) {
      try {
        return await this.#connectOnce(peer, signal);
      } catch (error) {
        left -= 1;
        if (left === 0 || signal.aborted || faultCode(error) !== "routing.circuit-lost") throw error;
      }
    }
  }

  #connectOnce(peer: NodeId, signal: AbortSignal): Promise<Session> {
    const live = this.#deps.host.carriedSession(peer);
    if (live !== undefined) return Promise.resolve(live);
    const known = this.#sources.get(peer);
    const circuit = known === undefined || known.isEnding ? this.#add(peer) : known;
    return circuit.connected(signal);
  }

  #add(peer: NodeId): SourceCircuit {
    const circuit = new SourceCircuit(peer, this.#deps, this.#stop.signal, () => {
      if (this.#sources.get(peer) === circuit) this.#sources.delete(peer);
    });
    this.#sources.set(peer, circuit);
    void this.#watch();
    return circuit;
  }

  /** Ends what has no business any more: circuits of and to nodes that are no members. */
  endRevoked(): void {
    const { isMember } = this.#deps;
    const reason = new Fault("routing.not-member", "the node at the other end is no member any more", {
      exit: "denied",
    });
    this.#gateway.endRevoked();
    for (const [peer, circuit] of this.#sources) if (!isMember(peer)) circuit.end(reason);
    for (const { source, duplex } of this.#targets.values()) if (!isMember(source)) duplex.destroy(reason);
  }

  /** Looks after the circuits that begin here or go over this node, as long as there are any. */
  async #watch(): Promise<void> {
    if (this.#watching) return;
    this.#watching = true;
    try {
      await this.#look();
    } catch (error) {
      this.#deps.log.error("circuits are not looked after", { reason: asError(error).message });
    } finally {
      this.#watching = false;
    }
  }

  async #look(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#stop;
    let [pingMs, betterMs] = [clock.nowMs() + PING_MS, clock.nowMs()];
    while (!signal.aborted && (this.#sources.size > 0 || this.#gateway.carried().length > 0)) {
      await clock.sleep(LINK_LOOK_MS, signal).catch(() => undefined);
      this.#gateway.endSilent();
      this.#gateway.endHoarders();
      for (const circuit of this.#sources.values()) circuit.lookAtLink();
      if (clock.nowMs() < pingMs) continue;
      pingMs = Math.max(pingMs + PING_MS, clock.nowMs());
      for (const circuit of this.#sources.values()) circuit.look();
      if (clock.nowMs() < betterMs) continue;
      betterMs = clock.nowMs() + BETTER_LOOK_MS;
      this.#improve();
    }
  }

  /** Moves all whose way must not be used any more, and a few of those that have a better one. */
  #improve(): void {
    let left = Math.max(1, Math.floor(MAX_MOVED_SHARE * this.#sources.size));
    for (const circuit of this.#sources.values()) {
      const move = circuit.nextMove();
      if (move === undefined || !(move.isForced || left > 0)) continue;
      if (!move.isForced) left -= 1;
      circuit.goBy(move.path);
    }
  }

  async #opened(stream: HeadedStream, session: Session): Promise<void> {
    const { clock, host } = this.#deps;
    const { signal } = this.#stop;
    try {
      const head = await withDeadline(clock, HEAD_TIMEOUT_MS, "a circuit's opening", () => stream.head, signal);
      const [opening, leg] = this.#judge(head, session);
      if (leg.next === undefined) this.#accept(stream, opening.open);
      else {
        await this.#gateway.carry(stream, opening, leg, signal);
        void this.#watch();
      }
    } catch (error) {
      const { message } = asError(error);
      const code = error instanceof Fault ? error.code : "routing.failed";
      this.#deps.log.debug("circuit refused", { from: session.nodeId, code, message });
      stream.send(...encodeFrame({ code, reason: message.slice(0, 300), at: host.nodeId }));
      stream.close();
    }
  }

  #judge(head: unknown, session: Session): [Opening, Leg] {
    const { host, fleet, trustedMs, clock, isNear } = this.#deps;
    if (session.carried) throw refuse("a circuit over a circuit");
    const limit = this.#limits.get(session) ?? new RateLimit(clock, OPENS_PER_SECOND, OPENS_PER_SECOND);
    this.#limits.set(session, limit);
    if (!limit.take()) throw refuse("too many openings at a time");
    const opening = readOpen(head, { fleet: fleet(), nowMs: trustedMs() });
    const leg = legOf(opening, host.nodeId, isNear);
    if (leg.from !== session.nodeId) throw refuse("this node is not next on the path");
    if (!this.#seen.isFirst(opening.open, clock.nowMs())) throw refuse("an opening that was used before");
    return [opening, leg];
  }

  #accept(stream: HeadedStream, open: Open): void {
    const { isMember } = this.#deps;
    if (!isMember(open.source)) throw new Fault("routing.not-member", "the source is no member", { exit: "denied" });
    if (open.epoch === 0) this.#begin(stream, open);
    else this.#resume(stream, open);
  }

  #begin(stream: HeadedStream, open: Open): void {
    const { host, clock, key, log } = this.#deps;
    const ofSource = [...this.#targets.values()].filter(({ source }) => source === open.source).length;
    if (this.#targets.size >= MAX_TARGETS || ofSource >= MAX_TARGETS_PER_SOURCE)
      throw new Fault("routing.target-full", "this node has as many circuits as it may", { exit: "conflict" });
    const id = Buffer.from(open.circuit).toString("hex");
    const duplex = new ResumableDuplex("target", clock, {
      detached: () => this.#hold(target),
      over: (error) => {
        target.hold.abort();
        this.#targets.delete(id);
        log.debug("circuit ended", { source: open.source, why: error?.message });
      },
    });
    const target: Target = { source: open.source, duplex, epoch: 0, hold: new AbortController() };
    this.#targets.set(id, target);
    stream.send(...encodeFrame(signAnswer(key, open, 0)));
    duplex.attach(stream, 0, 0);
    const accepting = (signal: AbortSignal): Promise<void> => host.acceptOver(duplex.carrier(open.source), signal);
    withDeadline(clock, ACCEPT_TIMEOUT_MS, "accepting a circuit", accepting, this.#stop.signal).catch((error: Error) =>
      duplex.destroy(error),
    );
  }

  #resume(stream: HeadedStream, open: Open): void {
    const target = this.#targets.get(Buffer.from(open.circuit).toString("hex"));
    if (target?.source !== open.source || !target.duplex.isResumable)
      throw new Fault("routing.unknown-circuit", "this node does not have that circuit", { exit: "missing" });
    if (open.epoch <= target.epoch) throw refuse("an epoch that is over");
    target.epoch = open.epoch;
    target.hold.abort();
    stream.send(...encodeFrame(signAnswer(this.#deps.key, open, target.duplex.received)));
    target.duplex.attach(stream, open.epoch, open.received);
  }

  #hold(target: Target): void {
    target.hold = new AbortController();
    this.#deps.clock.sleep(HOLD_MS, target.hold.signal).then(
      () =>
        target.duplex.destroy(new Fault("routing.circuit-lost", "the source did not come back", { exit: "offline" })),
      () => undefined, // it did, or the circuit is over
    );
  }
}

function refuse(what: string): Fault {
  return new Fault("routing.circuit-open", what, { exit: "denied" });
}
