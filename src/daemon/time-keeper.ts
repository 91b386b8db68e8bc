import { uptime } from "node:os";
import { join } from "node:path";
import type { Clock } from "#core";
import { HighWaterFile, isNodeId, type NodeId, OUT_OF_TOUCH_MS, TrustedTime } from "#identity";
import type { Gossip, Host } from "#mesh";
import { z } from "zod";
import { quarantineClones, revocationVersion } from "./admission.ts";
import type { NodeState } from "./node-state.ts";

const BEACONS = "beacon";
/** What a member that no registrar has confirmed takes the time for; said when it has changed. */
const MEMBER_TIME = "time";
/** A registrar says the time so often (protocols: documents, Beacon). */
const BEACON_MS = 10_000;
/** Smaller changes of the time matter to nobody: documents bear 5 min. */
const WORTH_TELLING_MS = 60_000;
const count = z.int().min(0);
/** Keys in quarantine that one beacon names; the newest, because the older ones were named before. */
const MAX_NAMED = 16;
const Beacon = z.strictObject({
  timeMs: count,
  charter: count,
  revocation: count,
  quarantine: z
    .array(z.strictObject({ node: z.string().refine(isNodeId), sinceMs: count }))
    .max(MAX_NAMED)
    .optional(),
});
const MemberTime = z.strictObject({ timeMs: count });

/** The node's trusted time, kept across restarts in its data directory. */
export function openTrustedTime(
  clock: Clock,
  dataPath: string,
  uptimeSeconds: () => number = uptime,
): { time: TrustedTime; marks: HighWaterFile } {
  const marks = new HighWaterFile(join(dataPath, "high-water"));
  return { time: new TrustedTime({ clock, uptimeSeconds, marks }), marks };
}

type Deps = { state: NodeState; gossip: Gossip; host: Host };

/** Says the time if this node is a registrar, listens to those that are, and keeps to who may be a neighbour while none is heard. */
export function startTimeKeeper(deps: Deps): AsyncDisposable {
  const keeper = new TimeKeeper(deps);
  keeper.start();
  return keeper;
}

class TimeKeeper implements AsyncDisposable {
  readonly #state: NodeState;
  readonly #gossip: Gossip;
  readonly #host: Host;
  readonly #stop = new AbortController();
  #unlisten: (() => void)[] = [];
  #keeping: Promise<void> = Promise.resolve();
  #wasAlone = false;
  /** How far the time that was last told to other members was ahead of the uptime. */
  #toldAheadMs: number | undefined;

  constructor({ state, gossip, host }: Deps) {
    this.#state = state;
    this.#gossip = gossip;
    this.#host = host;
  }

  start(): void {
    this.#unlisten = [
      this.#gossip.on(BEACONS, ({ origin, value }) => this.#hearBeacon(origin, value)),
      this.#gossip.on(MEMBER_TIME, ({ origin, value }) => this.#hearMember(origin, value)),
    ];
    this.#keeping = this.#keep();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#unlisten) end();
    this.#stop.abort();
    await this.#keeping;
    this.#state.time.save();
  }

  async #keep(): Promise<void> {
    const { clock, time } = this.#state;
    while (!this.#stop.signal.aborted) {
      this.#sayTime();
      time.saveNowAndThen();
      this.#endAutonomous();
      this.#recordContact();
      await clock.sleep(BEACON_MS, this.#stop.signal).catch(() => undefined);
    }
  }

  #hearBeacon(origin: NodeId, value: unknown): void {
    const { store, members, time, contact, clock, data, log } = this.#state;
    const beacon = Beacon.safeParse(value);
    const from = members.of(origin);
    if (!beacon.success || from?.registrar !== true || from.autonomous || origin === data.key.nodeId) return;
    const word = { timeMs: beacon.data.timeMs, registrar: from.keyHash };
    const verdict = time.observe(word, store.list("Registrar").length);
    if (verdict.outcome === "accepted") contact.heard(clock.nowMs());
    for (const { node, sinceMs } of beacon.data.quarantine ?? []) {
      if (node !== data.key.nodeId) quarantineClones(this.#state, node, sinceMs);
    }
    if (verdict.outcome === "refused")
      log.warn("a registrar's time was refused", { code: verdict.code, reason: verdict.reason });
  }

  #hearMember(origin: NodeId, value: unknown): void {
    const { members, time, data, log } = this.#state;
    const said = MemberTime.safeParse(value);
    if (!said.success || origin === data.key.nodeId) return;
    if (time.hear(said.data.timeMs)) log.info("the time was taken from a member", { from: members.of(origin)?.name });
  }

  /** A registrar beats the time; any other node says what it goes by when that has changed and nobody has confirmed it. */
  #sayTime(): void {
    const { members, data, store, time, contact, clock, quarantine } = this.#state;
    const own = members.of(data.key.nodeId);
    const timeMs = Math.floor(time.nowMs());
    if (own?.registrar === true && !own.autonomous) {
      contact.heard(clock.nowMs());
      time.vouchForOwnClock();
      const charter = store.charter?.body.version ?? 0;
      const revocation = revocationVersion(store);
      const shutOut = quarantine.all().slice(-MAX_NAMED);
      this.#gossip.publish(BEACONS, {
        timeMs,
        charter,
        revocation,
        ...(shutOut.length === 0 ? {} : { quarantine: shutOut }),
      });
      return;
    }
    const aheadMs = timeMs - clock.nowMs();
    if (own === undefined || time.confirmed || Math.abs(aheadMs - (this.#toldAheadMs ?? 0)) < WORTH_TELLING_MS) return;
    this.#toldAheadMs = aheadMs;
    this.#gossip.publish(MEMBER_TIME, { timeMs });
  }

  /** Whoever has not renewed although registrars are heard again is a neighbour no more. */
  #endAutonomous(): void {
    const { members, contact, clock } = this.#state;
    if (contact.admitsAutonomous(clock.nowMs())) return;
    for (const { nodeId } of this.#host.sessions()) {
      if (members.of(nodeId)?.autonomous === true) this.#host.disconnect(nodeId, "its membership has ended");
    }
  }

  #recordContact(): void {
    const { contact, clock, events, members, data } = this.#state;
    const own = members.of(data.key.nodeId);
    const isAlone = own !== undefined && (contact.aloneMs(clock.nowMs()) ?? 0) >= OUT_OF_TOUCH_MS;
    if (isAlone === this.#wasAlone) return;
    this.#wasAlone = isAlone;
    const message = isAlone
      ? "no registrar is heard: nobody can join or renew, memberships stay good past their end"
      : "a registrar is heard again";
    events.record({
      type: isAlone ? "node.cut-off" : "node.in-touch",
      subject: own?.name ?? "",
      outcome: "ok",
      message,
    });
  }
}
