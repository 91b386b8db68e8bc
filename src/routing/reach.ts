import { type ByteStream, type Clock, faultCode, withDeadline } from "#core";
import type { NodeId } from "#identity";
import type { CarriedHost, Session } from "#mesh";

/** A peer with known addresses is dialled for so long before a circuit is tried beside it. */
const DIRECT_FIRST_MS = 300;
/** A peer that could not be dialled is not tried again for so long, while circuits lead to it. */
const REDIAL_MS = 60_000;
/** All ways together. */
const REACH_TIMEOUT_MS = 20_000;

export type ReachDeps = {
  host: CarriedHost;
  clock: Clock;
  addressesOf: (peer: NodeId) => readonly string[];
  /** Whether operators let bytes go straight to a peer; where not, a link to it is as if it were not there. */
  mayUse: (peer: NodeId) => boolean;
  /** Connects over links of others. */
  circuit: (peer: NodeId, signal: AbortSignal) => Promise<Session>;
};

/** Opens streams to any member: over a link if there is one, else over what comes first, a connection of its own or a circuit. */
export class Reach {
  readonly #deps: ReachDeps;
  readonly #unreachable = new Map<NodeId, number>();

  constructor(deps: ReachDeps) {
    this.#deps = deps;
  }

  /** For protocols that every member speaks. Throws Fault as `Host.open`, `Host.connect` and `Circuits.connect` do. */
  async open(peer: NodeId, protocol: string, signal: AbortSignal): Promise<ByteStream> {
    const { host } = this.#deps;
    if (!this.isLinked(peer)) await this.#connect(peer, signal);
    const options = { eager: true };
    return this.isLinked(peer)
      ? host.open(peer, protocol, signal, options)
      : host.openCarried(peer, protocol, signal, options);
  }

  /** Whether streams to a peer go over a link. */
  isLinked(peer: NodeId): boolean {
    return this.#deps.host.session(peer) !== undefined && this.#deps.mayUse(peer);
  }

  async #connect(peer: NodeId, signal: AbortSignal): Promise<void> {
    const { host, clock, circuit } = this.#deps;
    const addresses = this.#dialable(peer);
    const direct = addresses.length === 0 ? [] : [this.#dial(peer, addresses)];
    for (const dialling of direct) dialling.catch(() => undefined); // where nobody waits for it
    if (host.carriedSession(peer) !== undefined) return; // a link that comes takes over
    const carried = async (inner: AbortSignal): Promise<Session> => {
      if (direct.length > 0) await clock.sleep(DIRECT_FIRST_MS, inner);
      return circuit(peer, inner);
    };
    const any = (inner: AbortSignal): Promise<Session> => Promise.any([...direct, carried(inner)]);
    try {
      await withDeadline(clock, REACH_TIMEOUT_MS, `reaching ${peer}`, any, signal);
    } catch (error) {
      const errors = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
      throw errors.find((one) => faultCode(one) !== "routing.no-route") ?? errors[0];
    }
  }

  #dialable(peer: NodeId): readonly string[] {
    if (!this.#deps.mayUse(peer)) return [];
    const failedMs = this.#unreachable.get(peer);
    if (failedMs !== undefined && this.#deps.clock.nowMs() - failedMs < REDIAL_MS) return [];
    return this.#deps.addressesOf(peer);
  }

  /** Goes on when a circuit was faster. */
  async #dial(peer: NodeId, addresses: readonly string[]): Promise<Session> {
    const { host, clock } = this.#deps;
    const dialling = (signal: AbortSignal): Promise<Session> => host.connect(addresses, signal);
    try {
      const session = await withDeadline(clock, REACH_TIMEOUT_MS, `dialling ${peer}`, dialling);
      this.#unreachable.delete(peer);
      return session;
    } catch (error) {
      this.#unreachable.set(peer, clock.nowMs());
      throw error;
    }
  }
}
