import type { Gossip } from "#mesh";
import { z } from "zod";
import { quarantineClones } from "./admission.ts";
import type { NodeState } from "./node-state.ts";

/** Topic on which a node says that another machine uses its key. */
const CLONE = "clone";
/** `sinceMs`: when it found out, in Unix milliseconds. */
const Word = z.strictObject({ sinceMs: z.int().min(0) });

/** Shuts out keys whose owners say that two machines use them. Only who has the key can say so; it harms nobody else. Returns how to stop. */
export function hearOfClones(state: NodeState, gossip: Gossip): () => void {
  return gossip.on(CLONE, ({ origin, value }) => {
    const word = Word.safeParse(value);
    if (word.success && origin !== state.data.key.nodeId) quarantineClones(state, origin, word.data.sinceMs);
  });
}

/** A stale word of this node answers its bids at most once, and that by chance. */
const PROOF = 2;

/**
 * The mesh had a newer word of this node than its own, so it goes on as `boot`. When that is answered again and again, another machine
 * speaks with its key; it may be far away, with no neighbour in common.
 */
export function wasOutbid(
  state: NodeState,
  gossip: Gossip,
  { boot, answers }: { boot: number; answers: number },
): void {
  const { settings, log, events, members, data } = state;
  settings.set("boot", String(boot));
  if (answers !== PROOF) return;
  gossip.publish(CLONE, { sinceMs: state.trustedMs() });
  log.error("another machine uses this node's key", { node: data.key.nodeId });
  events.record({
    type: "security.clone",
    subject: members.of(data.key.nodeId)?.name ?? data.key.nodeId,
    outcome: "refused",
    message: "another machine uses this node's key; the fleet shuts both out",
  });
}
