import { errorMessage, Fault, FrameStream, withDeadline } from "#core";
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
};

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

  /** Asks one node after the other, and whom they send us to, until somebody decides. Throws why nobody did. */
  async round(token: BootstrapToken, signal: AbortSignal): Promise<Decided> {
    const addresses = [...token.rendezvous, ...this.#deps.candidates()];
    if (addresses.length === 0) {
      throw new Fault("daemon.no-rendezvous", "no address of the fleet is known", {
        fix: "Use a token that names one: `portolan token` on a node that others can reach.",
      });
    }
    const round = new JoinRound(addresses);
    for (let next = round.next(); next !== undefined; next = round.next()) {
      try {
        const outcome = await this.#ask(next, token, signal);
        if (outcome.outcome === "denied" && outcome.code === "identity.not-registrar") {
          round.failed(new Fault(outcome.code, outcome.reason, { fix: outcome.fix })); // another address may be a registrar's
          continue;
        }
        if (outcome.outcome !== "redirect") return outcome;
        round.redirected(outcome);
      } catch (error) {
        signal.throwIfAborted();
        round.failed(error);
      }
    }
    throw round.failure();
  }

  async #ask(
    addresses: readonly string[],
    token: BootstrapToken,
    signal: AbortSignal,
  ): Promise<DeviceOutcome & { from: NodeId }> {
    const { host, facts } = this.#deps;
    const { clock, random, data, store, settings, time, marks, trustedMs } = this.#state;
    const before = marks.floorIn(token.fleet);
    const pass = settings.get("pass");
    const connection = await this.#dial(addresses, signal);
    try {
      const stream = await withDeadline(
        clock,
        JOIN_TIMEOUT_MS,
        "opening the join stream",
        (s) => connection.open(JOIN_PROTOCOL, s),
        signal,
      );
      const ticket = this.#tickets.get(connection.nodeId);
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
          facts,
          registrar: connection.nodeId,
          ...(ticket === undefined ? {} : { ticket }),
          ...(pass === undefined ? {} : { pass }),
        },
        signal,
      );
      if (outcome.outcome === "pending") this.#tickets.set(connection.nodeId, outcome.ticket);
      return { ...outcome, from: connection.nodeId };
    } finally {
      if (host.session(connection.nodeId) === undefined) connection.close();
    }
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
