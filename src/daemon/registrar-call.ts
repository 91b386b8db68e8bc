import { type ByteStream, errorMessage, Fault, FrameStream, withDeadline } from "#core";
import {
  type BootstrapToken,
  type DeviceFacts,
  type DeviceOutcome,
  FROM_REGISTRAR,
  JOIN_PROTOCOL,
  JOIN_TIMEOUT_MS,
  JoinRound,
  type NodeId,
  runDeviceJoin,
} from "#identity";
import type { Host, StrangerConnection } from "#mesh";
import { revocationVersion } from "./admission.ts";
import type { NodeState } from "./node-state.ts";

/** A device must name what blocks it within 5 s (a dial into nothing would take minutes). */
const DIAL_MS = 4_000;

/** An answer that ends a round, and who gave it. */
export type Decided = Exclude<DeviceOutcome, { outcome: "redirect" }> & { from: NodeId };

export type RegistrarCallDeps = {
  host: Host;
  facts: DeviceFacts;
  /** Addresses at which a registrar may be, best first: multicast, remembered peers. The token's come before them. */
  candidates: () => string[];
  /** Opens a stream to a member over links of others, too; throws Fault where there is no way, or none yet. */
  reach: (member: NodeId, protocol: string, signal: AbortSignal) => Promise<ByteStream>;
};

/** A registrar that was found: who it is, and how to open a stream to it. */
type Line = Pick<StrangerConnection, "nodeId" | "open">;

/** Asks the fleet's registrars to admit this node, or to renew its membership. */
export class RegistrarCall {
  readonly #state: NodeState;
  readonly #deps: RegistrarCallDeps;
  /** What a registrar gave this device to come back with, by registrar; there are as many as a round asks. */
  readonly #tickets = new Map<NodeId, Uint8Array>();

  constructor(state: NodeState, deps: RegistrarCallDeps) {
    this.#state = state;
    this.#deps = deps;
  }

  /**
   * Asks one node after the other, and whom they send us to, until somebody decides; then, as a member, those registrars that answer at no address,
   * the way that anything goes to them. Throws why nobody did.
   */
  async round(token: BootstrapToken, signal: AbortSignal): Promise<Decided> {
    const addresses = [...token.rendezvous, ...this.#deps.candidates()];
    const registrars = this.#registrars();
    if (addresses.length === 0 && registrars.size === 0) {
      throw new Fault("daemon.no-rendezvous", "no address of the fleet is known", {
        fix: "Use a token that names one: `portolan token` on a node that others can reach.",
      });
    }
    const round = new JoinRound(addresses);
    for (let next = round.next(); next !== undefined; next = round.next()) {
      const outcome = await this.#tryOne(round, () => this.#ask(next, token, registrars, signal), signal);
      if (outcome !== undefined) return outcome;
    }
    for (const registrar of registrars) {
      const line: Line = { nodeId: registrar, open: (protocol, inner) => this.#deps.reach(registrar, protocol, inner) };
      const outcome = await this.#tryOne(round, () => this.#talk(line, token, signal), signal);
      if (outcome !== undefined) return outcome;
    }
    throw round.failure();
  }

  /** Those of others that documents here tell of, each time in another order, so that not all nodes of a fleet ask the same one first. */
  #registrars(): Set<NodeId> {
    const { members, data, random } = this.#state;
    const others = members.all().filter(({ node, registrar }) => registrar && node !== data.key.nodeId);
    const drawn = others.map(({ node }) => ({ node, place: random.unit() })).toSorted((a, b) => a.place - b.place);
    return new Set(drawn.map(({ node }) => node));
  }

  /** `undefined`: it did not decide. */
  async #tryOne(
    round: JoinRound,
    ask: () => Promise<DeviceOutcome & { from: NodeId }>,
    signal: AbortSignal,
  ): Promise<Decided | undefined> {
    try {
      const outcome = await ask();
      if (outcome.outcome === "redirect") round.redirected(outcome);
      else if (outcome.outcome !== "denied" || outcome.code !== "identity.not-registrar") return outcome;
      else round.failed(new Fault(outcome.code, outcome.reason, { fix: outcome.fix })); // another address may be a registrar's
    } catch (error) {
      signal.throwIfAborted();
      round.failed(error);
    }
    return undefined;
  }

  /** Takes whom it found off the list of registrars that are left. */
  async #ask(
    addresses: readonly string[],
    token: BootstrapToken,
    left: Set<NodeId>,
    signal: AbortSignal,
  ): Promise<DeviceOutcome & { from: NodeId }> {
    const connection = await this.#dial(addresses, signal);
    left.delete(connection.nodeId);
    try {
      return await this.#talk(connection, token, signal);
    } finally {
      if (this.#deps.host.session(connection.nodeId) === undefined) connection.close();
    }
  }

  async #talk(
    { nodeId, open }: Line,
    token: BootstrapToken,
    signal: AbortSignal,
  ): Promise<DeviceOutcome & { from: NodeId }> {
    const { clock, random, data, store, settings, time, marks, trustedMs } = this.#state;
    const before = marks.floorIn(token.fleet);
    const pass = settings.get("pass");
    const opening = (inner: AbortSignal): Promise<ByteStream> => open(JOIN_PROTOCOL, inner);
    const stream = await withDeadline(clock, JOIN_TIMEOUT_MS, "opening the join stream", opening, signal);
    const ticket = this.#tickets.get(nodeId);
    const outcome = await runDeviceJoin(
      new FrameStream(stream, FROM_REGISTRAR),
      {
        clock,
        random,
        nowMs: trustedMs,
        node: data.key,
        token,
        floor: {
          charter: Math.max(store.charter?.body.version ?? 0, before.charter),
          revocation: Math.max(revocationVersion(store), before.revocation),
          ...(store.charter === undefined || time.confirmed ? {} : { timeMs: time.floorMs() }),
        },
        facts: this.#deps.facts,
        registrar: nodeId,
        ...(ticket === undefined ? {} : { ticket }),
        ...(pass === undefined ? {} : { pass }),
      },
      signal,
    );
    if (outcome.outcome === "pending") this.#tickets.set(nodeId, outcome.ticket);
    return { ...outcome, from: nodeId };
  }

  async #dial(addresses: readonly string[], signal: AbortSignal): Promise<StrangerConnection> {
    const { clock } = this.#state;
    try {
      return await withDeadline(
        clock,
        DIAL_MS,
        "dialling",
        (s) => this.#deps.host.connectStranger(addresses, s),
        signal,
      );
    } catch (error) {
      signal.throwIfAborted();
      throw new Fault("daemon.unreachable", `no registrar answers at ${addresses.join(", ")}: ${errorMessage(error)}`, {
        exit: "offline",
        fix: "Check that the address is right, that `portolan up` runs there and that no firewall blocks its TCP port.",
        cause: error,
      });
    }
  }
}
