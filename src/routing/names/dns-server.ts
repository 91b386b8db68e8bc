import { createSocket, type RemoteInfo, type Socket as UdpSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { type Clock, errorMessage, Fault, type Log, RateLimit, withDeadline } from "#core";
import { DatagramReader, encodeDatagram } from "../tunnel/datagrams.ts";
import { type ListenAddress, noListen } from "../tunnel/listen-address.ts";
import { MAX_UDP_BYTES } from "./dns-message.ts";

/** Largest query over TCP; one question with its options is far below. */
const MAX_TCP_QUERY_BYTES = 4_096;
const MAX_TCP_CONNECTIONS = 64;
/** A connection over which no whole query comes for so long, or whose client takes no answer, is closed. */
const IDLE_MS = 5_000;
/** Questions of one client address in a second, and at once. */
const QUERIES_PER_SECOND = 1_000;
/** Client addresses whose rate is known; who comes back after more than so many others begins anew. */
const MAX_CLIENTS = 1_024;
/** Questions over UDP that are worked on at a time; more are dropped, and asked again. */
const MAX_PENDING = 512;

export type DnsServerDeps = {
  clock: Clock;
  log: Log;
  /** The answer to a message; `undefined`: it gets none. */
  answer: (message: Uint8Array, transport: "udp" | "tcp", signal: AbortSignal) => Promise<Uint8Array | undefined>;
  /** Whether whoever is at this address may ask; absent: everybody who reaches it. */
  admits?: (address: string) => boolean;
};

/** Listens for DNS messages over UDP and TCP. Throws Fault `routing.port-in-use` or `routing.listen`. */
export async function startDnsServer(deps: DnsServerDeps, address: ListenAddress): Promise<DnsServer> {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(new DnsServer(deps));
  await server.listen(address);
  stack.move();
  return server;
}

/** A DNS server: rates, sizes and connections are its business, what is said is not. */
export class DnsServer implements AsyncDisposable {
  readonly #deps: DnsServerDeps;
  readonly #udp: UdpSocket = createSocket("udp4");
  readonly #tcp: Server;
  readonly #sockets = new Set<Socket>();
  readonly #limits = new Map<string, RateLimit>();
  readonly #stop = new AbortController();
  #pending = 0;
  address: ListenAddress = { host: "", port: 0 };

  constructor(deps: DnsServerDeps) {
    this.#deps = deps;
    this.#udp.on("message", (message, from) => void this.#hear(message, from));
    this.#tcp = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => void this.#serve(socket));
    this.#tcp.maxConnections = MAX_TCP_CONNECTIONS;
  }

  /** Takes the same port for both. */
  async listen({ host, port }: ListenAddress): Promise<void> {
    const { log } = this.#deps;
    const failed = (error: Error): void => log.debug("a DNS socket failed", { reason: error.message });
    try {
      this.#tcp.listen({ host, port });
      await once(this.#tcp, "listening");
      const bound = this.#tcp.address();
      this.address = { host, port: typeof bound === "object" ? (bound?.port ?? port) : port };
      this.#udp.bind({ address: host, port: this.address.port, exclusive: true });
      await once(this.#udp, "listening");
    } catch (error) {
      throw noListen({ host, port }, error as NodeJS.ErrnoException);
    }
    this.#tcp.on("error", failed);
    this.#udp.on("error", failed);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("routing.names-stopped", "the node is stopping", { exit: "offline" }));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all([
      new Promise<void>((resolve) => this.#udp.close(() => resolve())),
      new Promise<void>((resolve) => this.#tcp.close(() => resolve())),
    ]);
  }

  async #hear(message: Uint8Array, { address, port }: RemoteInfo): Promise<void> {
    if (port === 0 || this.#deps.admits?.(address) === false) return; // nobody can be answered at port 0, and trying throws
    if (message.length > MAX_UDP_BYTES || this.#pending >= MAX_PENDING || !this.#limitOf(address).take()) return;
    this.#pending += 1;
    try {
      const reply = await this.#answer(message, "udp");
      if (reply !== undefined && !this.#stop.signal.aborted) this.#udp.send(reply, port, address);
    } finally {
      this.#pending -= 1;
    }
  }

  async #serve(socket: Socket): Promise<void> {
    if (this.#deps.admits?.(socket.remoteAddress ?? "") === false) {
      socket.resetAndDestroy();
      return;
    }
    this.#sockets.add(socket);
    socket.on("error", () => undefined); // its end says the rest
    try {
      await this.#converse(socket);
    } catch (error) {
      this.#deps.log.debug("a DNS connection ended", { reason: errorMessage(error) });
    }
    socket.destroy();
    this.#sockets.delete(socket);
  }

  /** Answers one query after the other, until the client hangs up. Throws when that takes it too long, or asks too much. */
  async #converse(socket: Socket): Promise<void> {
    const { clock } = this.#deps;
    const pieces = socket[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    const reader = new DatagramReader();
    let dueMs = clock.nowMs() + IDLE_MS;
    for (;;) {
      const leftMs = Math.max(1, dueMs - clock.nowMs());
      const piece = await withDeadline(clock, leftMs, "a query", () => pieces.next(), this.#stop.signal);
      if (piece.done === true) return;
      const queries: Uint8Array[] = [];
      reader.push(piece.value, (query) => queries.push(query));
      for (const query of queries) {
        await this.#answerOver(socket, query);
        dueMs = clock.nowMs() + IDLE_MS;
      }
    }
  }

  async #answerOver(socket: Socket, query: Uint8Array): Promise<void> {
    const isTooMuch = query.length > MAX_TCP_QUERY_BYTES || !this.#limitOf(socket.remoteAddress ?? "").take();
    const reply = isTooMuch ? undefined : await this.#answer(query, "tcp");
    if (reply === undefined) throw new Fault("routing.dns-query", "it asks too much, or makes no sense");
    if (socket.write(Buffer.concat(encodeDatagram(reply)))) return;
    const drained = (signal: AbortSignal): Promise<unknown> => once(socket, "drain", { signal });
    await withDeadline(this.#deps.clock, IDLE_MS, "sending an answer", drained, this.#stop.signal);
  }

  async #answer(message: Uint8Array, transport: "udp" | "tcp"): Promise<Uint8Array | undefined> {
    try {
      return await this.#deps.answer(message, transport, this.#stop.signal);
    } catch (error) {
      this.#deps.log.debug("a DNS query got no answer", { reason: errorMessage(error) });
      return undefined;
    }
  }

  #limitOf(client: string): RateLimit {
    const { clock } = this.#deps;
    const limit = this.#limits.get(client) ?? new RateLimit(clock, QUERIES_PER_SECOND, QUERIES_PER_SECOND);
    const [oldest] = this.#limits.keys();
    if (oldest !== undefined && this.#limits.size >= MAX_CLIENTS && !this.#limits.has(client))
      this.#limits.delete(oldest);
    this.#limits.set(client, limit);
    return limit;
  }
}
