import type { Connection } from "@libp2p/interface";
import type { Clock } from "#core";

/** How often it is looked at. */
export const IDLE_LOOK_MS = 1_000;

export type IdleDeps = {
  clock: Clock;
  /** Fires when the host stops. */
  stop: AbortSignal;
};

/**
 * Resolves when a connection had no stream but its hello's own for `forMs`, when it is gone, or after `atMostMs`. Rejects when the host stops.
 */
export async function untilIdle(
  { clock, stop }: IdleDeps,
  connection: Connection,
  { forMs, atMostMs = Number.POSITIVE_INFINITY }: { forMs: number; atMostMs?: number },
): Promise<void> {
  let idleMs = 0;
  for (let waitedMs = 0; waitedMs < atMostMs && connection.status === "open"; waitedMs += IDLE_LOOK_MS) {
    await clock.sleep(IDLE_LOOK_MS, stop);
    idleMs = connection.streams.length > 1 ? 0 : idleMs + IDLE_LOOK_MS;
    if (idleMs >= forMs) return;
  }
}
