import { errorMessage, Fault } from "#core";
import { type BootstrapToken, performAdoption, planAdoption, renewalDueMs } from "#identity";
import type { NodeState } from "./node-state.ts";
import { type Decided, RegistrarCall, type RegistrarCallDeps } from "./registrar-call.ts";
import { rememberedToken } from "./remembered.ts";
import { type JoinStatus, standing } from "./standing.ts";

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

export type JoiningDeps = RegistrarCallDeps & {
  /** Called when the node has become a member, and at each renewal, with the registrar's fresh time and key id. */
  joined: (registrarMs: number, registrar: string) => void;
};

/** Brings this node into the fleet that its token names, and keeps it there. */
export class Joining {
  readonly #state: NodeState;
  readonly #deps: JoiningDeps;
  readonly #call: RegistrarCall;
  readonly #renewalChance: number;
  #status: Pick<JoinStatus, "state"> & JoinStatus = { state: "no-fleet" };
  #pauseMs = FIRST_PAUSE_MS;
  /** Since when, by the monotonic clock, this member has had no neighbour, and how long it then waits before it asks why. */
  #aloneSinceMs: number | undefined;
  #alonePauseMs = FIRST_ALONE_MS;

  constructor(state: NodeState, deps: JoiningDeps) {
    this.#state = state;
    this.#deps = deps;
    this.#call = new RegistrarCall(state, deps);
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
    const { store, members, data, settings, trustedMs } = this.#state;
    const own = members.of(data.key.nodeId);
    if (own?.registrar === true) return LOOK_MS;
    if (own === undefined)
      return settings.get("token") === undefined && store.fleet === undefined ? LOOK_MS : undefined;
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
      return this.#take(await this.#call.round(this.#token(), signal));
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

  /** A member needs none: what a token says, its own charter says. */
  #token(): BootstrapToken {
    const token = rememberedToken(this.#state);
    if (token !== undefined) return token;
    const { charter, fleet } = this.#state.store;
    if (charter === undefined || fleet === undefined)
      throw new Fault("daemon.no-fleet", "this node has neither a token nor a fleet");
    return { fleet, owners: [], rendezvous: [...charter.body.spec.rendezvous], minCharter: 0, minRevocation: 0 };
  }
}
