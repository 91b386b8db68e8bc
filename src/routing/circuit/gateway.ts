import { asError, type ByteStream, type Clock, encodeFrame, Fault, type Log, withDeadline } from "#core";
import type { NodeId } from "#identity";
import type { Host } from "#mesh";
import { CIRCUIT_PROTOCOL, headOf, type Opening } from "./circuit-open.ts";
import { type Leg, type Step, type StepDeps, stepTo } from "./leg.ts";
import { splice } from "./splice.ts";

/** Circuits that this node carries for others. Each may have `MAX_WINDOW_BYTES` on its way, of which most is not here. */
export const MAX_CARRIED = 1_024;
/** Of one source, so that nobody takes the places of all. */
export const MAX_CARRIED_PER_SOURCE = 128;
/**
 * Bytes that wait here for a slow link, of all circuits. An end that reads nothing, or a thin link, makes a paused stream hold up to its
 * window, and 1,024 circuits have two of those each.
 */
export const MAX_HELD_BYTES = 64 * 1024 * 1024;
/** Opening the stream to the next node. */
const NEXT_TIMEOUT_MS = 3_000;

export type GatewayDeps = StepDeps & {
  host: Pick<Host, "nodeId" | "session" | "open">;
  clock: Clock;
  log: Log;
  /** Whether this node passes on what is not for itself, by now. */
  transit: () => boolean;
  isMember: (node: NodeId) => boolean;
};

/** A circuit between two other nodes that goes over this one. */
export type CarriedCircuit = { source: NodeId; target: NodeId; from: NodeId; to: NodeId; bytes: number };
type Carried = CarriedCircuit & { end: (reason: Error) => void; heldBytes: () => number };

/** Carries circuits between other members, within limits. */
export class Gateway {
  readonly #deps: GatewayDeps;
  readonly #carried = new Set<Carried>();
  #bytes = 0;

  constructor(deps: GatewayDeps) {
    this.#deps = deps;
  }

  carried(): readonly CarriedCircuit[] {
    return [...this.#carried];
  }

  /** Bytes passed on since the start, both ways. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Passes the opening on along its way, and then everything both ways. Throws Fault `routing.no-transit`, `routing.gateway-full`,
   * `routing.not-member` or `routing.no-link`; the caller says so to the node before.
   */
  async carry(stream: ByteStream, { signed, open, via }: Opening, leg: Leg, signal: AbortSignal): Promise<void> {
    const { host, clock } = this.#deps;
    const { from } = leg;
    const next = leg.next as NodeId; // the target does not come here
    const step: Step = leg.isInside ? { to: next, via } : stepTo(next, open, this.#deps);
    const { to } = step;
    const target = open.path.at(-1) as NodeId;
    this.#judge(open.source, target, to);
    const carried: Carried = {
      source: open.source,
      target,
      from,
      to,
      bytes: 0,
      end: (reason) => stream.abort(reason),
      heldBytes: () => stream.heldBytes,
    };
    this.#carried.add(carried); // before any wait, so that the limits hold
    try {
      const opening = (inner: AbortSignal) => host.open(to, CIRCUIT_PROTOCOL, inner, { eager: true });
      const onward = await withDeadline(clock, NEXT_TIMEOUT_MS, "opening the next link", opening, signal);
      onward.send(...encodeFrame(headOf(signed, step.via)));
      this.#splice(stream, onward, carried);
    } catch (error) {
      this.#carried.delete(carried);
      throw new Fault("routing.no-link", asError(error).message, { exit: "offline", cause: error });
    }
  }

  /** Ends what goes over a link that has fallen silent: the source hears of that long before it would notice by itself. */
  endSilent(): void {
    for (const { from, to, end } of this.#carried) {
      if (this.#isSilent(from) || this.#isSilent(to)) end(silent());
    }
  }

  /** Ends those that keep the most waiting here, while it is too much in all. Their ends attach anew, over others where there are any. */
  endHoarders(): void {
    const held = [...this.#carried].map((carried) => ({ carried, bytes: carried.heldBytes() }));
    let sum = held.reduce((total, { bytes }) => total + bytes, 0);
    if (sum <= MAX_HELD_BYTES) return;
    for (const { carried, bytes } of held.toSorted((a, b) => b.bytes - a.bytes)) {
      if (sum <= MAX_HELD_BYTES) return;
      carried.end(new Fault("routing.gateway-full", "too much waits at this node", { exit: "conflict" }));
      sum -= bytes;
    }
  }

  /** Ends what does not end at members any more. */
  endRevoked(): void {
    const { isMember } = this.#deps;
    for (const { source, target, end } of this.#carried) {
      if (!isMember(source) || !isMember(target))
        end(new Fault("routing.not-member", "an end of the circuit is no member any more", { exit: "denied" }));
    }
  }

  #judge(source: NodeId, target: NodeId, to: NodeId): void {
    const { transit, isMember, host } = this.#deps;
    const ofSource = [...this.#carried].filter((carried) => carried.source === source).length;
    if (!transit()) throw new Fault("routing.no-transit", "this node carries nothing for others", { exit: "denied" });
    if (!isMember(source) || !isMember(target))
      throw new Fault("routing.not-member", "an end of the circuit is no member", { exit: "denied" });
    if (this.#carried.size >= MAX_CARRIED || ofSource >= MAX_CARRIED_PER_SOURCE)
      throw new Fault("routing.gateway-full", "this node carries as much as it may", { exit: "conflict" });
    if (!this.#deps.mayUse(to))
      throw new Fault("routing.no-link", "the link to the next node is forbidden", { exit: "denied" });
    if (host.session(to) === undefined)
      throw new Fault("routing.no-link", "this node has no link to the next", { exit: "offline" });
    if (this.#isSilent(to)) throw silent();
  }

  #isSilent(neighbour: NodeId): boolean {
    return this.#deps.host.session(neighbour)?.suspect() === true;
  }

  #splice(stream: ByteStream, onward: ByteStream, carried: Carried): void {
    const { host, log } = this.#deps;
    const stops = [host.session(carried.from)?.carry(), host.session(carried.to)?.carry()];
    carried.end = (reason) => {
      stream.abort(reason);
      onward.abort(reason);
    };
    carried.heldBytes = () => stream.heldBytes + onward.heldBytes;
    const over = (error?: Error): void => {
      this.#carried.delete(carried);
      for (const stop of stops) stop?.();
      log.debug("circuit carried", { source: carried.source, target: carried.target, why: error?.message });
    };
    splice(stream, onward, over, (bytes) => {
      carried.bytes += bytes;
      this.#bytes += bytes;
    });
  }
}

function silent(): Fault {
  return new Fault("routing.no-link", "probes over the link go unanswered", { exit: "offline" });
}
