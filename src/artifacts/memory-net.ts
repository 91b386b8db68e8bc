import { type ByteStream, memoryStreamPair } from "#core";
import type { NodeId } from "#identity";
import type { Holders, Locality, SwarmNet } from "./ports.ts";

type Handler = (stream: ByteStream, peer: NodeId) => void;

/** Nodes in this process that reach each other through memory: the twin of the mesh for the swarm's three ports. */
export class MemoryNet {
  readonly #handlers = new Map<NodeId, Map<string, Handler>>();
  readonly #downListeners = new Map<NodeId, Set<(peer: NodeId) => void>>();
  readonly #streams = new Map<NodeId, Set<ByteStream>>();
  readonly #announced = new Map<string, Set<NodeId>>();
  readonly #sites = new Map<NodeId, string>();

  /** The ports of one node. */
  ports(self: NodeId, site = "home"): { net: SwarmNet; holders: Holders; locality: Locality } {
    this.#sites.set(self, site);
    this.#handlers.set(self, new Map());
    this.#downListeners.set(self, new Set());
    this.#streams.set(self, new Set());
    return { net: this.#netOf(self), holders: this.#holdersOf(self), locality: this.#localityOf(site) };
  }

  #netOf(self: NodeId): SwarmNet {
    return {
      self,
      open: async (peer, protocol) => {
        const handler = this.#handlers.get(peer)?.get(protocol);
        if (handler === undefined || !this.#handlers.has(self)) throw new Error(`${peer} cannot be reached`);
        const [near, far] = memoryStreamPair();
        this.#streams.get(self)?.add(near);
        this.#streams.get(peer)?.add(far);
        handler(far, self);
        return near;
      },
      handle: (protocol, handler) => this.#handlers.get(self)?.set(protocol, handler),
      onPeerDown: (listener) => {
        this.#downListeners.get(self)?.add(listener);
        return () => this.#downListeners.get(self)?.delete(listener);
      },
    };
  }

  #holdersOf(self: NodeId): Holders {
    const announced = this.#announced;
    return {
      neighbours: (root) => [...(announced.get(root) ?? [])].filter((node) => node !== self),
      async *lookUp() {},
      announce: (root) => {
        announced.set(root, (announced.get(root) ?? new Set()).add(self));
      },
    };
  }

  #localityOf(ownSite: string): Locality {
    return { ownSite, siteOf: (peer) => this.#sites.get(peer) };
  }

  /** The node is gone, as after kill -9: its streams break, and everybody notices. */
  kill(node: NodeId): void {
    this.#handlers.delete(node);
    for (const stream of this.#streams.get(node) ?? []) stream.abort(new Error("killed"));
    for (const holders of this.#announced.values()) holders.delete(node);
    for (const [other, listeners] of this.#downListeners) {
      if (other !== node) for (const listener of listeners) listener(node);
    }
  }
}
