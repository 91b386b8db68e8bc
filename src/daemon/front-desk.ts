import { errorMessage, FrameStream } from "#core";
import { FROM_DEVICE, JOIN_PROTOCOL, JOIN_TIMEOUT_MS, type JoinReport, type NodeId, type Registrar } from "#identity";
import type { Host, Stranger } from "#mesh";
import type { NodeState } from "./node-state.ts";

/** Devices in the middle of joining at once; each exchange takes well under a second. */
const MAX_JOINING = 32;

/** Devices whose last answer is kept. */
const MAX_ANSWERS = 1_000;

/** Where newcomers speak to this node before they are members, and what came of it is put on record. A node that is no registrar sends them on. */
export class FrontDesk {
  readonly #state: Pick<NodeState, "events" | "peerEvents" | "log">;
  readonly #registrar: Registrar;
  /** What each device was answered last, so that one that polls is on record once. */
  readonly #lastAnswer = new Map<NodeId, string>();

  constructor(state: Pick<NodeState, "events" | "peerEvents" | "log">, registrar: Registrar) {
    this.#state = state;
    this.#registrar = registrar;
  }

  /** Serves until `stop` fires. */
  open(host: Host, stop: AbortSignal): void {
    const serve = async (frames: FrameStream, { nodeId, address }: Stranger): Promise<void> => {
      const report = await this.#registrar.serve(frames, { nodeId, remoteIp: ipOf(address) }, stop);
      this.#record(report, nodeId, address);
    };
    host.handleStranger(
      JOIN_PROTOCOL,
      (stream, peer) => {
        serve(new FrameStream(stream, FROM_DEVICE), peer).catch((error: unknown) => {
          this.#state.log.debug("join broke off", { peer: peer.nodeId, error: errorMessage(error) });
        });
      },
      { maxStreams: MAX_JOINING, timeoutMs: JOIN_TIMEOUT_MS },
    );
  }

  #record({ outcome, code, reason = "", name }: JoinReport, node: NodeId, address: string): void {
    if (outcome === "redirect" || code === "identity.join-lost") return;
    if (outcome !== "granted" && this.#lastAnswer.get(node) === code) return; // it asks again and again
    this.#remember(node, code);
    const { events, peerEvents } = this.#state;
    const subject = name ?? node;
    if (outcome === "granted") {
      events.record({ type: "node.joined", subject, outcome: "ok", message: `admitted from ${address}` });
      return;
    }
    peerEvents.record(undefined, {
      type: outcome === "pending" ? "node.pending" : "node.refused",
      subject,
      outcome: outcome === "pending" ? "ok" : "refused",
      message: `${code}: ${reason}`,
    });
  }

  #remember(node: NodeId, code: string | undefined): void {
    this.#lastAnswer.delete(node);
    if (code === undefined) return;
    this.#lastAnswer.set(node, code);
    if (this.#lastAnswer.size > MAX_ANSWERS) this.#lastAnswer.delete(this.#lastAnswer.keys().next().value ?? "");
  }
}

/** The IP in a multiaddr such as `/ip4/192.0.2.7/tcp/…`. */
function ipOf(address: string): string | undefined {
  const [, protocol, host] = address.split("/");
  return protocol === "ip4" || protocol === "ip6" ? host : undefined;
}
