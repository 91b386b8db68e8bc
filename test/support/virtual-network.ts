import { type ByteStream, type Clock, encodeFrame, Fault, memoryStreamPair, type Random } from "#core";
import type { NodeId } from "#identity";
import type { Gate, HandleOptions, Host, Session, Stranger, StrangerConnection } from "#mesh";
import { parseAddress } from "../../src/mesh/address.ts";
import { type Greeting, type HelloHooks, startHello } from "../../src/mesh/hello-exchange.ts";
import { Unmeasured } from "./unmeasured.ts";

/** TCP, TLS and the hello: three round trips, between sites and within one. */
const FAR_DIAL_MS = 180;
const NEAR_DIAL_MS = 6;
/** A dead host's packets go nowhere; its neighbours notice by missing probes (docs/spec/probe.md). */
const NO_ANSWER_MS = 5_000;

type Handler = Parameters<Host["handle"]>[1];
type StrangerHandler = Parameters<Host["handleStranger"]>[1];
type MessageHandler = Parameters<Host["onMessage"]>[1];
type SessionListener = Parameters<Host["onSession"]>[0];

/** Where hosts in this process find each other. What passes between them is the product's own bytes, over streams in memory, on a clock of the test's. */
export class VirtualNetwork {
  readonly clock: Clock;
  readonly random: Random;
  readonly #hosts = new Map<NodeId, VirtualHost>();
  /** Hellos that ended in a session, and dials that reached nobody. */
  readonly counts = { hellos: 0, unreached: 0, refused: 0 };

  constructor(clock: Clock, random: Random) {
    this.clock = clock;
    this.random = random;
  }

  /** A host of this node; it takes the place of one that was cut off. */
  host(nodeId: NodeId, place: { site: string; address: string }, gate: Gate): VirtualHost {
    const host = new VirtualHost(this, nodeId, place, gate);
    this.#hosts.set(nodeId, host);
    return host;
  }

  /** The newest host of a node. */
  hostOf(peer: NodeId): VirtualHost | undefined {
    return this.#hosts.get(peer);
  }

  /** The live host that these addresses lead to, after the time that a dial takes. Throws Fault `mesh.dial`. */
  async reach(from: VirtualHost, addresses: readonly string[], signal: AbortSignal): Promise<VirtualHost> {
    const [peer = ""] = addresses.map((text) => parseAddress(text).nodeId ?? "");
    const host = this.#hosts.get(peer);
    const there = (): boolean => this.#hosts.get(peer)?.isUp === true && from.isUp;
    await this.clock.sleep(there() ? (host?.site === from.site ? NEAR_DIAL_MS : FAR_DIAL_MS) : NO_ANSWER_MS, signal);
    const found = this.#hosts.get(peer);
    if (found !== undefined && there()) return found;
    this.counts.unreached += 1;
    throw new Fault("mesh.dial", `${peer} does not answer`, { exit: "offline" });
  }
}

/** The twin of the libp2p host above connections: hello, sessions and streams, without sockets and probes. */
export class VirtualHost implements Host {
  readonly nodeId: NodeId;
  readonly site: string;
  readonly #network: VirtualNetwork;
  readonly #address: string;
  readonly #gate: Gate;
  readonly #boot: Uint8Array;
  readonly #sessions = new Map<NodeId, VirtualSession>();
  readonly #handlers = new Map<string, { handler: Handler; early: boolean }>();
  readonly #strangers = new Map<string, StrangerHandler>();
  readonly #messages = new Map<string, MessageHandler>();
  readonly #listeners = new Set<SessionListener>();
  /** Ends of streams with others; those in use are held by who uses them. */
  readonly #streams = new Set<WeakRef<ByteStream>>();
  isUp = true;

  constructor(
    network: VirtualNetwork,
    nodeId: NodeId,
    { site, address }: { site: string; address: string },
    gate: Gate,
  ) {
    this.#network = network;
    this.nodeId = nodeId;
    this.site = site;
    this.#address = address;
    this.#gate = gate;
    this.#boot = network.random.bytes(16);
  }

  addresses(): string[] {
    return [`${this.#address}/p2p/${this.nodeId}`];
  }

  session(peer: NodeId): Session | undefined {
    return this.#sessions.get(peer);
  }
  sessions(): Session[] {
    return [...this.#sessions.values()];
  }
  onSession(listener: SessionListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  onMessage(kind: string, handler: MessageHandler): void {
    this.#messages.set(kind, handler);
  }
  handle(protocol: string, handler: Handler, { early = false }: HandleOptions = {}): void {
    this.#handlers.set(protocol, { handler, early });
  }
  handleStranger(protocol: string, handler: StrangerHandler): void {
    this.#strangers.set(protocol, handler);
  }

  async connect(addresses: readonly string[], signal: AbortSignal): Promise<Session> {
    const peer = await this.#network.reach(this, addresses, signal);
    const live = this.#sessions.get(peer.nodeId);
    if (live !== undefined) return live;
    const [ours, theirs] = this.#pipe(peer);
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      peer.#greet(theirs, "acceptor", this, () => undefined);
      this.#greet(ours, "dialler", peer, (outcome) => {
        if (!(outcome instanceof Fault)) return resolve(outcome);
        this.#network.counts.refused += 1;
        reject(outcome);
      });
    });
  }

  #greet(
    stream: ByteStream,
    role: "dialler" | "acceptor",
    peer: VirtualHost,
    done: (outcome: VirtualSession | Fault) => void,
  ): void {
    const { random } = this.#network;
    const probe = { link: random.bytes(8), key: random.bytes(32) };
    const hooks: HelloHooks = {
      self: () => ({ boot: this.#boot, addresses: this.addresses(), offer: this.#gate.offer(), probe }),
      judge: (offer) => this.#gate.judge(peer.nodeId, offer),
      failed: done,
      accepted: (greeting) => {
        const session = new VirtualSession(peer.nodeId, greeting, stream, role, peer.#address);
        done(this.#adopt(session));
        return {
          message: (kind, body) => this.#messages.get(kind)?.(session, body),
          ended: () => this.#ended(session),
        };
      },
    };
    startHello(stream, role, hooks);
  }

  /** Of two sessions with one peer both ends keep the same one, as docs/spec/hello.md has it. */
  #adopt(session: VirtualSession): VirtualSession {
    const old = this.#sessions.get(session.nodeId);
    this.#network.counts.hellos += 1;
    if (old !== undefined && old.boot === session.boot) {
      const preferred = this.nodeId < session.nodeId ? "outbound" : "inbound";
      const kept = old.direction === session.direction || session.direction === preferred ? session : old;
      this.#sessions.set(session.nodeId, kept);
      return kept;
    }
    if (old !== undefined) this.#ended(old);
    this.#sessions.set(session.nodeId, session);
    for (const listener of this.#listeners) listener(session, "up");
    return session;
  }

  #ended(session: VirtualSession): void {
    if (this.#sessions.get(session.nodeId) !== session) return;
    this.#sessions.delete(session.nodeId);
    for (const listener of this.#listeners) listener(session, "down");
  }

  async open(peer: NodeId, protocol: string, signal: AbortSignal): Promise<ByteStream> {
    const session = this.#sessions.get(peer);
    if (session === undefined) throw new Fault("mesh.not-connected", `no session with ${peer}`, { exit: "offline" });
    const { host, there } = this.#farEnd(peer);
    const served = host.#handlers.get(protocol);
    if (served === undefined) throw new Fault("mesh.no-protocol", `${peer} does not open ${protocol}`);
    if (!served.early) await Promise.all([session.settled, there.settled]);
    signal.throwIfAborted();
    const [ours, theirs] = this.#pipe(host);
    served.handler(theirs, there);
    return ours;
  }

  #farEnd(peer: NodeId): { host: VirtualHost; there: VirtualSession } {
    const host = this.#network.hostOf(peer);
    const there = host === undefined ? undefined : host.#sessions.get(this.nodeId);
    if (host === undefined || there === undefined || !host.isUp || !this.isUp) {
      throw new Fault("mesh.not-connected", `${peer} is gone`, { exit: "offline" });
    }
    return { host, there };
  }

  async connectStranger(addresses: readonly string[], signal: AbortSignal): Promise<StrangerConnection> {
    const peer = await this.#network.reach(this, addresses, signal);
    const me: Stranger = { nodeId: this.nodeId, address: this.#address };
    return {
      nodeId: peer.nodeId,
      address: peer.#address,
      open: async (protocol) => {
        const handler = peer.#strangers.get(protocol);
        if (handler === undefined || !peer.isUp) throw new Fault("mesh.no-protocol", `${protocol} is not served`);
        const [ours, theirs] = this.#pipe(peer);
        handler(theirs, me);
        return ours;
      },
      close: () => undefined,
    };
  }

  #pipe(peer: VirtualHost): [ByteStream, ByteStream] {
    const [ours, theirs] = memoryStreamPair();
    this.#streams.add(new WeakRef(ours));
    peer.#streams.add(new WeakRef(theirs));
    return [ours, theirs];
  }

  disconnect(peer: NodeId, reason: string): void {
    this.#sessions.get(peer)?.stream.abort(new Fault("mesh.disconnected", reason));
  }
  part(peer: NodeId): void {
    const session = this.#sessions.get(peer);
    if (session === undefined) return;
    session.stream.close();
    session.stream.abort(new Fault("mesh.disconnected", "parted"));
    this.#ended(session);
  }
  isBusy(): boolean {
    return false;
  }

  /** As when the machine loses its power: from now on nothing comes or goes, and the others notice when probes go unanswered. */
  cutOff(): void {
    this.isUp = false;
    const lost = new Fault("mesh.silent", "the peer is silent");
    for (const stream of this.#streams) {
      stream.deref()?.pause();
      void this.#network.clock.sleep(NO_ANSWER_MS).then(() => stream.deref()?.abort(lost));
    }
    this.#streams.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isUp = false;
    for (const { stream } of this.#sessions.values()) stream.abort(new Fault("mesh.stopped", "the host is stopped"));
  }
}

class VirtualSession extends Unmeasured implements Session {
  readonly nodeId: NodeId;
  readonly site: string;
  readonly name: string;
  readonly address: string;
  readonly addresses: readonly string[];
  readonly direction: "inbound" | "outbound";
  readonly stream: ByteStream;
  readonly settled: Promise<void> | undefined;
  readonly boot: string;

  constructor(
    nodeId: NodeId,
    { site, name, addresses, settled, boot }: Greeting,
    stream: ByteStream,
    role: "dialler" | "acceptor",
    address: string,
  ) {
    super();
    this.nodeId = nodeId;
    this.site = site;
    this.name = name;
    this.addresses = addresses;
    this.settled = settled;
    this.boot = boot;
    this.stream = stream;
    this.direction = role === "dialler" ? "outbound" : "inbound";
    this.address = `${address}/p2p/${nodeId}`;
  }

  send(kind: string, body: unknown): boolean {
    try {
      return this.stream.send(...encodeFrame(body === undefined ? { k: kind } : { k: kind, b: body })) || true;
    } catch {
      return false; // the session is ending
    }
  }
}
