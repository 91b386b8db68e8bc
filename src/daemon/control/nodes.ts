import type { LimitsNow, NodeView, ResourceHandler } from "#api";
import { sixWords, keyHash, type MemberInfo, type NodeId, publicKeyOf, shortId } from "#identity";
import type { Host, Session } from "#mesh";
import type { NodeState } from "../node-state.ts";

type NodeDeps = { host: Host | undefined; limits: { now(): LimitsNow } | undefined };

/** Nodes of the fleet as this one sees them. `host` and `limits` are absent while the node does not run. */
export function nodeHandlers(state: NodeState, { host, limits }: NodeDeps): { nodes: ResourceHandler<"nodes"> } {
  return {
    nodes: {
      list: async () => listNodes(state, host),
      get: async (name) => {
        const node = findNode(listNodes(state, host), name);
        return node?.state === "self" && limits !== undefined ? { ...node, limits: limits.now() } : node;
      },
      onChange: (listener) => {
        const onSession = host?.onSession(listener) ?? (() => undefined);
        const stops = [state.store.onAccepted(listener), state.events.onEvent(listener), onSession];
        return () => {
          for (const stop of stops) stop();
        };
      },
    },
  };
}

function listNodes(state: NodeState, host: Host | undefined): NodeView[] {
  const nodes = state.members.all().map((member) => memberView(state, host, member));
  const known = new Set(nodes.map((node) => node.nodeId));
  for (const [node, generation] of state.members.revoked()) {
    if (known.has(node)) continue;
    nodes.push({ ...strangerView(state, node, "revoked"), generation });
    known.add(node);
  }
  for (const device of state.waiting.list(state.trustedMs())) {
    if (known.has(device.node)) continue;
    const { serial, model, site, address, reason, sinceMs } = device;
    nodes.push({
      ...strangerView(state, device.node, "pending"),
      address,
      reason,
      site: site ?? "",
      since: new Date(sinceMs).toISOString(),
      words: wordsOf(state, device.node),
      ...(serial === undefined ? {} : { serial }),
      ...(model === undefined ? {} : { model }),
    });
    known.add(device.node);
  }
  for (const { node, code, serial, address, atMs } of state.ledger.refusedDevices()) {
    if (known.has(node)) continue;
    known.add(node);
    const view = strangerView(state, node, "refused");
    nodes.push({
      ...view,
      serial,
      address,
      reason: code,
      since: new Date(atMs).toISOString(),
      words: wordsOf(state, node),
    });
  }
  return nodes;
}

/** What `get nodes` says of a newcomer. */
const PROVISIONAL = "provisional: only its registrar has told it what is revoked";

function memberView(state: NodeState, host: Host | undefined, member: MemberInfo): NodeView {
  const session = host?.session(member.node);
  const self = member.node === state.data.key.nodeId;
  const rttMs = session?.rttMs();
  const roles = member.registrar ? ["registrar"] : [];
  return {
    name: member.name,
    labels: { ...member.labels },
    nodeId: member.node,
    keyHash: member.keyHash,
    generation: member.generation,
    state: self ? "self" : standing(state, member, session),
    site: member.site,
    tenant: member.tenant,
    roles,
    ...(state.provisional.is(member.node) ? { provisional: true, reason: PROVISIONAL } : {}),
    expires: new Date(member.expiresMs).toISOString(),
    ...(session === undefined ? {} : { address: session.address }),
    ...(rttMs === undefined ? {} : { rttMs: Math.round(rttMs * 100) / 100 }),
    ...(member.serial === undefined ? {} : { serial: member.serial }),
    ...(member.evidence === undefined ? {} : { evidence: member.evidence }),
    ...(member.admittedBy === undefined
      ? {}
      : { registrar: state.store.keys.get(member.admittedBy)?.name ?? member.admittedBy }),
  };
}

function standing({ quarantine }: NodeState, member: MemberInfo, session: Session | undefined): NodeView["state"] {
  if (quarantine.sinceMs(member.node) !== undefined) return "quarantine";
  if (member.autonomous) return "autonomous";
  return session === undefined ? "known" : "connected";
}

function strangerView(state: NodeState, node: NodeId, is: "pending" | "refused" | "revoked"): NodeView {
  const publicKey = publicKeyOf(node);
  return {
    name: shortId(publicKey),
    labels: {},
    nodeId: node,
    keyHash: keyHash(publicKey),
    state: is,
    site: "",
    tenant: "",
    roles: [],
  };
}

/** What a person compares with the device's own screen. */
function wordsOf(state: NodeState, node: NodeId): string[] {
  return state.store.fleet === undefined ? [] : sixWords(state.store.fleet, publicKeyOf(node));
}

/** By name, node id, serial, or an unambiguous beginning of the node id or key hash. */
function findNode(nodes: readonly NodeView[], text: string): NodeView | undefined {
  const exact = nodes.find((node) => [node.name, node.nodeId, node.serial].includes(text));
  if (exact !== undefined || text.length < 6) return exact;
  const close = nodes.filter((node) => node.nodeId.startsWith(text) || node.keyHash.startsWith(text));
  return close.length === 1 ? close[0] : undefined;
}
