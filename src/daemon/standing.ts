import type { NodeState } from "./node-state.ts";

/** Where a node stands on its way into the fleet, and what stands in its way. */
export type JoinStatus = {
  state: "no-fleet" | "forming" | "joining" | "pending" | "refused" | "member" | "registrar";
  /** Cause and next command, in words for the person at the device. */
  problem?: { code: string; reason: string; next: string };
};

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
