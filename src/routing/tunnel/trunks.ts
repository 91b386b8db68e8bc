import { asError, type ByteStream, type Clock, withDeadline } from "#core";
import type { NodeId } from "#identity";
import { GrowthBudget } from "./flow-window.ts";
import type { OpenStream } from "./ports.ts";
import { Trunk } from "./trunk.ts";
import { REACH_MS, TUNNEL_PROTOCOL } from "./tunnel-wire.ts";

/**
 * A trunk takes new flows for so long; then the next one does, and it ends with its last flow. So new flows go the way that leads to the
 * node now (a link that came up, another gateway), and a node to which there is no tunnel any more is left alone.
 */
export const TRUNK_MS = 10_000;

/** The trunks to one node. */
type Line = {
  growth: GrowthBudget;
  /** Takes new flows, or will. */
  current: Promise<Trunk> | undefined;
  /** The same once it is there, so that a flow over it need not wait. */
  live: Trunk | undefined;
  trunks: number;
};

/** The trunks of this node to others. */
export class Trunks {
  readonly #clock: Clock;
  readonly #open: OpenStream;
  readonly #lines = new Map<NodeId, Line>();

  constructor(clock: Clock, open: OpenStream) {
    this.#clock = clock;
    this.#open = open;
  }

  /** The trunk for a new flow to a node, if there is one. */
  live(node: NodeId): Trunk | undefined {
    return this.#lines.get(node)?.live;
  }

  /** The trunk for a new flow to a node; opened, for all who wait for it, if there is none. Throws as `OpenStream`, or Fault `core.deadline`. */
  to(node: NodeId): Promise<Trunk> {
    let line = this.#lines.get(node);
    if (line === undefined) {
      line = { growth: new GrowthBudget(), current: undefined, live: undefined, trunks: 0 };
      this.#lines.set(node, line);
    }
    line.current ??= this.#start(node, line);
    return line.current;
  }

  async #start(node: NodeId, line: Line): Promise<Trunk> {
    const { growth } = line;
    line.trunks += 1;
    try {
      const stream = await this.#stream(node);
      const over = new AbortController();
      const trunk: Trunk = new Trunk({
        clock: this.#clock,
        stream,
        growth,
        flowEnded: () => this.#closeIfUnused(line, trunk),
        ended: () => {
          over.abort();
          this.#replace(line, trunk);
          this.#leave(node, line);
        },
      });
      line.live = trunk;
      this.#clock.sleep(TRUNK_MS, over.signal).then(
        () => {
          this.#replace(line, trunk);
          this.#closeIfUnused(line, trunk);
        },
        () => undefined, // it has ended
      );
      return trunk;
    } catch (error) {
      line.current = undefined;
      this.#leave(node, line);
      throw error;
    }
  }

  #stream(node: NodeId): Promise<ByteStream> {
    const open = async (signal: AbortSignal): Promise<ByteStream> => {
      const stream = await this.#open(node, TUNNEL_PROTOCOL, signal);
      if (signal.aborted) stream.abort(asError(signal.reason)); // nobody waits for it any more
      return stream;
    };
    return withDeadline(this.#clock, REACH_MS, `opening a trunk to ${node}`, open);
  }

  /** The next flow gets another trunk. */
  #replace(line: Line, trunk: Trunk): void {
    if (line.live !== trunk) return;
    line.live = undefined;
    line.current = undefined;
  }

  #closeIfUnused(line: Line, trunk: Trunk): void {
    if (line.live !== trunk && trunk.flows === 0) trunk.close();
  }

  #leave(node: NodeId, line: Line): void {
    line.trunks -= 1;
    if (line.trunks === 0) this.#lines.delete(node);
  }
}
