import { createLog, errorMessage, Fault, FrameStream, SystemClock, SystemRandom } from "#core";
import {
  type BootstrapToken,
  checkPass,
  decodeToken,
  type DeviceFacts,
  FROM_DEVICE,
  JOIN_PROTOCOL,
  JOIN_TIMEOUT_MS,
  type NodeId,
  readPassFile,
} from "#identity";
import {
  Gossip,
  type Host,
  type RememberedPeer,
  type Rendezvous,
  startDht,
  startRendezvous,
  startReplica,
  type Stranger,
} from "#mesh";
import { ArtifactKeeper } from "./artifact-keeper.ts";
import { BlobIndex } from "./blob-index.ts";
import { PROGRESS } from "./copies.ts";
import { type ConfigInput, type DaemonConfig, loadConfig } from "./config.ts";
import { createHandlers } from "./control/index.ts";
import { artifactHandlers } from "./control/artifacts.ts";
import { torrentHandlers } from "./control/torrents.ts";
import { Joining, standing } from "./joining.ts";
import { listen } from "./listen.ts";
import { startMemoryKeeper } from "./memory.ts";
import { plugMesh } from "./mesh.ts";
import type { Settings } from "./data-directory.ts";
import { createMetrics, startMetricsServer } from "./metrics.ts";
import { type OpenNode, openNode } from "./node.ts";
import { registerNodeMetrics } from "./node-metrics.ts";
import { nodeName, type NodeState } from "./node-state.ts";
import { OtherFleets } from "./other-fleets.ts";
import { RateKeeper } from "./rate-keeper.ts";
import { startControlServer } from "./server.ts";
import { BEACONS, startTimeKeeper } from "./time-keeper.ts";
import { VERSION } from "./version.ts";

/** Devices in the middle of joining at once; each exchange takes well under a second. */
const MAX_JOINING = 32;

/** Devices whose last answer is kept. */
const MAX_ANSWERS = 1_000;

/** A blob is announced in the DHT so long after it was begun: whoever asks its neighbours finds it without, and loading the DHT then takes nothing from the transfer. */
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
  const reach: Reach = {};
  const node = openNode(config.data, { clock, random: new SystemRandom(), log, version: VERSION }, (peer) =>
    addressesOf(reach, peer),
  );
  stack.defer(() => node.close());
  rememberConfig(node, config);
  rememberPass(node, pass, config);
  const daemon = new Daemon(node, config, stack);
  await daemon.start(signal, reach);
  const running = stack.move();
  return { data: config.data, stopped: daemon.stopped, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** The control API over a data directory whose daemon does not run. */
export async function startOffline(dataDir: string): Promise<AsyncDisposable> {
  const clock = new SystemClock();
  const log = createLog(clock, (line) => process.stderr.write(line), "warn");
  await using stack = new AsyncDisposableStack();
  const node = openNode(dataDir, { clock, random: new SystemRandom(), log, version: VERSION }, () => []);
  stack.defer(() => node.close());
  const keeper = await ArtifactKeeper.open(node, {});
  stack.use(keeper);
  const handlers = createHandlers(node.state, {
    host: undefined,
    join: () => standing(node.state) ?? { state: "joining" },
    otherFleets: () => [],
    usage: () => keeper.usage(),
    limits: undefined,
    artifacts: { ...artifactHandlers(node, keeper), ...torrentHandlers(node, keeper, () => ({})) },
    shutdown: () => undefined,
  });
  stack.use(
    await startControlServer(
      { handlers, metrics: createMetrics(), log, clock },
      { socketPath: socketPath(dataDir), version: VERSION },
    ),
  );
  return stack.move();
}

/** The parts of a running node, wired together. */
class Daemon {
  readonly #node: OpenNode;
  readonly #config: DaemonConfig;
  readonly #stack: AsyncDisposableStack;
  readonly #stop = new AbortController();
  readonly #otherFleets: OtherFleets;
  /** What each device was answered last, so that one that polls is on record once. */
  readonly #lastAnswer = new Map<NodeId, string>();
  readonly #stopped = Promise.withResolvers<void>();

  constructor(node: OpenNode, config: DaemonConfig, stack: AsyncDisposableStack) {
    this.#node = node;
    this.#config = config;
    this.#stack = stack;
    this.#otherFleets = new OtherFleets(node.state.peerEvents);
  }

  get stopped(): Promise<void> {
    return this.#stopped.promise;
  }

  /** `reach`: filled in with what knows where others are. */
  async start(signal: AbortSignal, reach: Reach): Promise<void> {
    const { state, registrar, copies } = this.#node;
    const { clock, random, log, data, store, members } = state;
    const stack = this.#stack;
    signal.throwIfAborted();
    const host = stack.use(await listen(state, this.#config, this.#stop.signal));
    state.settings.set("addresses", JSON.stringify(host.addresses()));
    const gossip = stack.use(
      new Gossip({
        host,
        key: data.key.key,
        boot: nextBoot(state),
        fleet: () => store.fleet,
        isMember: (id) => members.of(id) !== undefined,
        clock,
        random,
        sparse: new Set([PROGRESS, BEACONS]),
      }),
    );
    stack.use(
      startReplica({
        host,
        store,
        clock,
        random,
        log,
        trustedMs: state.trustedMs,
        mayTell: (id, peer) => state.provisional.mayTell(id, peer),
      }),
    );
    stack.defer(state.provisional.connect(host));
    copies.connect(gossip);
    stack.use(copies);
    stack.use(startTimeKeeper({ state, gossip, host }));
    const rendezvous = stack.use(await this.#meetOthers(host));
    Object.assign(reach, { host, rendezvous });
    const addressesOf = (peer: NodeId): string[] =>
      rendezvous.candidates().filter((address) => address.endsWith(`/p2p/${peer}`));
    const index = stack.use(
      new BlobIndex({
        clock,
        log,
        start: () => startDht({ host, clock, log, addressesOf, hint: (a) => rendezvous.hint(a) }),
        needed: () => !state.members.nodes().every((node) => node === data.key.nodeId || host.session(node)),
        announceAfterMs: ANNOUNCE_AFTER_MS,
      }),
    );
    const mesh = plugMesh(state, { host, addressesOf, index });
    const keeper = stack.use(await ArtifactKeeper.open(this.#node, { mesh, storeLimits: this.#config.store }));
    const limits = stack.use(new RateKeeper(state, this.#config.limits));
    limits.start((rates) => keeper.limit(rates));
    this.#serveJoin(host, registrar);
    this.#endRevoked(host);
    const joining = this.#join(host, rendezvous);
    const handlers = createHandlers(state, {
      host,
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
    stack.use(
      await startControlServer(
        { handlers, metrics, log, clock },
        { socketPath: socketPath(data.path), version: VERSION },
      ),
    );
    if (this.#config.metrics !== undefined) stack.use(await startMetricsServer(metrics, this.#config.metrics));
    stack.use(startMemoryKeeper(clock));
    log.info("ready", {
      name: nodeName(state),
      node: data.key.nodeId,
      state: joining.status().state,
      listen: host.addresses().join(" "),
    });
  }

  /** Looks for neighbours among the peers that are remembered, told of, named by the token, or heard on the local network. */
  #meetOthers(host: Host): Promise<Rendezvous> {
    const { clock, random, log, settings, store, members, data, trustedMs } = this.#node.state;
    const token = (): BootstrapToken | undefined => {
      const text = settings.get("token");
      return text === undefined ? undefined : decodeToken(text, { nowMs: trustedMs() });
    };
    const seeds = token()?.rendezvous ?? [];
    const tokenFleet = token()?.fleet;
    return startRendezvous(
      {
        clock,
        random,
        log,
        host,
        memory: {
          load: () => JSON.parse(settings.get("peers") ?? "[]") as RememberedPeer[],
          save: (peers) => settings.set("peers", JSON.stringify(peers)),
        },
        fleet: () => store.fleet ?? tokenFleet,
        membership: () => members.of(data.key.nodeId),
        seeds: () => [...seeds, ...(store.charter?.body.spec.rendezvous ?? [])],
        otherFleet: (seen) => this.#otherFleets.saw(seen),
      },
      { mdns: this.#config.mdns },
    );
  }

  #join(host: Host, rendezvous: Rendezvous): Joining {
    const { state } = this.#node;
    const { store } = state;
    const joining = new Joining(state, {
      host,
      facts: rememberedFacts(state.settings),
      candidates: () => rendezvous.candidates(),
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

  /** Newcomers speak to this node before they are members; a node that is no registrar sends them on. */
  #serveJoin(host: Host, registrar: OpenNode["registrar"]): void {
    const serve = async (frames: FrameStream, peer: Stranger): Promise<void> => {
      const report = await registrar.serve(
        frames,
        { nodeId: peer.nodeId, remoteIp: ipOf(peer.address) },
        this.#stop.signal,
      );
      const { outcome, code, reason = "", name } = report;
      if (outcome === "redirect" || code === "identity.join-lost") return;
      if (outcome !== "granted" && this.#lastAnswer.get(peer.nodeId) === code) return; // it asks again and again
      this.#remember(peer.nodeId, code);
      const { events, peerEvents } = this.#node.state;
      const subject = name ?? peer.nodeId;
      if (outcome === "granted") {
        events.record({ type: "node.joined", subject, outcome: "ok", message: `admitted from ${peer.address}` });
        return;
      }
      peerEvents.record(undefined, {
        type: outcome === "pending" ? "node.pending" : "node.refused",
        subject,
        outcome: outcome === "pending" ? "ok" : "refused",
        message: `${code}: ${reason}`,
      });
    };
    host.handleStranger(
      JOIN_PROTOCOL,
      (stream, peer) => {
        serve(new FrameStream(stream, FROM_DEVICE), peer).catch((error: unknown) => {
          this.#node.state.log.debug("join broke off", { peer: peer.nodeId, error: errorMessage(error) });
        });
      },
      { maxStreams: MAX_JOINING, timeoutMs: JOIN_TIMEOUT_MS },
    );
  }

  #remember(node: NodeId, code: string | undefined): void {
    this.#lastAnswer.delete(node);
    if (code === undefined) return;
    this.#lastAnswer.set(node, code);
    if (this.#lastAnswer.size > MAX_ANSWERS) this.#lastAnswer.delete(this.#lastAnswer.keys().next().value ?? "");
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

/** What a node was once told it keeps, so that `portolan up` alone starts it again. */
function rememberConfig({ state }: OpenNode, { token, site, serial, model, labels }: DaemonConfig): void {
  const { settings, store } = state;
  if (token !== undefined) {
    decodeToken(token, { nowMs: state.trustedMs(), ...(store.fleet === undefined ? {} : { fleet: store.fleet }) });
  }
  const told = {
    token,
    site,
    serial,
    model,
    labels: Object.keys(labels).length === 0 ? undefined : JSON.stringify(labels),
  };
  for (const [name, value] of Object.entries(told)) {
    if (value !== undefined) settings.set(name as keyof typeof told, value);
  }
  const signed = state.members.of(state.data.key.nodeId)?.site;
  if (site !== undefined && signed !== undefined && site !== signed) {
    state.log.warn("the site that is signed for this node counts, not --site", { signed, asked: site });
  }
}

/** Keeps a pass until it is used up, so that neither a crash nor the end of standard input loses it. A member needs none. */
function rememberPass({ state }: OpenNode, given: string | undefined, { passFile }: DaemonConfig): void {
  const { settings, members, data } = state;
  if (members.of(data.key.nodeId) !== undefined) return settings.delete("pass");
  const pass = given ?? (passFile === undefined ? undefined : readPassFile(passFile));
  if (pass !== undefined) settings.set("pass", checkPass(pass));
}

/** The number of this start: the time, or one more than at the last start if the clock has gone back since. */
function nextBoot({ settings, clock }: NodeState): number {
  const boot = Math.max(Math.floor(clock.wallMs()), Number(settings.get("boot") ?? 0) + 1);
  settings.set("boot", String(boot));
  return boot;
}

/** What this device says of itself when it joins. */
function rememberedFacts(settings: Settings): DeviceFacts {
  const [site, serial, model] = [settings.get("site"), settings.get("serial"), settings.get("model")];
  const labels = JSON.parse(settings.get("labels") ?? "{}") as Record<string, string>;
  return { labels, ...given({ site, serial, model }) };
}

/** What knows where other nodes are, once the daemon has started it. */
type Reach = { host?: Host; rendezvous?: Rendezvous };

/** Where a node says that it listens, and where it was met. */
function addressesOf({ host, rendezvous }: Reach, peer: NodeId): string[] {
  const known = [...(host?.session(peer)?.addresses ?? []), ...(rendezvous?.addressesOf(peer) ?? [])];
  return [...new Set(known)];
}

/** The IP in a multiaddr such as `/ip4/192.0.2.7/tcp/…`. */
function ipOf(address: string): string | undefined {
  const [, protocol, host] = address.split("/");
  return protocol === "ip4" || protocol === "ip6" ? host : undefined;
}

function socketPath(dataDir: string): string {
  return `${dataDir}/daemon.sock`;
}

/** An options object without the members that were not given. */
function given<T extends object>(options: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}
