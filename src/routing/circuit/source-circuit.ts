import { asError, encodeFrame, Fault, faultCode, HeadedStream, withDeadline } from "#core";
import type { NodeId } from "#identity";
import type { Session } from "#mesh";
import { BetterPath } from "./better-path.ts";
import {
  CIRCUIT_BYTES,
  CIRCUIT_PROTOCOL,
  FROM_TARGET,
  headOf,
  OPEN_LIFETIME_MS,
  type Open,
  readAnswer,
  signOpen,
} from "./circuit-open.ts";
import { type CircuitsDeps, type CircuitState, HOLD_MS } from "./circuit.ts";
import { stepTo } from "./leg.ts";
import { type CircuitPath, orderPaths } from "./order-paths.ts";
import { ResumableDuplex } from "./resumable-duplex.ts";

/**
 * From the opening to the target's answer over one path: as long at least, and so many round trips of the path before, or of one whose links are all like
 * its first.
 */
const OPEN_TIMEOUT_MS = 1_500;
const OPEN_ROUND_TRIPS = 8;
const OPEN_GUESSED_ROUND_TRIPS = 4;
/** Handshake and hello over a path that answers. */
const CONNECT_TIMEOUT_MS = 20_000;
/** A path that says nothing for so long is opened once more itself, if there is no other. */
const REOPEN_MS = 5_000;
/** Pause after all paths failed; it doubles. */
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1_000;

/** One circuit at the node that opened it: finds ways for it until it is over. */
export class SourceCircuit {
  readonly #peer: NodeId;
  readonly #deps: CircuitsDeps;
  readonly #duplex: ResumableDuplex;
  readonly #over = new AbortController();
  readonly #session: Promise<Session>;
  readonly #better = new BetterPath();
  #path: CircuitPath | undefined;
  /** The neighbour that the path in use begins with; of a detour, if it begins with one. */
  #first: NodeId | undefined;
  #failed: CircuitPath | undefined;
  /** Drawn anew for each try until there is a path: the target may have heard of the try before. */
  #id: Uint8Array = new Uint8Array(0);
  #epoch = 0;
  #moves = 0;
  #seeking = false;
  #soughtMs = 0;
  #stopCarry: (() => void) | undefined;

  /** `ended` is called once. */
  constructor(peer: NodeId, deps: CircuitsDeps, stop: AbortSignal, ended: () => void) {
    this.#peer = peer;
    this.#deps = deps;
    this.#duplex = new ResumableDuplex("source", deps.clock, {
      detached: (why) => {
        deps.log.info("circuit without a way", { peer, why });
        void this.#seek();
      },
      over: (error) => {
        this.#stopCarry?.();
        this.#over.abort(error ?? new Fault("routing.circuit-over", "the circuit is over"));
        deps.log.debug("circuit ended", { peer, why: error?.message });
        ended();
      },
    });
    this.#session = this.#connect(stop);
    this.#session.catch((error: Error) => this.#duplex.destroy(error));
  }

  /** Resolves when the peer has accepted the hello. */
  connected(signal: AbortSignal): Promise<Session> {
    return withDeadline(
      this.#deps.clock,
      CONNECT_TIMEOUT_MS,
      `a circuit to ${this.#peer}`,
      () => this.#session,
      signal,
    );
  }

  end(reason: Error): void {
    this.#duplex.destroy(reason);
  }

  state(): CircuitState {
    const { isAttached, rttMs, bytesIn, bytesOut } = this.#duplex;
    return {
      peer: this.#peer,
      role: "source",
      path: this.#path,
      moves: this.#moves,
      isAttached,
      rttMs,
      bytesIn,
      bytesOut,
    };
  }

  /** To be called every `PING_MS`. */
  look(): void {
    if (this.#duplex.checkPath()?.doubtful === true && this.#duplex.isResumable) void this.#seek();
  }

  /** Cheap enough to be called more often. */
  lookAtLink(): void {
    if (this.#isLinkSilent && this.#duplex.isAttached && this.#duplex.isResumable) void this.#seek();
  }

  /** It is over, or was closed and lives until its peer has taken everything. */
  get isEnding(): boolean {
    return this.#duplex.writableEnded || this.#duplex.destroyed;
  }

  /** Where it should go: off a way that must not be used any more, or a better one that has been there for a while. */
  nextMove(): { path: CircuitPath; isForced: boolean } | undefined {
    const { pathsTo, costAlong, clock } = this.#deps;
    const path = this.#path;
    if (path === undefined || this.#seeking || !this.#duplex.isAttached || !this.#duplex.isResumable) return undefined;
    const [best] = pathsTo(this.#peer);
    const cost = best && costAlong(best);
    if (best === undefined || cost === undefined) return undefined;
    const current = { path, cost: costAlong(path) };
    if (!this.#better.isDue({ path: best, cost }, current, clock.nowMs())) return undefined;
    return { path: best, isForced: current.cost === undefined };
  }

  /** Goes another way than the one in use, and stays on that until the target answers over the other. */
  goBy(path: CircuitPath): void {
    const { clock, log } = this.#deps;
    this.#seeking = true;
    const opening = (signal: AbortSignal): Promise<void> => this.#open(path, signal);
    withDeadline(clock, this.#openTimeoutMs(path), "opening a better way", opening, this.#over.signal)
      .then(
        () => log.info("circuit goes a better way", { peer: this.#peer, path: path.join(" ") }),
        (error: Error) => log.debug("no better way", { peer: this.#peer, why: error.message }),
      )
      .finally(() => {
        this.#seeking = false;
        if (!this.#duplex.isAttached && !this.#duplex.destroyed) void this.#seek(); // the old one broke meanwhile
      });
  }

  async #connect(stop: AbortSignal): Promise<Session> {
    const { host, clock } = this.#deps;
    await this.#tryPaths(stop);
    const carrier = this.#duplex.carrier(this.#peer);
    const connecting = (signal: AbortSignal): Promise<Session> => host.connectOver(carrier, signal);
    return withDeadline(
      clock,
      CONNECT_TIMEOUT_MS,
      `the hello over a circuit to ${this.#peer}`,
      connecting,
      this.#over.signal,
    );
  }

  /** Looks for another way until there is one, the path in use comes back, or the time is over. */
  async #seek(): Promise<void> {
    if (this.#seeking) return;
    this.#seeking = true;
    const { clock, log } = this.#deps;
    const sinceMs = clock.nowMs();
    this.#failed = this.#path;
    this.#soughtMs = sinceMs;
    try {
      for (let pauseMs = FIRST_PAUSE_MS; this.#needsPath(); pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
        const moved = await this.#tryPaths(this.#over.signal).then(
          () => true,
          (error: unknown) => this.#isHopeless(error),
        );
        if (moved) break;
        if (clock.nowMs() - sinceMs > HOLD_MS) throw noWay(this.#peer, HOLD_MS);
        await clock.sleep(pauseMs, this.#over.signal);
      }
      const tookMs = Math.round(clock.nowMs() - sinceMs);
      log.info("circuit goes on", { peer: this.#peer, tookMs, path: this.#path?.join(" ") });
    } catch (error) {
      this.#duplex.destroy(asError(error));
    } finally {
      this.#seeking = false;
    }
  }

  #needsPath(): boolean {
    if (this.#duplex.destroyed) return false;
    return !this.#duplex.isAttached || this.#isLinkSilent || this.#duplex.checkPath()?.doubtful === true;
  }

  /** Throws what no further try can mend. */
  #isHopeless(error: unknown): false {
    if (faultCode(error) === "routing.circuit-gone" || this.#over.signal.aborted) throw error;
    return false;
  }

  /** Takes the first way that the target answers over. */
  async #tryPaths(signal: AbortSignal): Promise<void> {
    const { clock, log, pathsTo } = this.#deps;
    const paths = orderPaths(pathsTo(this.#peer), this.#failed);
    let failure: unknown = new Fault("routing.no-route", `no way to ${this.#peer} is known`, { exit: "offline" });
    let [tried, refused] = [0, 0];
    for (const path of paths) {
      if (this.#isInUse(path) && clock.nowMs() - this.#soughtMs < REOPEN_MS) continue; // it is the doubtful one
      tried += 1;
      try {
        await withDeadline(
          clock,
          this.#openTimeoutMs(path),
          "opening a circuit",
          (inner) => this.#open(path, inner),
          signal,
        );
        return;
      } catch (error) {
        failure = error;
        log.debug("a way does not open", { peer: this.#peer, path: path.join(" "), why: asError(error).message });
        if (this.#isUnwanted(error)) refused += 1;
      }
    }
    // one gateway alone may lie about it
    if (tried > 0 && refused === tried && this.#path !== undefined)
      throw new Fault("routing.circuit-gone", asError(failure).message, { exit: "offline", cause: failure });
    throw failure;
  }

  /** The target does not have the circuit, or does not want it, as far as one can tell from here. */
  #isUnwanted(error: unknown): boolean {
    if (!(error instanceof Fault) || error.code !== "routing.circuit-refused") return false;
    const { code, at } = error.details;
    return at === this.#peer && (code === "routing.unknown-circuit" || code === "routing.not-member");
  }

  #openTimeoutMs(path: CircuitPath): number {
    const firstMs = this.#deps.host.session(path[0] as NodeId)?.rttMs() ?? 0;
    const guessedMs = OPEN_GUESSED_ROUND_TRIPS * path.length * firstMs;
    return Math.max(OPEN_TIMEOUT_MS, OPEN_ROUND_TRIPS * this.#duplex.rttMs, guessedMs);
  }

  /** The first link of the way in use; gateways look after the others. */
  get #isLinkSilent(): boolean {
    return this.#first !== undefined && this.#deps.host.session(this.#first)?.suspect() === true;
  }

  #isInUse(path: CircuitPath): boolean {
    if (!this.#duplex.isAttached || path.join() !== this.#path?.join()) return false;
    const open = { source: this.#deps.host.nodeId, path: [...path] };
    return stepTo(path[0] as NodeId, open, this.#deps).to === this.#first;
  }

  async #open(path: CircuitPath, signal: AbortSignal): Promise<void> {
    const { host, key, fleet, trustedMs } = this.#deps;
    const fleetId = fleet();
    if (fleetId === undefined) throw new Fault("routing.no-fleet", "this node is in no fleet", { exit: "offline" });
    if (this.#path === undefined) this.#id = this.#deps.random.bytes(CIRCUIT_BYTES);
    else this.#epoch += 1;
    const epoch = this.#epoch;
    const open: Open = {
      fleet: fleetId,
      circuit: this.#id,
      source: host.nodeId,
      path: [...path],
      expires: trustedMs() + OPEN_LIFETIME_MS / 2,
      epoch,
      received: this.#duplex.received,
    };
    const { to, via } = stepTo(path[0] as NodeId, open, this.#deps);
    const stream = new HeadedStream(await host.open(to, CIRCUIT_PROTOCOL, signal, { eager: true }), FROM_TARGET);
    try {
      stream.send(...encodeFrame(headOf(signOpen(key, open), via)));
      const received = readAnswer(await stream.head, open);
      signal.throwIfAborted();
      this.#first = to;
      this.#attach(stream, path, epoch, received);
    } catch (error) {
      stream.abort(asError(error));
      throw error;
    }
  }

  #attach(stream: HeadedStream, path: CircuitPath, epoch: number, received: number): void {
    if (this.#path !== undefined) this.#moves += 1;
    this.#path = path;
    this.#stopCarry?.();
    this.#stopCarry = this.#deps.host.session(this.#first as NodeId)?.carry();
    this.#duplex.attach(stream, epoch, received);
  }
}

function noWay(peer: NodeId, forMs: number): Fault {
  return new Fault("routing.circuit-lost", `there was no way to ${peer} for ${forMs / 1000} s`, { exit: "offline" });
}
