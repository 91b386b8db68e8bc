import { uptime } from "node:os";
import { join } from "node:path";
import type { Clock, Log } from "#core";
import { type DocumentStore, HighWaterFile, type Membership, type NodeId, TrustedTime } from "#identity";
import type { Gossip } from "#mesh";
import { z } from "zod";
import { revocationVersion } from "./admission.ts";

export const BEACONS = "beacon";
/** A registrar says the time so often (protocols: documents, Beacon). */
const BEACON_MS = 10_000;
const count = z.int().min(0);
const Beacon = z.strictObject({ timeMs: count, charter: count, revocation: count });

/** The node's trusted time, kept across restarts in its data directory. */
export function openTrustedTime(clock: Clock, dataPath: string): { time: TrustedTime; marks: HighWaterFile } {
  const marks = new HighWaterFile(join(dataPath, "high-water"));
  return { time: new TrustedTime({ clock, uptimeSeconds: uptime, marks }), marks };
}

type Deps = {
  clock: Clock;
  log: Log;
  gossip: Gossip;
  store: DocumentStore;
  members: Membership;
  self: NodeId;
  time: TrustedTime;
};

/** Says the time if this node is a registrar, and listens to those that are. */
export function startTimeKeeper(deps: Deps): AsyncDisposable {
  const { clock, log, gossip, store, members, self, time } = deps;
  const stop = new AbortController();
  const unlisten = gossip.on(BEACONS, ({ origin, value }) => {
    const beacon = Beacon.safeParse(value);
    const registrar = members.of(origin);
    if (!beacon.success || registrar?.registrar !== true || origin === self) return;
    const verdict = time.observe(beacon.data.timeMs, registrar.keyHash, store.list("Registrar").length);
    if (verdict.outcome === "refused")
      log.warn("a registrar's time was refused", { code: verdict.code, reason: verdict.reason });
  });
  const say = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      if (members.of(self)?.registrar === true) {
        gossip.publish(BEACONS, {
          timeMs: Math.floor(time.nowMs()),
          charter: store.charter?.body.version ?? 0,
          revocation: revocationVersion(store),
        });
      }
      await clock.sleep(BEACON_MS, stop.signal).catch(() => undefined);
    }
  };
  const saying = say();
  return {
    async [Symbol.asyncDispose]() {
      unlisten();
      stop.abort();
      await saying;
      time.save();
    },
  };
}
