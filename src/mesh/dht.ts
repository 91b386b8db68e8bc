import type { KadDHT, KadDHTComponents } from "@libp2p/kad-dht";
import {
  type Connection,
  type PeerId,
  type PeerInfo,
  start,
  stop,
  type Stream,
  type Topology,
} from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { CID } from "multiformats/cid";
import { create as createDigest } from "multiformats/hashes/digest";
import { asError, type Clock, errorMessage, Fault, type Log, withDeadline } from "#core";
import type { NodeId } from "#identity";
import type { Libp2pBackedHost } from "./libp2p-host.ts";

/** kad-dht under a name of our own: it never meets the public one. */
const DHT_PROTOCOL = "/portolan/kad/1";
/** One look-up or announcement, over all its hops. Measured 0.25–8.6 s on a busy machine with 100 nodes. */
const OPERATION_TIMEOUT_MS = 30_000;
/** Providers handed out by one look-up; a swarm keeps at most 32 connections. */
const MAX_PROVIDERS = 32;
/**
 * Nodes that keep a record, and about half as many paths that each look-up takes: as in BitTorrent's DHT (BEP 5). Twenty, the default, is for a public network whose nodes
 * leave within the hour; with 8 an announcement takes a third of the processor time (32 ms instead of 89, on all of 24 nodes together).
 */
const REPLICAS = 8;
const KEY_BYTES = 32;
const RAW_CODEC = 0x55; // multicodec table
const SHA2_256 = 0x12;

/** Who says that it has a blob, and where it may be. */
export type Provider = { nodeId: NodeId; addresses: string[] };

type Handler = (stream: Stream, connection: Connection) => void;

export type DhtDeps = {
  host: Libp2pBackedHost;
  clock: Clock;
  log: Log;
  /** Where a peer may be that is no neighbour. */
  addressesOf: (peer: NodeId) => readonly string[];
  /** Takes addresses that came up in answers. */
  hint: (addresses: readonly string[]) => void;
};

/** The fleet's index of who has what: the durable one, while neighbours' own messages are the fresh one. */
export interface Dht {
  /** Says that this node has what hashes to `key` (32 bytes), until it stops. Resolves to the number of nodes that were told. */
  provide(key: Uint8Array, signal: AbortSignal): Promise<number>;
  /** Others that said so; ends when the look-up does, at the latest after 30 s or 32 of them. */
  findProviders(key: Uint8Array, signal: AbortSignal): AsyncIterable<Provider>;
  /** Look-ups so far, those that found anybody, and announcements that reached anybody. */
  stats(): { lookups: number; found: number; provided: number };
}

/**
 * A DHT that starts when it is needed: by this node, or by the first neighbour that asks it something. It hears only from accepted
 * neighbours, learns of a peer when its session is up, and reaches others by a connection with a hello.
 */
export class LazyDht implements AsyncDisposable {
  readonly #deps: DhtDeps;
  #started: Promise<GatedDht> | undefined;
  #answer: Handler | undefined;
  #stopped = false;

  constructor(deps: DhtDeps) {
    this.#deps = deps;
    deps.host.serveRaw(DHT_PROTOCOL, (stream, connection) => this.#hear(stream, connection));
  }

  /** The DHT, started. Its code loads here, because it costs a quarter second. Rejects with `mesh.stopped` once disposed of. */
  async open(): Promise<Dht> {
    if (this.#stopped) throw new Fault("mesh.stopped", "the DHT is stopped");
    this.#started ??= startKad(this.#deps, (handler) => {
      this.#answer = handler;
    });
    return this.#started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    const dht = await this.#started?.catch(() => undefined);
    await dht?.stop();
  }

  #hear(stream: Stream, connection: Connection): void {
    this.open().then(
      () => this.#answer?.(stream, connection),
      (error: unknown) => stream.abort(asError(error)),
    );
  }
}

async function startKad(deps: DhtDeps, serve: (handler: Handler) => void): Promise<GatedDht> {
  const { kadDHT, passthroughMapper } = await import("@libp2p/kad-dht");
  const registrar = new SessionRegistrar(deps, serve);
  const kad = kadDHT({
    protocol: DHT_PROTOCOL,
    clientMode: false,
    kBucketSize: REPLICAS,
    peerInfoMapper: passthroughMapper, // the default drops private addresses, and so all of ours
    allowQueryWithZeroPeers: true,
  })(gatedComponents(deps, registrar));
  // peers in answers are queried next, by id alone: their addresses must be known by then
  if (kad instanceof EventTarget) kad.addEventListener("peer", (event) => deps.hint(addressesInEvent(event)));
  await start(kad);
  return new GatedDht(deps, kad, registrar);
}

class GatedDht implements Dht {
  readonly #deps: DhtDeps;
  readonly #kad: KadDHT;
  readonly #registrar: SessionRegistrar;
  readonly #stats = { lookups: 0, found: 0, provided: 0 };

  constructor(deps: DhtDeps, kad: KadDHT, registrar: SessionRegistrar) {
    this.#deps = deps;
    this.#kad = kad;
    this.#registrar = registrar;
  }

  stats(): { lookups: number; found: number; provided: number } {
    return { ...this.#stats };
  }

  async provide(key: Uint8Array, signal: AbortSignal): Promise<number> {
    const cid = cidOf(key);
    const work = async (inner: AbortSignal): Promise<number> => {
      let told = 0;
      for await (const event of this.#kad.provide(cid, { signal: inner })) {
        if (event.name === "PEER_RESPONSE" && event.messageName === "ADD_PROVIDER") told += 1;
      }
      return told;
    };
    const told = await withDeadline(this.#deps.clock, OPERATION_TIMEOUT_MS, "announcing in the DHT", work, signal);
    if (told > 0) this.#stats.provided += 1;
    return told;
  }

  async *findProviders(key: Uint8Array, signal: AbortSignal): AsyncGenerator<Provider> {
    const self = this.#deps.host.nodeId;
    const seen = new Set<NodeId>([self]);
    const timer = new AbortController();
    const onAbort = (): void => timer.abort(signal.reason);
    signal.throwIfAborted();
    signal.addEventListener("abort", onAbort, { once: true });
    this.#deps.clock.sleep(OPERATION_TIMEOUT_MS, timer.signal).then(
      () => timer.abort(new Fault("core.deadline", "the DHT look-up took too long", { exit: "timeout" })),
      () => undefined,
    );
    this.#stats.lookups += 1;
    try {
      for await (const event of this.#kad.findProviders(cidOf(key), { signal: timer.signal })) {
        if (event.name !== "PROVIDER" && event.name !== "PEER_RESPONSE") continue;
        for (const provider of event.providers) {
          const nodeId = provider.id.toString();
          if (seen.has(nodeId) || seen.size > MAX_PROVIDERS) continue;
          if (seen.size === 1) this.#stats.found += 1;
          seen.add(nodeId);
          const addresses = addressesIn(provider);
          this.#deps.hint(addresses); // a record kept here comes without the event above
          yield { nodeId, addresses };
        }
        if (seen.size > MAX_PROVIDERS) return;
      }
    } catch (error) {
      signal.throwIfAborted();
      this.#deps.log.debug("DHT look-up ended early", { reason: errorMessage(error) });
    } finally {
      timer.abort();
      signal.removeEventListener("abort", onAbort);
    }
  }

  async stop(): Promise<void> {
    this.#registrar.stop();
    await stop(this.#kad);
  }
}

type Registrar = KadDHTComponents["registrar"];

/** Protocol registration as kad-dht knows it, where "a peer has connected" means: its session is up. */
class SessionRegistrar {
  readonly #deps: DhtDeps;
  readonly #serve: (handler: Handler) => void;
  readonly #topologies = new Map<string, Topology>();
  readonly #unsubscribe: () => void;

  constructor(deps: DhtDeps, serve: (handler: Handler) => void) {
    this.#deps = deps;
    this.#serve = serve;
    this.#unsubscribe = deps.host.onSession(({ nodeId }, event) => this.#changed(nodeId, event));
  }

  stop(): void {
    this.#unsubscribe();
    this.#topologies.clear();
  }

  readonly overrides: Pick<Registrar, "handle" | "unhandle" | "register" | "unregister"> = {
    handle: async (_protocol, handler) => {
      this.#serve((stream, connection) => {
        Promise.resolve(handler(stream, connection)).catch((error: Error) => stream.abort(error));
      });
    },
    // kad-dht does it when it starts, too; who asks is to be heard before and after
    unhandle: () => Promise.resolve(),
    register: async (protocol, topology) => {
      const id = `${protocol}#${this.#topologies.size}`;
      this.#topologies.set(id, topology);
      for (const { nodeId } of this.#deps.host.sessions()) this.#changed(nodeId, "up");
      return id;
    },
    unregister: (id) => {
      this.#topologies.delete(id);
    },
  };

  #changed(nodeId: NodeId, event: "up" | "down"): void {
    const peer = peerIdFromString(nodeId);
    const connection = this.#deps.host.connectionTo(nodeId);
    const addresses = this.#deps.host.session(nodeId)?.addresses ?? [];
    const tell = async (): Promise<void> => {
      if (event === "up") await this.#deps.host.parts.peerStore.merge(peer, { multiaddrs: addresses.map(multiaddr) });
      for (const topology of this.#topologies.values()) {
        if (event === "down") await topology.onDisconnect?.(peer);
        else if (connection !== undefined) await topology.onConnect?.(peer, connection);
      }
    };
    tell().catch((error: Error) => this.#deps.log.warn("DHT was not told of a peer", { reason: error.message }));
  }
}

/** libp2p's parts, with those replaced that would reach peers without a hello. */
function gatedComponents(deps: DhtDeps, registrar: SessionRegistrar): KadDHTComponents {
  const { parts } = deps.host;
  const reach = async (peer: PeerId, signal: AbortSignal): Promise<NodeId> => {
    const nodeId = peer.toString();
    if (deps.host.session(nodeId) === undefined) await deps.host.connect(deps.addressesOf(nodeId), signal);
    return nodeId;
  };
  const toPeer = (target: unknown): PeerId => {
    if (typeof target === "object" && target !== null && "toMultihash" in target) return target as PeerId;
    throw new Fault("mesh.dht", "kad-dht dials peers by id only");
  };
  const { peerId, privateKey, addressManager, peerStore, datastore, events, logger } = parts;
  return {
    peerId,
    privateKey,
    addressManager,
    peerStore,
    datastore,
    events,
    logger,
    registrar: override(parts.registrar, registrar.overrides),
    connectionManager: override(parts.connectionManager, {
      openStream: async (target, protocol, options = {}) => {
        const signal = options.signal ?? new AbortController().signal;
        const nodeId = await reach(toPeer(target), signal);
        const connection = deps.host.connectionTo(nodeId);
        if (connection === undefined) throw new Fault("mesh.not-connected", `no connection to ${nodeId}`);
        await deps.host.settled(connection);
        return connection.newStream(protocol, options);
      },
    }),
    ping: {
      // a session is probed all the time: that it is up is the answer
      ping: async (target, options = {}) => {
        const nodeId = await reach(toPeer(target), options.signal ?? new AbortController().signal);
        return deps.host.session(nodeId)?.rttMs() ?? 0;
      },
    },
  };
}

function override<T extends object>(real: T, methods: Partial<T>): T {
  return Object.assign(Object.create(real) as T, methods);
}

function addressesInEvent(event: Event): string[] {
  return event instanceof CustomEvent ? addressesIn(event.detail as PeerInfo) : [];
}

function addressesIn(peer: PeerInfo): string[] {
  const id = peer.id.toString();
  return peer.multiaddrs
    .map((address) => address.toString())
    .map((text) => (text.includes("/p2p/") ? text : `${text}/p2p/${id}`));
}

function cidOf(key: Uint8Array): CID {
  if (key.length !== KEY_BYTES) throw new Fault("mesh.dht-key", `a DHT key is 32 bytes, not ${key.length}`);
  return CID.createV1(RAW_CODEC, createDigest(SHA2_256, key));
}
