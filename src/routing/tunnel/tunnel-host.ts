import { asError, type ByteStream, type Clock, Fault, type Log, RateLimit } from "#core";
import type { NodeId } from "#identity";
import type { MayExpose } from "../service/expose.ts";
import type { Target } from "../service/target.ts";
import { dialTarget } from "./dial-target.ts";
import type { Flow } from "./flow.ts";
import { GrowthBudget } from "./flow-window.ts";
import type { MayReach, TargetOf } from "./ports.ts";
import { type Meter, relayTcp } from "./tcp-relay.ts";
import { Trunk } from "./trunk.ts";
import { decodeRequest, NoTarget, TUNNEL_PROTOCOL, type TunnelRequest } from "./tunnel-wire.ts";
import { isFull, UdpFlow } from "./udp-flow.ts";
import { dialDatagrams } from "./udp-target.ts";

/** Tunnels that lead to this node's services at a time, each with a socket: half of what a process may usually open. */
export const MAX_TUNNELS = 4_096;
/** Of them, those of one node: nobody takes all. */
export const MAX_TUNNELS_OF_PEER = 1_024;
/** Refusals that are logged a second: a node can ask thousands of times. */
const LOGGED_PER_SECOND = 10;

/** What one node has open here. */
type Guest = { tunnels: number; trunks: number; growth: GrowthBudget };

export type TunnelHostDeps = {
  clock: Clock;
  log: Log;
  handle: (protocol: string, handler: (stream: ByteStream, peer: NodeId) => void) => void;
  targetOf: TargetOf;
  mayReach: MayReach;
  mayExpose: MayExpose;
};

/** Lets other nodes use what this one publishes, from its start until it is disposed of. */
export class TunnelHost implements Disposable {
  readonly #deps: TunnelHostDeps;
  readonly #stop = new AbortController();
  readonly #logged: RateLimit;
  readonly #guests = new Map<NodeId, Guest>();
  readonly #trunks = new Set<Trunk>();
  #open = 0;
  /** What all tunnels carried: from targets, and to them. */
  readonly meter: Meter = { fromSocketBytes: 0, toSocketBytes: 0 };

  constructor(deps: TunnelHostDeps) {
    this.#deps = deps;
    this.#logged = new RateLimit(deps.clock, LOGGED_PER_SECOND, LOGGED_PER_SECOND);
    deps.handle(TUNNEL_PROTOCOL, (stream, peer) => this.#trunk(stream, peer));
  }

  /** Tunnels that are open now. */
  get open(): number {
    return this.#open;
  }

  [Symbol.dispose](): void {
    const reason = new Fault("routing.tunnel-stopped", "the node is stopping", { exit: "offline" });
    this.#stop.abort(reason);
    for (const trunk of this.#trunks) trunk.abort(reason);
  }

  /** A peer's trunk. It may have several: each takes new flows for a while only. */
  #trunk(stream: ByteStream, peer: NodeId): void {
    const guest = this.#guests.get(peer) ?? { tunnels: 0, trunks: 0, growth: new GrowthBudget() };
    this.#guests.set(peer, guest);
    guest.trunks += 1;
    const trunk: Trunk = new Trunk({
      clock: this.#deps.clock,
      stream,
      growth: guest.growth,
      opened: (flow, request) => void this.#accept(trunk, flow, request, peer, guest),
      ended: () => {
        this.#trunks.delete(trunk);
        guest.trunks -= 1;
        this.#leave(peer, guest);
      },
    });
    this.#trunks.add(trunk);
  }

  async #accept(trunk: Trunk, flow: Flow, request: Uint8Array, peer: NodeId, guest: Guest): Promise<void> {
    try {
      if (this.#open >= MAX_TUNNELS || guest.tunnels >= MAX_TUNNELS_OF_PEER) {
        throw new NoTarget("busy", "too many tunnels");
      }
      this.#open += 1;
      guest.tunnels += 1;
      try {
        await this.#serve(trunk, flow, decodeRequest(request), peer);
      } finally {
        this.#open -= 1;
        guest.tunnels -= 1;
        this.#leave(peer, guest);
      }
    } catch (error) {
      flow.abort(asError(error));
    }
  }

  /** Targets may still be dialled for a node whose trunks have ended: they count. */
  #leave(peer: NodeId, guest: Guest): void {
    if (guest.trunks === 0 && guest.tunnels === 0) this.#guests.delete(peer);
  }

  async #serve(trunk: Trunk, flow: Flow, request: TunnelRequest, peer: NodeId): Promise<void> {
    const { clock, mayExpose } = this.#deps;
    const target = this.#targetFor(peer, request);
    if (request.protocol === "udp") return this.#serveUdp(trunk, flow, target);
    const socket = await dialTarget(clock, target, mayExpose, this.#stop.signal);
    trunk.accept(flow);
    await relayTcp(socket, flow, this.meter);
  }

  async #serveUdp(trunk: Trunk, stream: Flow, target: Target): Promise<void> {
    const { clock, mayExpose } = this.#deps;
    const socket = await dialDatagrams(clock, target, mayExpose, this.#stop.signal);
    const deliver = (datagram: Uint8Array): void => {
      if (!isFull(socket)) socket.send(datagram);
    };
    const flow = new UdpFlow({ clock, stream, meter: this.meter, deliver });
    socket.on("message", (datagram) => flow.push(datagram));
    trunk.accept(stream);
    await flow.run().finally(() => socket.close());
  }

  /** Who asks is judged before it is said whether there is such a service. */
  #targetFor(peer: NodeId, { tenant, name }: TunnelRequest): Target {
    const { mayReach, targetOf, log } = this.#deps;
    if (!mayReach(peer, tenant, name)) {
      if (this.#logged.take()) log.info("tunnel refused", { peer, tenant, name });
      throw new NoTarget("not-allowed", `this node may not use services of tenant ${tenant}`);
    }
    const target = targetOf(tenant, name);
    if (target === undefined) throw new NoTarget("unknown-service", `no service ${name} is published here`);
    return target;
  }
}
