import { z } from "zod";
import { type Clock, errorMessage, Fault, faultCode, type Log, type Random, RateLimit } from "#core";
import type { NodeId } from "#identity";
import { MAX_ADDRESS_CHARS } from "./address.ts";
import { MAX_HELLO_ADDRESSES } from "./hello-exchange.ts";
import type { Host, Session } from "./host.ts";
import { type OtherFleet, startMdns } from "./mdns.ts";
import type { DialFailure, RememberedPeer } from "./address-book.ts";
import type { Hint, NeighbourEffect, NeighbourEvent } from "./neighbour-event.ts";
import { MAX_PEERS_TOLD, type NeighbourOptions, Neighbours } from "./neighbours.ts";

/** Session message: neighbours of mine, and where they say they listen. */
const PEERS_MESSAGE = "peers";
/** Session message: how many neighbours the sender has. */
const DEGREE_MESSAGE = "degree";
/** Session message: the sender has too many neighbours, and closes this link. */
const PART_MESSAGE = "part";
/** Lists of peers that one neighbour is heard with. News is gathered, so that a storm of newcomers makes ten a second for some seconds. */
const TOLD_AT_ONCE = 128;
const TOLD_PER_SECOND = 4;
/** How often the decision is taken again when nothing happens. */
const LOOK_MS = 1_000;
/** News within this time are looked at together: one message tells of a burst of newcomers. */
const GATHER_MS = 100;
/** How often what was learnt is written down, if it changed; flash wears. */
const SAVE_MS = 600_000;

const Peers = z
  .array(
    z.strictObject({
      a: z.array(z.string().max(MAX_ADDRESS_CHARS)).min(1).max(MAX_HELLO_ADDRESSES),
      s: z.string().max(64),
    }),
  )
  .max(MAX_PEERS_TOLD);

const Degree = z.int().min(0);

/** Where peers are kept across restarts. */
export interface PeerMemory {
  load(): RememberedPeer[];
  save(peers: readonly RememberedPeer[]): void;
}

export type RendezvousDeps = {
  clock: Clock;
  random: Random;
  log: Log;
  host: Host;
  memory: PeerMemory;
  /** The fleet id, once it is known from the token or the charter. */
  fleet: () => string | undefined;
  /** The own site once this node is a member, which is when it starts to dial for neighbours. */
  membership: () => { site: string } | undefined;
  /** The site that is signed for a peer, if this node has its member document. */
  siteOf: (peer: NodeId) => string | undefined;
  /** Whether a node is to have links to other sites. */
  leavesSite?: (node: NodeId) => boolean;
  /** Addresses from the token and the charter. */
  seeds: () => readonly string[];
  /** A node of another fleet answered on the local network. It is not dialled. */
  otherFleet: (seen: OtherFleet) => void;
};

export type RendezvousOptions = {
  /** Look for peers on the local network, and be found there. */
  mdns: boolean;
  /** How many neighbours to keep. */
  neighbours?: Partial<NeighbourOptions>;
};

/** Finds neighbours and keeps enough of them. */
export interface Rendezvous extends AsyncDisposable {
  /** Addresses at which the fleet may be found, besides the seeds: remembered ones, and those found on the local network. */
  candidates(): string[];
  /** Where one peer may be, the likeliest address first. */
  addressesOf(peer: NodeId): readonly string[];
  /** Adds addresses that were learnt elsewhere, such as from a registrar at joining. */
  hint(addresses: readonly string[]): void;
}

/** Starts looking for neighbours. Before this node is a member it only listens for where the fleet might be. */
export async function startRendezvous(deps: RendezvousDeps, options: RendezvousOptions): Promise<Rendezvous> {
  const { host, clock, log, fleet } = deps;
  const neighbours = new NeighbourKeeper(deps, options.neighbours);
  const mdns = options.mdns
    ? startMdns(
        { clock, log, found: (addresses) => neighbours.hint(addresses), otherFleet: deps.otherFleet },
        { fleet, addresses: () => (deps.membership() === undefined ? [] : host.addresses()), self: host.nodeId },
      )
    : undefined;
  neighbours.start();
  return {
    candidates: () => neighbours.candidates(),
    addressesOf: (peer) => neighbours.addressesOf(peer),
    hint: (addresses) => neighbours.hint(addresses),
    [Symbol.asyncDispose]: async () => {
      await mdns?.[Symbol.asyncDispose]();
      await neighbours.stop();
    },
  };
}

class NeighbourKeeper {
  readonly #deps: RendezvousDeps;
  readonly #core: Neighbours;
  readonly #stop = new AbortController();
  #nap = new AbortController();
  readonly #told = new Map<NodeId, RateLimit>();
  #stirred = false;
  #running: Promise<void> = Promise.resolve();
  #unsubscribe = (): void => undefined;
  #savedAtMs = 0;
  #saved = "";

  constructor(deps: RendezvousDeps, options: Partial<NeighbourOptions> | undefined) {
    const { host, clock, random, membership, siteOf, leavesSite, seeds, memory } = deps;
    this.#deps = deps;
    const ownSite = (): string | undefined => membership()?.site;
    const isBusy = (peer: NodeId): boolean => host.isBusy(peer);
    this.#core = new Neighbours(
      { self: host.nodeId, clock, random, ownSite, siteOf, seeds, isBusy, ...(leavesSite && { leavesSite }) },
      options,
    );
    this.#core.book.recall(memory.load());
    this.#saved = JSON.stringify(this.#core.book.remembered());
    this.#savedAtMs = clock.nowMs();
  }

  start(): void {
    const { host } = this.#deps;
    host.onMessage(PEERS_MESSAGE, (session, body) => this.#heard(session, body));
    host.onMessage(DEGREE_MESSAGE, (session, body) => {
      const degree = Degree.safeParse(body);
      if (degree.success) this.#step({ type: "degree", from: session.nodeId, degree: degree.data });
      else host.disconnect(session.nodeId, "sent a malformed number of neighbours");
    });
    host.onMessage(PART_MESSAGE, ({ nodeId }) => this.#step({ type: "parted", from: nodeId }));
    this.#unsubscribe = host.onSession((session, event) => {
      if (event === "up") this.#up(session);
      else this.#down(session.nodeId);
    });
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error("stopped"));
    this.#unsubscribe();
    this.#stir();
    await this.#running;
    this.#save();
  }

  candidates(): string[] {
    return [...this.#core.book.peers()].flatMap(({ addresses }) => addresses);
  }

  addressesOf(peer: NodeId): readonly string[] {
    return this.#core.book.get(peer)?.addresses ?? [];
  }

  hint(addresses: readonly string[]): void {
    this.#core.book.hint(addresses);
    this.#stir();
  }

  /** Something changed: look soon. */
  #stir(): void {
    this.#stirred = true;
    this.#nap.abort();
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#deps;
    while (!this.#stop.signal.aborted) {
      try {
        this.#step({ type: "look" });
        if (clock.nowMs() - this.#savedAtMs >= SAVE_MS) this.#save();
      } catch (error) {
        log.error("looking for neighbours failed", { reason: errorMessage(error) });
      }
      await clock.sleep(GATHER_MS, this.#stop.signal).catch(() => undefined);
      if (!this.#stirred) await clock.sleep(LOOK_MS, this.#nap.signal).catch(() => undefined);
      this.#stirred = false;
      this.#nap = new AbortController();
    }
  }

  #step(event: NeighbourEvent): void {
    for (const effect of this.#core.step(event)) this.#carryOut(effect);
  }

  #carryOut(effect: NeighbourEffect): void {
    const { host } = this.#deps;
    switch (effect.type) {
      case "dial":
        void this.#dial(effect.peer, effect.addresses);
        return;
      case "part":
        host.session(effect.peer)?.send(PART_MESSAGE, undefined);
        return host.part(effect.peer, "there are neighbours enough");
      case "tell":
        host.session(effect.to)?.send(PEERS_MESSAGE, effect.peers.map(describe));
        return;
      case "degree":
        host.session(effect.to)?.send(DEGREE_MESSAGE, effect.degree);
    }
  }

  async #dial(peer: NodeId, addresses: readonly string[]): Promise<void> {
    const { host, log } = this.#deps;
    try {
      await host.connect(addresses, this.#stop.signal);
      this.#step({ type: "dialled", peer });
    } catch (error) {
      this.#step({ type: "dialled", peer, failure: failureOf(error) });
      log.debug("neighbour not reached", { peer, code: faultCode(error), reason: errorMessage(error) });
    }
  }

  #up({ nodeId: peer, site, addresses, direction, address }: Session): void {
    const dialled = direction === "outbound" ? { dialled: address } : {};
    this.#step({ type: "up", peer, site, addresses, ...dialled });
    this.#stir();
  }

  #down(peer: NodeId): void {
    this.#told.delete(peer);
    this.#step({ type: "down", peer });
  }

  #heard(session: Session, body: unknown): void {
    const { nodeId } = session;
    const peers = Peers.safeParse(body);
    if (!peers.success) return this.#deps.host.disconnect(nodeId, "sent a malformed list of peers");
    const limit = this.#told.get(nodeId) ?? new RateLimit(this.#deps.clock, TOLD_PER_SECOND, TOLD_AT_ONCE);
    this.#told.set(nodeId, limit);
    if (!limit.take()) return; // nobody else has so much news
    this.#step({ type: "told", from: nodeId, peers: peers.data.map(({ a, s }) => ({ addresses: a, site: s })) });
    this.#stir();
  }

  #save(): void {
    this.#savedAtMs = this.#deps.clock.nowMs();
    const peers = this.#core.book.remembered();
    const text = JSON.stringify(peers.map(({ nodeId, addresses, site }) => [nodeId, addresses, site]));
    if (text === this.#saved) return;
    this.#saved = text;
    this.#deps.memory.save(peers);
  }
}

function describe({ addresses, site }: Hint): z.infer<typeof Peers>[number] {
  return { a: addresses.slice(0, MAX_HELLO_ADDRESSES), s: site };
}

function failureOf(error: unknown): DialFailure {
  if (!(error instanceof Fault) || (error.code !== "mesh.refused" && error.code !== "mesh.peer-refused"))
    return "unreachable";
  if (error.details?.["code"] === "mesh.other-fleet") return "other-fleet";
  return error.details?.["code"] === "mesh.full" ? "full" : "refused";
}
