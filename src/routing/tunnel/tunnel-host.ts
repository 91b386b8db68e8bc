import { asError, type ByteStream, type Clock, Fault, HeadedStream, type Log, withDeadline } from "#core";
import type { NodeId } from "#identity";
import { dialTarget, NoTarget } from "./dial-target.ts";
import type { MayExpose } from "../service/expose.ts";
import type { Target } from "../service/target.ts";
import type { MayReach, TargetOf } from "./ports.ts";
import { type Meter, relayTcp } from "./tcp-relay.ts";
import {
  MAX_EARLY_BYTES,
  OPEN_MS,
  readTunnelRequest,
  sendTunnelAnswer,
  TUNNEL_LIMITS,
  TUNNEL_PROTOCOL,
  type TunnelRequest,
} from "./tunnel-wire.ts";
import { dialDatagrams } from "./udp-target.ts";
import { isFull, UdpFlow } from "./udp-flow.ts";

/** Tunnels that lead to this node's services at a time, each with a socket: half of what a process may usually open. */
export const MAX_TUNNELS = 4_096;
/** Of them, those of one node: nobody takes all. */
export const MAX_TUNNELS_OF_PEER = 1_024;
/** Who was refused may take so long to hang up; then the stream is cut. */
const LINGER_MS = 2_000;

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
  readonly #open = new Map<NodeId, number>();
  /** What ends each tunnel that is open. */
  readonly #live = new Set<() => void>();
  #total = 0;
  /** What all tunnels carried: from targets, and to them. */
  readonly meter: Meter = { fromSocketBytes: 0, toSocketBytes: 0 };

  constructor(deps: TunnelHostDeps) {
    this.#deps = deps;
    deps.handle(TUNNEL_PROTOCOL, (stream, peer) => void this.#accept(stream, peer));
  }

  /** Tunnels that are open now. */
  get open(): number {
    return this.#total;
  }

  [Symbol.dispose](): void {
    this.#stop.abort(new Fault("routing.tunnel-stopped", "the node is stopping", { exit: "offline" }));
    for (const cut of this.#live) cut();
  }

  async #accept(inner: ByteStream, peer: NodeId): Promise<void> {
    const stream = new HeadedStream(inner, { ...TUNNEL_LIMITS, maxHeldBytes: MAX_EARLY_BYTES });
    const ofPeer = this.#open.get(peer) ?? 0;
    try {
      if (this.#total >= MAX_TUNNELS || ofPeer >= MAX_TUNNELS_OF_PEER) throw new NoTarget("busy", "too many tunnels");
      this.#count(peer, 1);
      try {
        await this.#serve(stream, peer);
      } finally {
        this.#count(peer, -1);
      }
    } catch (error) {
      if (error instanceof NoTarget) await this.#refuse(stream, error);
      else stream.abort(asError(error));
    }
  }

  #count(peer: NodeId, change: 1 | -1): void {
    const left = (this.#open.get(peer) ?? 0) + change;
    this.#total += change;
    if (left > 0) this.#open.set(peer, left);
    else this.#open.delete(peer);
  }

  async #serve(stream: HeadedStream, peer: NodeId): Promise<void> {
    const { clock, mayExpose } = this.#deps;
    const { signal } = this.#stop;
    const head = await withDeadline(clock, OPEN_MS, "a tunnel's request", () => stream.head, signal);
    const request = readTunnelRequest(head);
    const target = this.#targetFor(peer, request);
    if (request.protocol === "udp") return this.#serveUdp(stream, target);
    const socket = await dialTarget(clock, target, mayExpose, signal);
    await this.#living(
      () => socket.resetAndDestroy(),
      () => {
        sendTunnelAnswer(stream);
        return relayTcp(socket, stream, this.meter);
      },
    );
  }

  async #serveUdp(stream: HeadedStream, target: Target): Promise<void> {
    const { clock, mayExpose } = this.#deps;
    const socket = await dialDatagrams(clock, target, mayExpose, this.#stop.signal);
    const deliver = (datagram: Uint8Array): void => {
      if (!isFull(socket)) socket.send(datagram);
    };
    const flow = new UdpFlow({ clock, stream, meter: this.meter, deliver });
    socket.on("message", (datagram) => flow.push(datagram));
    await this.#living(
      () => flow.end(),
      () => {
        sendTunnelAnswer(stream);
        return flow.run();
      },
    ).finally(() => socket.close());
  }

  /** Runs what is cut when the node stops. */
  async #living(cut: () => void, work: () => Promise<unknown>): Promise<void> {
    this.#live.add(cut);
    try {
      await work();
    } finally {
      cut();
      this.#live.delete(cut);
    }
  }

  /** Who asks is judged before it is said whether there is such a service. */
  #targetFor(peer: NodeId, { tenant, name }: TunnelRequest): Target {
    const { mayReach, targetOf, log } = this.#deps;
    if (!mayReach(peer, tenant, name)) {
      log.info("tunnel refused", { peer, tenant, name });
      throw new NoTarget("not-allowed", `this node may not use services of tenant ${tenant}`);
    }
    const target = targetOf(tenant, name);
    if (target === undefined) throw new NoTarget("unknown-service", `no service ${name} is published here`);
    return target;
  }

  /** Answers, and waits a moment for the other side to hang up, so that the answer is not lost. */
  async #refuse(stream: HeadedStream, refusal: NoTarget): Promise<void> {
    const { clock } = this.#deps;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    try {
      sendTunnelAnswer(stream, refusal);
      stream.close();
      stream.listen({ data: () => undefined, end: () => resolve() });
      await withDeadline(clock, LINGER_MS, "a refused tunnel's end", () => ended, this.#stop.signal);
    } catch (error) {
      stream.abort(asError(error));
    }
  }
}
