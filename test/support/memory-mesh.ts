import { type ByteStream, decodeCbor, encodeCbor, Fault, memoryStreamPair } from "#core";
import type { NodeId } from "#identity";
import type { Host, Session } from "#mesh";

type Handler = Parameters<Host["handle"]>[1];
type MessageHandler = Parameters<Host["onMessage"]>[1];
type SessionListener = Parameters<Host["onSession"]>[0];

/** Brings a message, whose body has so many bytes, to a peer, after as long as it takes: at once, or on a clock of the test's; what goes to one peer must not overtake. */
export type Carrier = (deliver: () => void, to: { nodeId: NodeId; site: string }, kind: string, bytes: number) => void;

/** What one end of a link measures. */
export type Measured = {
  health: { rttMs: number | undefined; lossRatio: number | undefined; loadRatio: number };
  isSuspect: boolean;
};

/** Neighbours in one process: the part of `Host` that is above connections, without sockets. Messages pass through CBOR, as on the wire. */
export class MemoryHost implements Host {
  readonly nodeId: NodeId;
  readonly site: string;
  readonly carry: Carrier;
  readonly #sessions = new Map<NodeId, MemorySession>();
  readonly #handlers = new Map<string, Handler>();
  readonly #messages = new Map<string, MessageHandler>();
  readonly #listeners = new Set<SessionListener>();
  /** Reasons given to `disconnect`, by peer. */
  readonly disconnected = new Map<NodeId, string>();

  constructor(nodeId: NodeId, site = "one", carry: Carrier = (deliver) => void setImmediate(deliver)) {
    this.nodeId = nodeId;
    this.site = site;
    this.carry = carry;
  }

  /** Makes two hosts neighbours. `measured`: what each of them measures of the link, if anything does. */
  static link(a: MemoryHost, b: MemoryHost, measured?: readonly [Measured, Measured]): void {
    a.#sessions.set(b.nodeId, new MemorySession(a, b, measured?.[0]));
    b.#sessions.set(a.nodeId, new MemorySession(b, a, measured?.[1]));
    a.#tell(b.nodeId, "up");
    b.#tell(a.nodeId, "up");
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

  async open(peer: NodeId, protocol: string): Promise<ByteStream> {
    const session = this.#sessions.get(peer);
    if (session === undefined) throw new Fault("mesh.not-connected", `no session with ${peer}`, { exit: "offline" });
    const [ours, theirs] = memoryStreamPair();
    const handler = session.peer.#handlers.get(protocol);
    if (handler === undefined) throw new Fault("mesh.no-protocol", `${peer} does not open ${protocol}`);
    handler(theirs, session.peer.#sessions.get(this.nodeId) as Session);
    return ours;
  }

  handle(protocol: string, handler: Handler): void {
    this.#handlers.set(protocol, handler);
  }
  onMessage(kind: string, handler: MessageHandler): void {
    this.#messages.set(kind, handler);
  }

  disconnect(peer: NodeId, reason: string): void {
    const session = this.#sessions.get(peer);
    if (session === undefined) return;
    const theirs = session.peer.#sessions.get(this.nodeId);
    this.disconnected.set(peer, reason);
    this.#sessions.delete(peer);
    session.peer.#sessions.delete(this.nodeId);
    this.#tell(peer, "down", session);
    session.peer.#tell(this.nodeId, "down", theirs);
  }

  part(peer: NodeId, reason: string): void {
    this.disconnect(peer, reason);
  }

  isBusy(): boolean {
    return false;
  }

  /** Delivers one message as it came over the wire. */
  receive(from: NodeId, kind: string, body?: Uint8Array): void {
    const session = this.#sessions.get(from);
    if (session !== undefined)
      this.#messages.get(kind)?.(session, body === undefined ? undefined : decodeCbor(body, 1e6));
  }

  addresses(): string[] {
    return [];
  }
  connect(): Promise<Session> {
    return Promise.reject(new Fault("mesh.dial", "memory hosts are linked by the test"));
  }
  connectStranger(): ReturnType<Host["connectStranger"]> {
    return Promise.reject(new Fault("mesh.dial", "memory hosts are linked by the test"));
  }
  handleStranger(): void {}
  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.#sessions.keys()) this.disconnect(peer, "stopped");
  }

  #tell(peer: NodeId, event: "up" | "down", session = this.#sessions.get(peer)): void {
    for (const listener of this.#listeners) listener(session as Session, event);
  }
}

class MemorySession implements Session {
  readonly nodeId: NodeId;
  readonly site: string;
  readonly name: string;
  readonly address = "/memory";
  readonly addresses: readonly string[] = [];
  readonly direction = "outbound";
  readonly peer: MemoryHost;
  readonly carried = false;
  readonly #self: MemoryHost;
  readonly #measured: Measured | undefined;

  constructor(self: MemoryHost, peer: MemoryHost, measured: Measured | undefined) {
    this.peer = peer;
    this.nodeId = peer.nodeId;
    this.name = peer.nodeId.slice(-6);
    this.site = peer.site;
    this.#self = self;
    this.#measured = measured;
  }

  rttMs(): number | undefined {
    return this.#measured?.health.rttMs;
  }
  lossRatio(): number | undefined {
    return this.#measured?.health.lossRatio;
  }
  loadRatio(): number {
    return this.#measured?.health.loadRatio ?? 0;
  }
  measuredBy(): undefined {
    return undefined;
  }
  suspect(): boolean {
    return this.#measured?.isSuspect === true;
  }
  carry(): () => void {
    return () => undefined;
  }

  send(kind: string, body: unknown): boolean {
    const bytes = body === undefined ? undefined : encodeCbor(body);
    this.#self.carry(() => this.peer.receive(this.#self.nodeId, kind, bytes), this.peer, kind, bytes?.length ?? 0);
    return true;
  }
}
