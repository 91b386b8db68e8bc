import { type Clock, Fault } from "#core";
import type { Gatekeeper } from "./gatekeeper.ts";

/** How often all sessions are looked at; also the probe interval of a link with open streams. */
const LOOK_MS = 500;
/** Probe interval of an idle link. One side asks, so 10 neighbours cost about 10 kbit/s both ways, TLS and TCP included. */
const IDLE_PROBE_MS = 2_000;
/** Silence, in spite of probes, after which a link is dead. */
export const DEAD_MS = 5_000;
/** Silence beyond the probe interval after which a link is suspect, unless its round trip is longer. */
const SUSPECT_MS = 1_000;

export type Liveness = "alive" | "suspect" | "dead";

/** What silence means on a link that is probed every `intervalMs`. A slow link gets four round trips before it is suspect. */
export function judgeLiveness(silentMs: number, intervalMs: number, rttMs: number | undefined): Liveness {
  if (silentMs >= Math.max(DEAD_MS, intervalMs + 4 * (rttMs ?? 0))) return "dead";
  return silentMs >= intervalMs + Math.max(SUSPECT_MS, 4 * (rttMs ?? 0)) ? "suspect" : "alive";
}

/**
 * Probes every session until the signal fires, and ends those that are silent. Any byte of the peer counts as a sign of
 * life, since a probe queues behind bulk. A node whose own event loop stalled blames nobody: the stall is taken off.
 */
export function watchSessions(clock: Clock, keeper: Gatekeeper, signal: AbortSignal): void {
  const run = async (): Promise<void> => {
    const probedMs = new WeakMap<object, number>();
    let dueMs = clock.nowMs() + LOOK_MS;
    let stalledUntilMs = clock.nowMs();
    for (;;) {
      await clock.sleep(LOOK_MS, signal);
      const nowMs = clock.nowMs();
      if (nowMs - dueMs > LOOK_MS) stalledUntilMs = nowMs;
      dueMs = nowMs + LOOK_MS;
      for (const session of keeper.sessions.values()) {
        const { connection, guard } = session.link;
        const intervalMs = connection.streams.length > 1 ? LOOK_MS : IDLE_PROBE_MS;
        // the dialler asks, and tells the acceptor what it measured; the acceptor asks when the dialler does not
        const silentMs = nowMs - guard.heardMs;
        const ours = connection.direction === "outbound" || silentMs >= intervalMs + LOOK_MS;
        if (ours && nowMs - (probedMs.get(session) ?? 0) >= intervalMs) {
          probedMs.set(session, nowMs);
          session.probe();
        }
        const liveness = judgeLiveness(nowMs - Math.max(guard.heardMs, stalledUntilMs), intervalMs, session.rttMs());
        session.isSuspect = liveness !== "alive";
        if (liveness === "dead") keeper.end(connection, new Fault("mesh.silent", `no sign of life for ${DEAD_MS} ms`));
      }
    }
  };
  run().catch(() => undefined); // the signal fired
}
