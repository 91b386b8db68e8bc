import { CELL_BYTES } from "../chunk-map.ts";
import type { Flow } from "./flow.ts";
import {
  FRAME_S,
  MAX_FRAME_BYTES,
  MIN_LANE_WINDOW_BYTES,
  MIN_PEER_WINDOW_BYTES,
  MIN_WAN_WINDOW_BYTES,
} from "./swarm-limits.ts";
import type { Outgoing, Peer, SwarmState } from "./swarm-state.ts";

/** Sends cells of what was accepted, one receiver after the other, while their windows and these budgets (bytes) allow. */
export function sendCells(state: SwarmState, budget: { lan: number; wan: number }, nowMs: number): void {
  const { senders } = state;
  state.wakeMs = Number.POSITIVE_INFINITY;
  const lanRoom = (): number => (mustWait(state, state.uplink.lan, nowMs) ? 0 : Math.min(budget.lan, laneRoom(state)));
  let idle = 0; // receivers in a row that could take nothing
  while (idle < senders.length) {
    if (state.nextSender >= senders.length) state.nextSender = 0;
    const peer = senders[state.nextSender];
    if (peer === undefined || peer.outgoing.size === 0) {
      senders.splice(state.nextSender, 1);
      continue;
    }
    state.nextSender += 1;
    const room = peer.wan ? budget.wan : lanRoom();
    const bytes = room > 0 ? sendNext(state, peer, room, nowMs) : 0;
    budget[state.lane(peer)] -= bytes;
    idle = bytes === 0 ? idle + 1 : 0;
  }
  if (state.wakeMs !== Number.POSITIVE_INFINITY) state.effects.push({ type: "wake", atMs: state.wakeMs });
}

/** LAN receivers share my uplink, so they share a window; over the WAN each has its own path. */
function laneRoom(state: SwarmState): number {
  const flow = state.uplink.lan;
  return flow.windowBytes(MIN_LANE_WINDOW_BYTES) - flow.inFlightBytes;
}

function mustWait(state: SwarmState, { paceMs }: Flow, nowMs: number): boolean {
  if (paceMs <= nowMs) return false;
  state.wakeMs = Math.min(state.wakeMs, paceMs);
  return true;
}

/** Returns the bytes sent: 0 when the window is full or the next cell has not arrived here yet. */
function sendNext(state: SwarmState, peer: Peer, room: number, nowMs: number): number {
  const minBytes = peer.wan ? MIN_WAN_WINDOW_BYTES : MIN_PEER_WINDOW_BYTES;
  if (peer.wan && mustWait(state, peer.flow, nowMs)) return 0;
  if (peer.flow.inFlightBytes >= peer.flow.windowBytes(minBytes)) return 0;
  for (const outgoing of peer.outgoing.values()) {
    const ready = cellsReady(state, outgoing.chunk) - outgoing.next;
    if (ready <= 0) continue;
    const count = Math.min(ready, frameCells(peer, room));
    return send(state, peer, outgoing, count, nowMs);
  }
  return 0;
}

function cellsReady(state: SwarmState, chunk: number): number {
  if (state.have.has(chunk)) return state.geometry.cellsOf(chunk);
  return state.arrivals.get(chunk)?.got ?? 0;
}

/** As many cells as the link carries in 10 ms: large frames cost less, small ones are passed on earlier. */
function frameCells(peer: Peer, room: number): number {
  const bytes = Math.min(MAX_FRAME_BYTES, room, FRAME_S * peer.flow.bytesPerSecond());
  return Math.max(1, Math.floor(bytes / CELL_BYTES));
}

function send(state: SwarmState, peer: Peer, outgoing: Outgoing, count: number, nowMs: number): number {
  const { chunk, next: first } = outgoing;
  const bytes = state.geometry.bytesOfCells(chunk, first, count);
  const lane = state.lane(peer);
  outgoing.next += count;
  if (outgoing.next === outgoing.cells) peer.outgoing.delete(chunk);
  state.owe(peer, -bytes);
  peer.sent.push({ bytes, mark: peer.flow.sent(bytes, nowMs), laneMark: state.uplink[lane].sent(bytes, nowMs) });
  (peer.wan ? peer.flow : state.uplink.lan).pace(bytes, nowMs);
  state.effects.push({ type: "send", to: peer.id, chunk, first, count, bytes });
  return bytes;
}

/** The peer took bytes off the connection; the oldest sent first. */
export function onAcked(state: SwarmState, peer: Peer, bytes: number, nowMs: number): void {
  let left = bytes;
  while (left > 0) {
    const oldest = peer.sent[0];
    if (oldest === undefined) return;
    const part = Math.min(left, oldest.bytes);
    peer.flow.acked(part, oldest.mark, nowMs);
    state.uplink[state.lane(peer)].acked(part, oldest.laneMark, nowMs);
    oldest.bytes -= part;
    left -= part;
    if (oldest.bytes === 0) peer.sent.shift();
  }
}
