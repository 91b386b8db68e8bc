import { type ByteStream, type Clock, errorMessage, Fault, type Log, withDeadline } from "#core";
import type { NodeId } from "#identity";
import { Link, type LinkEvents } from "./link.ts";
import type { SwarmNet } from "./ports.ts";
import { SWARM_PROTOCOL } from "./wire.ts";

/** Opening a stream to a peer that is there takes a few round trips. */
const OPEN_MS = 10_000;

export type SwarmLinksEvents = LinkEvents & {
  /** A stream to this peer is there; called once per link, before anything arrives on it. */
  up(link: Link): void;
  /** No stream to this peer could be opened. */
  failed(peer: NodeId): void;
};

/** The streams of one node to its peers, at most one each. */
export class SwarmLinks {
  readonly #net: SwarmNet;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #events: SwarmLinksEvents;
  readonly #links = new Map<NodeId, Link>();
  readonly #dialling = new Set<NodeId>();
  readonly #stopped = new AbortController();
  readonly #unlisten: () => void;

  constructor(deps: { net: SwarmNet; clock: Clock; log: Log }, events: SwarmLinksEvents) {
    this.#net = deps.net;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#events = events;
    this.#net.handle(SWARM_PROTOCOL, (stream, peer) => this.#attach(stream, peer, peer));
    this.#unlisten = this.#net.onPeerDown((peer) => this.#links.get(peer)?.abort(gone(peer)));
  }

  get(peer: NodeId): Link | undefined {
    return this.#links.get(peer);
  }

  all(): Link[] {
    return [...this.#links.values()];
  }

  /** Opens a stream unless there is one, or one is being opened. */
  dial(peer: NodeId): void {
    if (this.#links.has(peer) || this.#dialling.has(peer) || this.#stopped.signal.aborted) return;
    this.#dialling.add(peer);
    const open = (signal: AbortSignal): Promise<ByteStream> => this.#net.open(peer, SWARM_PROTOCOL, signal);
    withDeadline(this.#clock, OPEN_MS, `opening a stream to ${peer}`, open, this.#stopped.signal)
      .then((stream) => this.#attach(stream, peer, this.#net.self))
      .catch((error: unknown) => {
        this.#log.debug("no swarm stream", { peer, reason: errorMessage(error) });
        if (!this.#links.has(peer)) this.#events.failed(peer);
      })
      .finally(() => this.#dialling.delete(peer));
  }

  /** Two nodes may open a stream to each other at once: both keep the one that the lower id opened. */
  #attach(stream: ByteStream, peer: NodeId, opener: NodeId): void {
    const old = this.#links.get(peer);
    if (this.#stopped.signal.aborted || (old !== undefined && old.opener < opener)) {
      stream.abort(new Fault("artifacts.duplicate-stream", "this swarm stream is not needed"));
      return;
    }
    const link = new Link(stream, peer, opener, {
      message: (from, message, frame) => this.#events.message(from, message, frame),
      end: (ended, error) => this.#onEnd(ended, error),
    });
    old?.abort(new Fault("artifacts.duplicate-stream", "another swarm stream to this peer took over"));
    this.#links.set(peer, link);
    this.#events.up(link);
  }

  #onEnd(link: Link, error?: Error): void {
    if (error !== undefined) this.#log.debug("a swarm stream ended", { peer: link.peer, reason: error.message });
    if (this.#links.get(link.peer) === link) this.#links.delete(link.peer);
    this.#events.end(link, error);
  }

  /** Ends all streams; none is opened or taken any more. */
  stop(): void {
    this.#stopped.abort(new Fault("artifacts.stopped", "the node is stopping"));
    this.#unlisten();
    for (const link of this.all()) link.close();
  }
}

function gone(peer: NodeId): Fault {
  return new Fault("artifacts.peer-down", `${peer} is gone`);
}
