import { z } from "zod";
import { type Clock, errorMessage, faultCode, type Log, type Random } from "#core";
import type { NodeId } from "#identity";
import { MAX_ADDRESS_CHARS } from "./address.ts";
import { MAX_HELLO_ADDRESSES } from "./hello-exchange.ts";
import type { Host, Session } from "./host.ts";
import { startMdns } from "./mdns.ts";
import { AddressBook, nodeIdIn, planDials, type RememberedPeer, WANTED_NEIGHBOURS } from "./neighbours.ts";

/** Session message: neighbours of mine, and where they say they listen. */
const PEERS_MESSAGE = "peers";
/** Peers told of in one message. */
const MAX_PEERS_TOLD = WANTED_NEIGHBOURS;
/** How often the decision is taken again when nothing happens. */
const LOOK_MS = 1_000;
/** News within this time are looked at together: one message tells of a burst of newcomers. */
const GATHER_MS = 100;
/** Dials at a time: a node that comes up must not look like a port scan. */
const MAX_DIALS = 8;
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
  /** Addresses from the token and the charter. */
  seeds: () => readonly string[];
};

export type RendezvousOptions = {
  /** Look for peers on the local network, and be found there. */
  mdns: boolean;
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
  const neighbours = new NeighbourKeeper(deps);
  const mdns = options.mdns
    ? startMdns(
        { clock, log, found: (addresses) => neighbours.hint(addresses) },
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
  readonly #book: AddressBook;
  readonly #dialling = new Set<NodeId>();
  readonly #news = new Set<NodeId>(); // came up since the others were told
  readonly #stop = new AbortController();
  #nap = new AbortController();
  #stirred = false;
  #running: Promise<void> = Promise.resolve();
  #unsubscribe = (): void => undefined;
  #savedAtMs = 0;
  #saved = "";

  constructor(deps: RendezvousDeps) {
    this.#deps = deps;
    this.#book = new AddressBook(deps.host.nodeId);
    this.#book.recall(deps.memory.load(), deps.clock.wallMs());
    this.#saved = JSON.stringify(this.#book.remembered());
    this.#savedAtMs = deps.clock.nowMs();
  }

  start(): void {
    const { host } = this.#deps;
    host.onMessage(PEERS_MESSAGE, (session, body) => this.#heard(session, body));
    this.#unsubscribe = host.onSession((session, event) => {
      if (event === "up") this.#up(session);
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
    return [...this.#book.peers()].flatMap(({ addresses }) => addresses);
  }

  addressesOf(peer: NodeId): readonly string[] {
    return this.#book.get(peer)?.addresses ?? [];
  }

  hint(addresses: readonly string[]): void {
    this.#book.hint(addresses, undefined, this.#deps.clock.wallMs());
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
        this.#dialDue();
        this.#tellNews();
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

  #dialDue(): void {
    const { host, clock, random, membership, seeds } = this.#deps;
    const own = membership();
    if (own === undefined) return;
    const nowMs = clock.wallMs();
    const connected = new Map(host.sessions().map(({ nodeId, site }) => [nodeId, site]));
    const unknown = seeds().filter((seed) => this.#book.get(nodeIdIn(seed) ?? "") === undefined);
    this.#book.hint(unknown, undefined, nowMs);
    const around = { connected, dialling: this.#dialling, ownSite: own.site, nowMs, slots: MAX_DIALS };
    for (const peer of planDials(this.#book, around, random)) void this.#dial(peer);
  }

  async #dial(peer: NodeId): Promise<void> {
    const { host, clock, random, log } = this.#deps;
    const addresses = this.#book.get(peer)?.addresses ?? [];
    this.#dialling.add(peer);
    try {
      await host.connect(addresses, this.#stop.signal);
    } catch (error) {
      const code = faultCode(error);
      this.#book.failed(peer, code === "mesh.refused" || code === "mesh.peer-refused", clock.wallMs(), random);
      log.debug("neighbour not reached", { peer, code, reason: errorMessage(error) });
    } finally {
      this.#dialling.delete(peer);
    }
  }

  #up(session: Session): void {
    const { host, clock } = this.#deps;
    const dialled = session.direction === "outbound" ? session.address : undefined;
    this.#book.reached(session.nodeId, session.site, session.addresses, dialled, clock.wallMs());
    this.#news.add(session.nodeId);
    this.#stir();
    const others = host.sessions().filter(({ nodeId }) => nodeId !== session.nodeId);
    if (others.length > 0) session.send(PEERS_MESSAGE, describe(others));
  }

  #tellNews(): void {
    const { host } = this.#deps;
    const fresh = host.sessions().filter(({ nodeId }) => this.#news.has(nodeId));
    this.#news.clear();
    for (const session of host.sessions()) {
      const others = fresh.filter(({ nodeId }) => nodeId !== session.nodeId);
      if (others.length > 0) session.send(PEERS_MESSAGE, describe(others));
    }
  }

  #heard(session: Session, body: unknown): void {
    const peers = Peers.safeParse(body);
    if (!peers.success) return this.#deps.host.disconnect(session.nodeId, "sent a malformed list of peers");
    for (const { a, s } of peers.data) this.#book.hint(a, s, this.#deps.clock.wallMs());
    this.#stir();
  }

  #save(): void {
    this.#savedAtMs = this.#deps.clock.nowMs();
    const peers = this.#book.remembered();
    const text = JSON.stringify(peers.map(({ nodeId, addresses, site }) => [nodeId, addresses, site]));
    if (text === this.#saved) return;
    this.#saved = text;
    this.#deps.memory.save(peers);
  }
}

/** Only neighbours of one's own are told of, so a hint is at most one hop from who vouches for it. */
function describe(sessions: readonly Session[]): z.infer<typeof Peers> {
  return sessions
    .filter(({ addresses }) => addresses.length > 0)
    .slice(0, MAX_PEERS_TOLD)
    .map(({ addresses, site }) => ({ a: addresses.slice(0, MAX_HELLO_ADDRESSES), s: site }));
}
