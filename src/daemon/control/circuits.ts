import type { CircuitView, Handlers, ResourceHandler } from "#api";
import { type Clock, withDeadline } from "#core";
import type { NodeId } from "#identity";
import { type CarriedCircuit, type CircuitState, ping } from "#routing";
import { daemonDown } from "../daemon-down.ts";
import type { Ways } from "../ways.ts";
import { noSuch } from "../control-events.ts";
import type { NodeState } from "../node-state.ts";

/** How often a list that is followed is looked at: bytes change all the time. */
const LOOK_MS = 1_000;
const PING_TIMEOUT_MS = 10_000;

/** The circuits that begin, end or pass here, and pings. `ways` is absent while the node does not run. */
export function circuitHandlers(
  state: NodeState,
  ways: Ways | undefined,
): { circuits: ResourceHandler<"circuits">; ping: Handlers["ping"] } {
  const list = (): CircuitView[] => {
    if (ways === undefined) return [];
    const { circuits } = ways;
    return [
      ...circuits.list().map((circuit) => endView(state, circuit)),
      ...circuits.gateway.carried().map((circuit) => carriedView(state, circuit)),
    ];
  };
  return {
    circuits: {
      list: async () => list(),
      get: async (name) => list().find((circuit) => circuit.name === name || circuit.nodeId === name),
      onChange: (listener) => every(state.clock, LOOK_MS, listener),
    },
    ping: async ({ node: text }, { signal }) => {
      if (ways === undefined) throw daemonDown();
      const member = state.members.find(text);
      if (member === undefined) throw noSuch("nodes", text);
      const { clock, random } = state;
      const open = ways.reach.open.bind(ways.reach);
      const pinging = (inner: AbortSignal): Promise<number> => ping(member.node, { clock, random, open }, inner);
      const rttMs = await withDeadline(clock, PING_TIMEOUT_MS, `the ping to ${member.name}`, pinging, signal);
      const via = viaOf(state, ways, member.node);
      return { name: member.name, node: member.node, rttMs, ...(via && { via }) };
    },
  };
}

/** The gateways on the way, none over a link; `undefined` where the other end opened the circuit, which alone knows. */
function viaOf(state: NodeState, { circuits, reach }: Ways, node: NodeId): string[] | undefined {
  if (reach.isLinked(node)) return [];
  const circuit = circuits.list().find(({ peer, path }) => peer === node && path !== undefined);
  return circuit?.path?.slice(0, -1).map((gateway) => state.members.nameOf(gateway));
}

function endView(
  state: NodeState,
  { peer, role, path, moves, isAttached, rttMs, bytesIn, bytesOut }: CircuitState,
): CircuitView {
  return {
    name: state.members.nameOf(peer),
    labels: {},
    nodeId: peer,
    role,
    state: isAttached ? "up" : "waiting",
    ...(path === undefined ? {} : { via: path.slice(0, -1).map((gateway) => state.members.nameOf(gateway)) }),
    moves,
    rttMs: Math.round(rttMs * 100) / 100,
    bytesIn,
    bytesOut,
  };
}

function carriedView(state: NodeState, { source, target, from, to, bytes }: CarriedCircuit): CircuitView {
  return {
    name: `${state.members.nameOf(source)}/${state.members.nameOf(target)}`,
    labels: {},
    nodeId: target,
    role: "gateway",
    state: "up",
    via: [state.members.nameOf(from), state.members.nameOf(to)],
    moves: 0,
    bytesIn: bytes,
    bytesOut: bytes,
  };
}

function every(clock: Clock, ms: number, listener: () => void): () => void {
  const stop = new AbortController();
  const look = async (): Promise<void> => {
    for (;;) {
      await clock.sleep(ms, stop.signal);
      listener();
    }
  };
  look().catch(() => undefined); // stopped
  return () => stop.abort();
}
