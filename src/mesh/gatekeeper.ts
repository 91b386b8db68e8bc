import type { Connection, Stream } from "@libp2p/interface";
import { asError, type ByteStream, type Clock, Fault, type Log, type Random, withDeadline } from "#core";
import { isNodeId, type NodeId } from "#identity";
import { CloneChallenge } from "./clone-challenge.ts";
import { agreementOn, openEagerly } from "./eager-stream.ts";
import { type GateVerdict, HELLO_PROTOCOL, type HelloHooks, type SessionLine, startHello } from "./hello-exchange.ts";
import { IDLE_LOOK_MS, untilIdle } from "./idle-connection.ts";
import { Libp2pByteStream } from "./libp2p-byte-stream.ts";
import type { MuxGuard, MuxGuards, StrangerLimits } from "./mux-guard.ts";
import { drawProbeKey } from "./probe-sockets.ts";
import { type Link, LiveSession, preferredLink } from "./session.ts";

/**
 * From a connection to an accepted hello, or to a join stream; and over a circuit, whose source is a member and whose way may be several slow links. A
 * hello takes two round trips, and a lost packet a second or two more where these take 600 ms.
 */
const HELLO_TIMEOUT_MS = 5_000;
const CARRIED_HELLO_TIMEOUT_MS = 15_000;
/** What who dials us may send before it is accepted. A hello with a member document takes about 3 KiB. */
export const STRANGER_LIMITS: StrangerLimits = { maxBytes: 64 * 1024, maxStreams: 2 };
/** What whom we dialled may send before we accept it: a join's answer carries the charter chain. */
const DIALLED_LIMITS: StrangerLimits = { maxBytes: 2 * 1024 * 1024, maxStreams: 2 };
/** How long a refused or retired connection may take to close in good order. */
const CLOSE_TIMEOUT_MS = 1_000;
/** A link that lost against another one of the same peer waits at most this long for its streams. */
const RETIRE = { forMs: IDLE_LOOK_MS, atMostMs: 60_000 };
/** A carried connection without streams for this long is closed, by whichever end sees it first. */
const CARRIED_IDLE = { forMs: 60_000 };

/** Sessions at most, whoever wants them. Far above the neighbours that a node keeps: a gateway may be all that a few hundred have. */
const MAX_SESSIONS = 512;
const FULL: GateVerdict = { accepted: false, code: "mesh.full", reason: "this node has no room for more neighbours" };

/** The policy of who may be a neighbour; the daemon plugs it in. */
export interface Gate {
  /** What we say in the hello: member document, versions, digest. */
  offer(): Record<string, unknown>;
  /** Judges what a peer said, with the node id that its connection proved. Must not wait. */
  judge(peer: NodeId, hello: unknown): GateVerdict;
  /** Two running processes have this peer's key: one answered over its old connection after another had said hello. */
  cloned?(peer: NodeId): void;
}

export type GatekeeperDeps = {
  clock: Clock;
  random: Random;
  log: Log;
  self: NodeId;
  boot: Uint8Array;
  gate: Gate;
  guards: MuxGuards;
  addresses: () => string[];
  /** Fires when the host stops. */
  stop: AbortSignal;
  /** Gives back a stranger's place; called when it becomes a member. */
  releaseStranger: (connection: Connection) => void;
  message: (session: LiveSession, kind: string, body: unknown) => void;
  changed: (session: LiveSession, event: "up" | "down", reason?: string) => void;
};

/** Hears what still comes on a connection that is gone. */
const NOBODY: SessionLine = { message: () => undefined, ended: () => undefined };

type Guest = { guard: MuxGuard; deadline: AbortController; saidHello: boolean; link: Link | undefined; why?: string };

/** Lets connections in: no handler of ours runs for one that has not passed the hello. Keeps one session per peer. */
export class Gatekeeper {
  readonly #deps: GatekeeperDeps;
  readonly #guests = new Map<Connection, Guest>();
  readonly #sessions = new Map<NodeId, LiveSession>();
  readonly #carried = new Map<NodeId, LiveSession>();
  readonly #challenge = new CloneChallenge();

  constructor(deps: GatekeeperDeps) {
    this.#deps = deps;
  }

  get sessions(): ReadonlyMap<NodeId, LiveSession> {
    return this.#sessions;
  }

  /** Sessions over bytes that others carry; they are no links. */
  get carried(): ReadonlyMap<NodeId, LiveSession> {
    return this.#carried;
  }

  /** Connections that are open, accepted or not. */
  get connections(): number {
    return this.#guests.size;
  }

  /** The session that this connection belongs to, once it is accepted. */
  sessionOf(connection: Connection): LiveSession | undefined {
    const link = this.#guests.get(connection)?.link;
    return link === undefined ? undefined : this.#tableOf(connection).get(connection.remotePeer.toString());
  }

  /** Resolves when an accepted connection may carry every protocol; `undefined`: it may at once. */
  settled(connection: Connection): Promise<void> | undefined {
    return this.#guests.get(connection)?.link?.greeting.settled;
  }

  /** A new connection, in either direction. */
  opened(connection: Connection): void {
    const guard = this.#deps.guards.of(connection);
    if (guard === undefined) return this.end(connection, new Fault("mesh.unguarded", "the connection has no guard"));
    if (!isNodeId(connection.remotePeer.toString())) {
      return this.end(connection, new Fault("mesh.node-id", "the peer's key is not a node key", { exit: "denied" }));
    }
    const guest: Guest = { guard, deadline: new AbortController(), saidHello: false, link: undefined };
    this.#guests.set(connection, guest);
    if (connection.direction === "outbound") guard.limit(DIALLED_LIMITS);
    else this.#expel(connection, guest, helloTimeoutMs(connection));
  }

  /** A connection is gone. Says whether it had been accepted. */
  closed(connection: Connection): boolean {
    const guest = this.#guests.get(connection);
    this.#guests.delete(connection);
    this.#challenge.forget(connection);
    guest?.deadline.abort();
    if (guest?.link === undefined) return false;
    this.#linkEnded(connection, guest.link, guest.why);
    return true;
  }

  /** Gives a stranger more time, because it speaks a protocol that strangers may. `false`: it may not. */
  allowStranger(connection: Connection, timeoutMs: number): boolean {
    const guest = this.#guests.get(connection);
    if (guest === undefined || guest.saidHello) return false;
    guest.deadline.abort();
    guest.deadline = new AbortController();
    this.#expel(connection, guest, timeoutMs);
    return true;
  }

  /** The peer opened a hello stream. */
  acceptHello(stream: Stream, connection: Connection): void {
    const guest = this.#guests.get(connection);
    if (guest === undefined || guest.saidHello || connection.direction !== "inbound") {
      stream.abort(new Fault("mesh.hello", "one hello per connection, and by its dialler", { exit: "invalid" }));
      return;
    }
    guest.saidHello = true;
    this.#exchange(new Libp2pByteStream(stream), connection, guest, "acceptor", () => undefined);
  }

  /** Says hello on a connection that we dialled. Throws Fault `mesh.refused`, `mesh.peer-refused`, `mesh.hello-ended` or `core.deadline`. */
  async greet(connection: Connection, signal: AbortSignal): Promise<LiveSession> {
    const guest = this.#guests.get(connection);
    if (guest === undefined) throw new Fault("mesh.closed", "the peer closed the connection", { exit: "offline" });
    guest.saidHello = true;
    const hello = async (inner: AbortSignal): Promise<LiveSession> => {
      const stream = await this.#openHello(connection, inner);
      return new Promise((resolve, reject) => {
        inner.addEventListener("abort", () => reject(inner.reason), { once: true });
        this.#exchange(stream, connection, guest, "dialler", (outcome) =>
          outcome instanceof LiveSession ? resolve(outcome) : reject(outcome),
        );
      });
    };
    try {
      return await withDeadline(this.#deps.clock, helloTimeoutMs(connection), "the hello", hello, signal);
    } catch (error) {
      this.close(connection);
      throw error;
    }
  }

  /** Ends every connection of the peer at once, accepted or not. */
  disconnect(peer: NodeId, reason: string): void {
    const fault = new Fault("mesh.disconnected", reason);
    for (const connection of this.#guests.keys()) {
      if (connection.remotePeer.toString() === peer) this.end(connection, fault);
    }
  }

  /** Closes the peer's accepted connections in good order, but for those that others carry. */
  part(peer: NodeId, reason: string): void {
    for (const [connection, guest] of this.#guests) {
      if (guest.link === undefined || !connection.direct || connection.remotePeer.toString() !== peer) continue;
      guest.why ??= reason;
      this.close(connection);
    }
  }

  /** Ends a connection now, whatever state it is in. */
  end(connection: Connection, fault: Error): void {
    const guest = this.#guests.get(connection);
    if (guest !== undefined) guest.why ??= fault.message;
    try {
      connection.abort(fault);
    } catch {
      // yamux says goodbye first, and throws if its socket is gone by then
    }
  }

  /** Closes in good order, and by force if that takes long. */
  close(connection: Connection): void {
    withDeadline(this.#deps.clock, CLOSE_TIMEOUT_MS, "closing", (signal) => connection.close({ signal })).catch(
      (error: Error) => this.end(connection, error),
    );
  }

  #expel(connection: Connection, guest: Guest, timeoutMs: number): void {
    this.#deps.clock.sleep(timeoutMs, guest.deadline.signal).then(
      () => this.end(connection, new Fault("mesh.hello-late", `no hello within ${timeoutMs} ms`, { exit: "timeout" })),
      () => undefined, // accepted, or gone
    );
  }

  /** Members and registrars speak it: nothing is gained by waiting for the peer's word on that. */
  async #openHello(connection: Connection, signal: AbortSignal): Promise<ByteStream> {
    const muxer = this.#deps.guards.muxerOf(connection);
    if (muxer === undefined) return new Libp2pByteStream(await connection.newStream([HELLO_PROTOCOL], { signal }));
    return new Libp2pByteStream(await openEagerly(muxer, HELLO_PROTOCOL, signal), agreementOn(HELLO_PROTOCOL));
  }

  #exchange(
    bytes: ByteStream,
    connection: Connection,
    guest: Guest,
    role: "dialler" | "acceptor",
    done: (outcome: LiveSession | Fault) => void,
  ): void {
    const { gate, boot, addresses, log } = this.#deps;
    const peer = connection.remotePeer.toString();
    const probe = drawProbeKey(this.#deps.random);
    const hooks: HelloHooks = {
      self: () => ({ boot, addresses: addresses(), offer: gate.offer(), probe }),
      judge: (offer) => (this.#isFull(connection) ? FULL : gate.judge(peer, offer)),
      accepted: (greeting) => {
        if (!this.#guests.has(connection)) return NOBODY;
        guest.guard.limit(undefined);
        guest.deadline.abort();
        guest.link = { connection, stream: bytes, guard: guest.guard, greeting, probe };
        greeting.settled?.catch((error: unknown) => this.end(connection, asError(error)));
        this.#deps.releaseStranger(connection);
        const session = this.#adopt(peer, guest.link);
        if (!connection.direct) this.#closeOnceIdle(connection, CARRIED_IDLE);
        done(session);
        return this.#line(session, connection);
      },
      failed: (fault) => {
        log.debug("hello failed", { peer, code: fault.code, reason: fault.message });
        done(fault);
        if (role === "acceptor") this.close(connection);
      },
    };
    startHello(bytes, role, hooks);
  }

  #isFull(connection: Connection): boolean {
    const sessions = this.#tableOf(connection);
    return sessions.size >= MAX_SESSIONS && !sessions.has(connection.remotePeer.toString());
  }

  #tableOf(connection: Connection): Map<NodeId, LiveSession> {
    return connection.direct ? this.#sessions : this.#carried;
  }

  #line(session: LiveSession, connection: Connection): SessionLine {
    return {
      message: (kind, body) => {
        if (kind === "pong" && this.#challenge.isMetBy(connection, body)) this.#deps.gate.cloned?.(session.nodeId);
        else if (!session.receive(kind, body) && connection.direct) this.#deps.message(session, kind, body);
      },
      ended: (error) => this.end(connection, error ?? new Fault("mesh.closed", "the peer ended the session")),
    };
  }

  #adopt(peer: NodeId, link: Link): LiveSession {
    const sessions = this.#tableOf(link.connection);
    const current = sessions.get(peer);
    if (current === undefined) {
      const session = new LiveSession(this.#deps.clock, peer, link);
      sessions.set(peer, session);
      if (link.connection.direct) this.#deps.changed(session, "up");
      return session;
    }
    const old = current.link;
    if (old.greeting.boot !== link.greeting.boot) {
      this.#challenge.pose(old);
      this.#end(current, "the peer restarted");
      this.#retire(old);
      return this.#adopt(peer, link);
    }
    const kept = preferredLink(this.#deps.self, peer, old, link);
    if (kept === link) current.move(link);
    this.#retire(kept === link ? old : link);
    return current;
  }

  #retire({ connection }: Link): void {
    if (connection.direct) this.#closeOnceIdle(connection, RETIRE); // a carried one closes when it is idle anyway
  }

  #closeOnceIdle(connection: Connection, idle: { forMs: number; atMostMs?: number }): void {
    untilIdle(this.#deps, connection, idle).then(
      () => this.close(connection),
      () => undefined, // the host stops
    );
  }

  #linkEnded(connection: Connection, link: Link, why = "the peer closed the connection"): void {
    const peer = connection.remotePeer.toString();
    const session = this.#tableOf(connection).get(peer);
    if (session === undefined || session.link !== link) return;
    const isOther = ({ remotePeer, direct }: Connection): boolean =>
      remotePeer.toString() === peer && direct === connection.direct;
    const other = [...this.#guests.values()].find((guest) => guest.link && isOther(guest.link.connection))?.link;
    if (other !== undefined) return session.move(other);
    this.#end(session, why);
  }

  #end(session: LiveSession, why: string): void {
    const { connection } = session.link;
    this.#tableOf(connection).delete(session.nodeId);
    session.end();
    if (connection.direct) this.#deps.changed(session, "down", why);
  }
}

function helloTimeoutMs({ direct }: Connection): number {
  return direct ? HELLO_TIMEOUT_MS : CARRIED_HELLO_TIMEOUT_MS;
}
