import { errorMessage, Fault, FrameStream, withDeadline } from "#core";
import {
  type BootstrapToken,
  type DeviceFacts,
  type DeviceOutcome,
  decodeToken,
  FROM_REGISTRAR,
  JOIN_PROTOCOL,
  JOIN_TIMEOUT_MS,
  JoinRound,
  type NodeId,
  performAdoption,
  planAdoption,
  renewalDueMs,
  runDeviceJoin,
} from "#identity";
import type { Host, StrangerConnection } from "#mesh";
import { revocationVersion } from "./admission.ts";
import type { JoinStatus, NodeState } from "./node-state.ts";

/** A device must name what blocks it within 5 s (a dial into nothing would take minutes). */
const DIAL_MS = 4_000;
/** Pause after a failed attempt, growing to the second. */
const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 60_000;
/** A device that was turned away asks again: somebody may have claimed it meanwhile. */
const DENIED_PAUSE_MS = 5_000;
/** How often a member looks whether its renewal is due, in case the clock was set, and whether anybody is left to talk to. */
const LOOK_MS = 5_000;
/** A member that has been alone for so long asks a registrar whether it still is one; then again after twice the time, up to the second. */
const FIRST_ALONE_MS = 4_000;
const LAST_ALONE_MS = 600_000;

/** An answer that ends a round, and who gave it. */
type Decided = Exclude<DeviceOutcome, { outcome: "redirect" }> & { from: NodeId };

export type JoiningDeps = {
  host: Host;
  facts: DeviceFacts;
  /** Addresses at which a registrar may be, best first: multicast, remembered peers. The token's come before them. */
  candidates: () => string[];
  /** Called when the node has become a member, and at each renewal, with the registrar's fresh time and key id. */
  joined: (registrarMs: number, registrar: string) => void;
};

/** Brings this node into the fleet that its token names, and keeps it there. */
export class Joining {
  readonly #state: NodeState;
  readonly #deps: JoiningDeps;
  readonly #tickets = new Map<NodeId, Uint8Array>();
  readonly #renewalChance: number;
  #status: Pick<JoinStatus, "state"> & JoinStatus = { state: "no-fleet" };
  #pauseMs = FIRST_PAUSE_MS;
  /** Since when, by the monotonic clock, this member has had no neighbour, and how long it then waits before it asks why. */
  #aloneSinceMs: number | undefined;
  #alonePauseMs = FIRST_ALONE_MS;

  constructor(state: NodeState, deps: JoiningDeps) {
    this.#state = state;
    this.#deps = deps;
    this.#renewalChance = state.random.unit();
  }

  /** What a registrar said last outweighs older documents: a node that was revoked is cut off before it can hear of it. */
  status(): JoinStatus {
    const known = standing(this.#state);
    if (known?.state !== "member" || this.#status.state !== "refused") return known ?? this.#status;
    return { ...this.#status, state: this.#status.problem?.code === "identity.revoked" ? "refused" : "member" };
  }

  /** Joins, then renews at two thirds of each membership's life, until `signal` fires. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#state;
    while (!signal.aborted) {
      const pauseMs = this.#untilDueMs() ?? (await this.#attempt(signal));
      await clock.sleep(pauseMs, signal).catch(() => undefined);
    }
  }

  /** Milliseconds until something is to be done; `undefined`: now. */
  #untilDueMs(): number | undefined {
    const { store, members, data, trustedMs } = this.#state;
    const own = members.of(data.key.nodeId);
    if (own?.registrar === true) return LOOK_MS;
    if (own === undefined) return this.#token() === undefined && store.fleet === undefined ? LOOK_MS : undefined;
    const dueMs = renewalDueMs(Date.parse(own.document.body.notBefore), own.expiresMs, this.#renewalChance);
    const admittedBy = store.keys.get(own.admittedBy ?? "");
    const orphaned = admittedBy === undefined || admittedBy.keepMembers !== undefined; // its registrar is one no more
    const leftMs = orphaned ? 0 : dueMs - trustedMs();
    return leftMs > 0 && !this.#shallAskWhyAlone() ? Math.min(leftMs, LOOK_MS) : undefined;
  }

  /** Whoever is refused by all its neighbours learns from a registrar why: perhaps it was revoked while it was off. */
  #shallAskWhyAlone(): boolean {
    const nowMs = this.#state.clock.nowMs();
    if (this.#deps.host.sessions().length > 0) {
      this.#aloneSinceMs = undefined;
      this.#alonePauseMs = FIRST_ALONE_MS;
      return false;
    }
    this.#aloneSinceMs ??= nowMs;
    if (nowMs - this.#aloneSinceMs < this.#alonePauseMs) return false;
    this.#aloneSinceMs = nowMs;
    this.#alonePauseMs = Math.min(this.#alonePauseMs * 2, LAST_ALONE_MS);
    return true;
  }

  /** One round over all addresses. Returns how long to wait before the next. */
  async #attempt(signal: AbortSignal): Promise<number> {
    const wasMember = this.#state.members.of(this.#state.data.key.nodeId) !== undefined;
    if (!wasMember && this.#status.state === "no-fleet") this.#status = { state: "joining" };
    try {
      const token = this.#token() ?? this.#tokenOfOwnFleet();
      const outcome = await this.#askAnywhere(token, signal);
      return this.#take(outcome);
    } catch (error) {
      if (signal.aborted) return 0;
      const fault = error instanceof Fault ? error : new Fault("daemon.join", errorMessage(error));
      const next = fault.fix ?? "portolan doctor";
      const state = fault.code === "identity.home-unreachable" ? "pending" : "joining";
      if (!wasMember) this.#status = { state, problem: { code: fault.code, reason: fault.message, next } };
      this.#state.log.warn(wasMember ? "membership not renewed yet" : "not joined yet", {
        code: fault.code,
        reason: fault.message,
        next,
      });
      const pauseMs = this.#pauseMs;
      this.#pauseMs = Math.min(pauseMs * 2, LAST_PAUSE_MS);
      return pauseMs * (0.75 + this.#state.random.unit() / 2);
    }
  }

  /** Asks one node after the other, and whom they send us to, until somebody decides. */
  async #askAnywhere(token: BootstrapToken, signal: AbortSignal): Promise<Decided> {
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
    const { clock, random, data, store, settings, time, trustedMs } = this.#state;
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
            charter: store.charter?.body.version ?? 0,
            revocation: revocationVersion(store),
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

  /** Acts on an answer. Returns how long to wait before the next attempt. */
  #take(outcome: Decided): number {
    const { log, events, data } = this.#state;
    const subject = data.key.nodeId;
    if (outcome.outcome === "member") {
      this.#admit(outcome);
      return 0;
    }
    const { code, reason, fix } = outcome;
    const is = outcome.outcome === "pending" ? "pending" : "refused";
    if (this.#status.state !== is || this.#status.problem?.code !== code) {
      log.warn(is === "pending" ? "waiting for approval" : "refused", { code, reason, next: fix });
      events.record({
        type: is === "pending" ? "node.pending" : "node.refused",
        subject,
        outcome: is === "pending" ? "ok" : "refused",
        message: `${code}: ${reason}`,
      });
    }
    this.#status = { state: is, problem: { code, reason, next: fix } };
    return outcome.outcome === "pending" ? outcome.retryMs : DENIED_PAUSE_MS;
  }

  #admit(outcome: Extract<Decided, { outcome: "member" }>): void {
    const { store, members, data, settings, provisional, trustedMs, log, events } = this.#state;
    const newcomer = members.of(data.key.nodeId) === undefined;
    const pass = settings.get("pass") !== undefined;
    const { member, beaconMs, registrar } = outcome;
    this.#deps.joined(beaconMs, member.body.spec.registrar); // first, so that a node without a clock does not take them for the future's
    for (const effect of planAdoption(outcome, { newcomer, registrar: outcome.from, pass })) {
      performAdoption(effect, {
        store,
        nowMs: trustedMs,
        doubt: (registrar) => provisional.begin(registrar),
        forgetPass: () => settings.delete("pass"),
      });
    }
    const { name } = member.body.metadata;
    log.info("admitted", { name, site: member.body.spec.site, registrar, until: member.body.expires });
    events.record({
      type: "node.joined",
      subject: name,
      actor: registrar,
      outcome: "ok",
      message: `admitted by ${member.body.spec.evidence} until ${member.body.expires}`,
    });
    this.#pauseMs = FIRST_PAUSE_MS;
    this.#status = { state: "member" };
  }

  #token(): BootstrapToken | undefined {
    const text = this.#state.settings.get("token");
    if (text === undefined) return undefined;
    const { fleet } = this.#state.store;
    return decodeToken(text, { nowMs: this.#state.trustedMs(), ...(fleet === undefined ? {} : { fleet }) });
  }

  /** A member whose token has expired or got lost needs none: what a token says, its own charter says. */
  #tokenOfOwnFleet(): BootstrapToken {
    const { store } = this.#state;
    const { charter, fleet } = store;
    if (charter === undefined || fleet === undefined)
      throw new Fault("daemon.no-fleet", "this node has neither a token nor a fleet");
    return { fleet, owners: [], rendezvous: [...charter.body.spec.rendezvous], minCharter: 0, minRevocation: 0 };
  }
}

const REVOKED_NEXT =
  "An admission operator can approve it anew: portolan approve NODE. With a key of its own: portolan up --data NEWDIR --token TOKEN";

/** What the documents say; `undefined` while they say nothing and the node is on its way. */
export function standing({ store, members, data, settings }: NodeState): JoinStatus | undefined {
  const own = members.of(data.key.nodeId);
  if (own !== undefined) return { state: own.registrar ? "registrar" : "member" };
  if (members.revoked().has(data.key.nodeId)) {
    const reason = "this node was revoked by a security operator";
    return { state: "refused", problem: { code: "identity.revoked", reason, next: REVOKED_NEXT } };
  }
  if (store.fleet !== undefined && store.pending().some(({ kind }) => kind === "Charter" || kind === "Registrar"))
    return { state: "forming" };
  return settings.get("token") === undefined && store.fleet === undefined ? { state: "no-fleet" } : undefined;
}
