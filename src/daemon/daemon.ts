import { join } from "node:path";
import { SOCKET_NAME } from "#api";
import { createLog, Fault, SystemClock, SystemRandom } from "#core";
import type { NodeId } from "#identity";
import { type Host, LazyDht, type Rendezvous, startRendezvous } from "#mesh";
import { type MeshNames, type Reach, type Router, ServiceLookup, type Services } from "#routing";
import { ArtifactKeeper } from "./artifact-keeper.ts";
import { type ConfigInput, type DaemonConfig, loadConfig } from "./config.ts";
import { artifactHandlers } from "./control/artifacts.ts";
import { createHandlers } from "./control/index.ts";
import { torrentHandlers } from "./control/torrents.ts";
import { FrontDesk } from "./front-desk.ts";
import { Joining } from "./joining.ts";
import { listen } from "./listen.ts";
import { startMemoryKeeper } from "./memory.ts";
import { streamTo, plugMesh } from "./mesh.ts";
import { createMetrics, startMetricsServer } from "./metrics.ts";
import { startNames } from "./names.ts";
import { type OpenNode, openNode } from "./node.ts";
import { registerNodeMetrics } from "./node-metrics.ts";
import { nodeName } from "./node-state.ts";
import { OtherFleets } from "./other-fleets.ts";
import { ProviderIndex } from "./provider-index.ts";
import { RateKeeper } from "./rate-keeper.ts";
import { rememberConfig, rememberedFacts, rememberedPeers, rememberedToken, rememberPass } from "./remembered.ts";
import { startControlServer } from "./server.ts";
import { type Spread, startSpread } from "./spread.ts";
import { VERSION } from "./version.ts";
import { startWays, type Ways } from "./ways.ts";

/** The first announcement in the DHT waits so long: it opens the DHT here and at those it tells, while what was just begun needs the processor. */
const ANNOUNCE_AFTER_MS = 5_000;

/** `pass`: a one-time pass as text; else it is read from the file that the options name. */
export type DaemonRequest = { options: ConfigInput; configFile?: string; pass?: string };

/** A daemon in this process. Disposing of it stops it in good order. */
export interface RunningDaemon extends AsyncDisposable {
  readonly data: string;
  /** Resolves when it was asked to stop through its API; rejects when it cannot go on. */
  readonly stopped: Promise<void>;
}

/** Starts the node: reads the configuration, opens the data directory, listens, joins. Throws Fault for what the person at the terminal can mend. */
export async function startDaemon(
  { options, configFile, pass }: DaemonRequest,
  signal: AbortSignal,
): Promise<RunningDaemon> {
  const config = loadConfig(options, configFile);
  const clock = new SystemClock();
  const log = createLog(clock, (line) => process.stderr.write(line), config.logLevel);
  await using stack = new AsyncDisposableStack();
  const node = openNode(config.data, { clock, random: new SystemRandom(), log, version: VERSION });
  stack.defer(() => node.close());
  rememberConfig(node.state, config);
  rememberPass(node.state, pass, config);
  signal.throwIfAborted();
  const daemon = new Daemon(node, config, stack);
  await daemon.start();
  const running = stack.move();
  return { data: config.data, stopped: daemon.stopped, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Gets ready for the DHT, which asks for the addresses of peers and tells of those that it found. */
type DhtOf = (finding: {
  addressesOf: (peer: NodeId) => string[];
  hint: (addresses: readonly string[]) => void;
}) => Pick<LazyDht, "open">;

/** What a node does over a host, once that listens. */
type Life = {
  keeper: ArtifactKeeper;
  joining: Joining;
  limits: RateKeeper;
  router: Router;
  services: Services;
  lookup: ServiceLookup;
};
/** The parts of a running node, wired together. */
export class Daemon {
  readonly #node: OpenNode;
  readonly #config: DaemonConfig;
  readonly #stack: AsyncDisposableStack;
  readonly #stop = new AbortController();
  readonly #otherFleets: OtherFleets;
  readonly #stopped = Promise.withResolvers<void>();
  /** Once there are ways. */
  #reach: Reach | undefined;

  constructor(node: OpenNode, config: DaemonConfig, stack: AsyncDisposableStack) {
    this.#node = node;
    this.#config = config;
    this.#stack = stack;
    this.#otherFleets = new OtherFleets(node.state.peerEvents);
  }

  get stopped(): Promise<void> {
    return this.#stopped.promise;
  }

  async start(): Promise<void> {
    const { state } = this.#node;
    const { clock, log, data } = state;
    const host = this.#stack.use(await listen(state, this.#config, this.#stop.signal));
    const life = await this.live(host, (finding) => this.#stack.use(new LazyDht({ host, clock, log, ...finding })));
    const { transit } = this.#config;
    const ways = this.#stack.use(startWays(state, { host, ...life, transit }));
    this.#reach = ways.reach;
    const names = this.#stack.use(await startNames(state, { ...life, ...ways }, this.#config));
    await this.#serveControl(host, life, ways, names);
    this.#stack.use(startMemoryKeeper(clock));
    log.info("ready", {
      name: nodeName(state),
      node: data.key.nodeId,
      state: life.joining.status().state,
      listen: host.addresses().join(" "),
    });
  }

  /**
   * Joins, keeps neighbours, and has here what should be here. Apart from `start`, so that many nodes can live in one process, over hosts
   * in memory.
   */
  async live(host: Host, dhtOf: DhtOf): Promise<Life> {
    const { state, registrar } = this.#node;
    state.settings.set("addresses", JSON.stringify(host.addresses()));
    const { gossip, router, services } = this.#stack.use(startSpread(this.#node, this.#config, host));
    const rendezvous = this.#stack.use(await this.#meetOthers(host));
    const index = this.#indexOver(host, rendezvous, dhtOf);
    const lookup = this.#lookUp(host, { gossip, router, services }, index);
    const keeper = await this.#keepArtifacts(host, router, index);
    const limits = this.#stack.use(new RateKeeper(state, this.#config.limits));
    limits.start((rates) => keeper.limit(rates));
    new FrontDesk(state, registrar).open(host, this.#stop.signal);
    this.#endRevoked(host);
    return { keeper, limits, router, services, lookup, joining: this.#join(host, rendezvous) };
  }

  /** With areas, links to other sites are for few: each of them tells the whole fleet of what is behind it. */
  #leavesSite(node: NodeId): boolean {
    const { topology, data } = this.#node.state;
    const { areas, mayCarry, mayLeave } = topology.policy();
    return areas === "one" || (mayLeave(node) && mayCarry(node) && (node !== data.key.nodeId || this.#config.transit));
  }

  /** Looks for neighbours among the peers that are remembered, told of, named by the token, or heard on the local network. */
  async #meetOthers(host: Host): Promise<Rendezvous> {
    const { state } = this.#node;
    const { clock, random, log, settings, store, members, data, whereabouts } = state;
    const token = rememberedToken(state);
    const rendezvous = await startRendezvous(
      {
        clock,
        random,
        log,
        host,
        memory: {
          load: () => rememberedPeers(settings),
          save: (peers) => settings.set("peers", JSON.stringify(peers)),
        },
        fleet: () => store.fleet ?? token?.fleet,
        membership: () => members.of(data.key.nodeId),
        siteOf: (peer) => members.of(peer)?.site,
        leavesSite: (node) => this.#leavesSite(node),
        seeds: () => [...(token?.rendezvous ?? []), ...(store.charter?.body.spec.rendezvous ?? [])],
        otherFleet: (seen) => this.#otherFleets.saw(seen),
      },
      { mdns: this.#config.mdns },
    );
    whereabouts.learnFrom((peer) => host.session(peer)?.addresses ?? []);
    whereabouts.learnFrom((peer) => rendezvous.addressesOf(peer));
    return rendezvous;
  }

  /** The fleet's index of who has what. */
  #indexOver(host: Host, rendezvous: Rendezvous, dhtOf: DhtOf): ProviderIndex {
    const { clock, log, data, members, whereabouts } = this.#node.state;
    const dht = dhtOf({
      addressesOf: (peer) => whereabouts.of(peer),
      hint: (addresses) => rendezvous.hint(addresses),
    });
    return this.#stack.use(
      new ProviderIndex({
        clock,
        log,
        dht,
        needed: () => !members.nodes().every((node) => node === data.key.nodeId || host.session(node)),
        announceAfterMs: ANNOUNCE_AFTER_MS,
      }),
    );
  }

  #lookUp(host: Host, { gossip, services }: Spread, index: ProviderIndex): ServiceLookup {
    const { state } = this.#node;
    const { clock, log, data, members } = state;
    const self = data.key.nodeId;
    const open = (peer: NodeId, protocol: string, signal: AbortSignal) => streamTo(state, host, peer, protocol, signal);
    const tenant = (): string | undefined => members.of(self)?.tenant;
    return this.#stack.use(new ServiceLookup({ host, gossip, services, index, open, self, tenant, clock, log }));
  }

  async #keepArtifacts(host: Host, router: Router, index: ProviderIndex): Promise<ArtifactKeeper> {
    const { state } = this.#node;
    const options = { mesh: plugMesh(state, { host, index, router }), storeLimits: this.#config.store };
    return this.#stack.use(await ArtifactKeeper.open(this.#node, options));
  }

  async #serveControl(host: Host, life: Life, ways: Ways, names: MeshNames | undefined): Promise<void> {
    const { keeper, joining, limits, router, services, lookup } = life;
    const { clock, log, data } = this.#node.state;
    const handlers = createHandlers(this.#node.state, {
      host,
      router,
      ways,
      services,
      lookup,
      names,
      join: () => joining.status(),
      otherFleets: () => this.#otherFleets.all,
      usage: () => keeper.usage(),
      limits,
      artifacts: {
        ...artifactHandlers(this.#node, keeper),
        ...torrentHandlers(this.#node, keeper, () => limits.rates),
      },
      shutdown: () => this.#stopped.resolve(),
    });
    const metrics = createMetrics();
    registerNodeMetrics(metrics, this.#node, host, keeper);
    const options = { socketPath: join(data.path, SOCKET_NAME), version: VERSION };
    this.#stack.use(await startControlServer({ handlers, metrics, log, clock }, options));
    if (this.#config.metrics !== undefined) this.#stack.use(await startMetricsServer(metrics, this.#config.metrics));
  }

  #join(host: Host, rendezvous: Rendezvous): Joining {
    const { state } = this.#node;
    const { store } = state;
    const joining = new Joining(state, {
      host,
      facts: rememberedFacts(state.settings),
      candidates: () => rendezvous.candidates(),
      reach: (member, protocol, signal) => {
        if (this.#reach !== undefined) return this.#reach.open(member, protocol, signal);
        throw new Fault("routing.no-route", "this node has only just started", { exit: "offline" });
      },
      joined: (registrarMs, registrar) => {
        const verdict = state.time.observe(
          { timeMs: registrarMs, registrar, fresh: true },
          store.list("Registrar").length,
        );
        if (verdict.outcome === "accepted") state.contact.heard(state.clock.nowMs());
        store.expire(state.trustedMs());
      },
    });
    const running = joining.run(this.#stop.signal);
    this.#stack.defer(async () => {
      this.#stop.abort(new Fault("daemon.stopping", "the daemon is stopping"));
      await running;
    });
    return joining;
  }

  /** A revocation ends live connections, not only future ones; so does quarantine. */
  #endRevoked(host: Host): void {
    const { store, members, events, quarantine } = this.#node.state;
    this.#stack.defer(quarantine.onAdded((node) => host.disconnect(node, "two machines use its key")));
    const end = (): void => {
      for (const session of host.sessions()) {
        if (members.of(session.nodeId) !== undefined) continue;
        events.record({
          type: "node.revoked",
          subject: session.name,
          outcome: "ok",
          message: "its connections were closed",
        });
        host.disconnect(session.nodeId, "no longer a member");
      }
    };
    this.#stack.defer(
      store.onAccepted((document) =>
        document.kind === "Revocation" || document.kind === "Tombstone" ? end() : undefined,
      ),
    );
  }
}
