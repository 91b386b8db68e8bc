import { connect, createServer, type Server, type Socket } from "node:net";
import { type Clock, errorMessage, Fault, withDeadline } from "#core";
import { linkHost, siteOfHost } from "./address.ts";
import { cross } from "./crossing.ts";
import { type Carried, type LinkOptions, type LinkStats, linkSocket } from "./link-contract.ts";
import { Shaper } from "./shaper.ts";
import { parseConnect, readHead } from "./socket-head.ts";

/** A running WAN access link of one site. */
export interface Link extends AsyncDisposable {
  readonly port: number;
  stats(): LinkStats;
  /** Stops all bytes without losing any, and lets new connections wait, until `mend`. */
  cut(): void;
  mend(): void;
  /** Breaks every connection, as a router does that restarts. */
  kill(): void;
}

/** Connections at once in each direction; more are dropped. Sixty nodes that each keep a few neighbours need fewer. */
const MAX_CONNECTIONS = 512;
/** Connections that `stats` remembers after they closed. */
const MAX_REMEMBERED = 2_048;
/** Longest CONNECT head and longest line between two links. */
const MAX_HEAD_BYTES = 4_096;
/** From accepting a connection to carrying its bytes, beside the WAN's own delay. */
const OPEN_DEADLINE_MS = 10_000;
/** A half-close is passed on instead of answered; nothing is read before its reader is there. */
const SOCKET_OPTIONS = { allowHalfOpen: true, pauseOnConnect: true, noDelay: true } as const;

/**
 * Starts the access link of one site: an HTTP CONNECT proxy for the site's daemons, joined to the other sites' links by
 * unix sockets. Egress and ingress have the rate each; a byte is `delayMs` under way between two sites, half of it at each.
 */
export async function startLink(clock: Clock, options: LinkOptions): Promise<Link> {
  const link = new RunningLink(clock, options);
  await link.listen();
  return link;
}

class RunningLink implements Link {
  readonly #clock: Clock;
  readonly #options: LinkOptions;
  readonly #egress: Shaper;
  readonly #ingress: Shaper;
  readonly #sockets = new Set<Socket>();
  readonly #carried: Carried[] = [];
  readonly #stop = new AbortController();
  readonly #proxy: Server;
  readonly #wan: Server;
  #cut: { mended: Promise<void>; mend: () => void } | undefined;
  port = 0;

  constructor(clock: Clock, options: LinkOptions) {
    const half = { rateBps: options.rateBps, delayMs: options.delayMs / 2 };
    this.#clock = clock;
    this.#options = options;
    this.#egress = new Shaper(clock, half);
    this.#ingress = new Shaper(clock, half);
    this.#proxy = createServer(SOCKET_OPTIONS, (near) => this.#accept(near, (signal) => this.#outbound(near, signal)));
    this.#wan = createServer(SOCKET_OPTIONS, (far) => this.#accept(far, (signal) => this.#inbound(far, signal)));
  }

  async listen(): Promise<void> {
    this.#wan.maxConnections = MAX_CONNECTIONS;
    this.#proxy.maxConnections = MAX_CONNECTIONS;
    await listening(this.#wan, { path: linkSocket(this.#options.dir, this.#options.site, "wan") });
    await listening(this.#proxy, { host: linkHost(this.#options.site), port: this.#options.port });
    const address = this.#proxy.address();
    if (typeof address === "object" && address !== null) this.port = address.port;
  }

  stats(): LinkStats {
    return {
      site: this.#options.site,
      rateBps: this.#options.rateBps,
      delayMs: this.#options.delayMs,
      bytesIn: this.#ingress.passedBytes,
      bytesOut: this.#egress.passedBytes,
      connections: this.#carried,
    };
  }

  cut(): void {
    if (this.#cut !== undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#cut = { mended: promise, mend: resolve };
    this.#egress.hold(true);
    this.#ingress.hold(true);
  }

  mend(): void {
    this.#cut?.mend();
    this.#cut = undefined;
    this.#egress.hold(false);
    this.#ingress.hold(false);
  }

  kill(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("demo.link-stopped", "the link was stopped"));
    const closed = [this.#proxy, this.#wan].map((server) => new Promise((done) => server.close(done)));
    this.kill();
    this.#egress[Symbol.dispose]();
    this.#ingress[Symbol.dispose]();
    await Promise.all(closed);
  }

  /** Both kinds of arrivals: bounded in number and in time until they are connected. */
  #accept(socket: Socket, open: (signal: AbortSignal) => Promise<void>): void {
    this.#keep(socket);
    const work = withDeadline(this.#clock, OPEN_DEADLINE_MS, "opening a connection", open, this.#stop.signal);
    work.catch((error: unknown) => refuse(socket, error));
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", () => undefined); // "close" follows, and says all there is to do
  }

  /** From a daemon of this site to another site. */
  async #outbound(near: Socket, signal: AbortSignal): Promise<void> {
    const target = parseConnect(await readHead(near, "\r\n\r\n", MAX_HEAD_BYTES, signal));
    if (target === undefined) throw new Refusal("400 Bad Request");
    const peerSite = siteOfHost(target.host);
    if (peerSite === undefined || peerSite === this.#options.site) throw new Refusal("403 Forbidden");
    await this.#cut?.mended;
    await this.#clock.sleep(2 * this.#options.delayMs, signal); // the handshake's round trip, which takes no bytes here
    const far = await this.#dial({ path: linkSocket(this.#options.dir, peerSite, "wan") }, signal).catch(() => {
      throw new Refusal("502 Bad Gateway", `site ${peerSite} has no link`);
    });
    const to = `${target.host}:${target.port}`;
    far.write(`${this.#options.site} ${to}\n`);
    const answer = await readHead(far, "\n", MAX_HEAD_BYTES, signal).catch(
      () => "no answer from the other site's link",
    );
    if (answer !== "ok") {
      far.destroy();
      throw new Refusal("502 Bad Gateway", answer);
    }
    near.write("HTTP/1.1 200 Connection established\r\n\r\n");
    this.#carry({ direction: "out", peerSite, target: to }, near, far);
  }

  /** From another site's link to a daemon of this site. */
  async #inbound(far: Socket, signal: AbortSignal): Promise<void> {
    const line = await readHead(far, "\n", MAX_HEAD_BYTES, signal);
    const match = /^([1-9]) (\d+\.\d+\.\d+\.\d+):(\d{1,5})$/u.exec(line);
    const [, peerSite, host, port] = match ?? [];
    if (host === undefined || siteOfHost(host) !== this.#options.site)
      throw new Fault("demo.link-line", "not of this site");
    await this.#cut?.mended;
    const localAddress = linkHost(this.#options.site);
    const near = await this.#dial({ host, port: Number(port), localAddress }, signal).catch((error: unknown) => {
      far.end(`${errorMessage(error)}\n`);
      throw error;
    });
    far.write("ok\n");
    this.#carry({ direction: "in", peerSite: Number(peerSite), target: `${host}:${port}` }, near, far);
  }

  #carry(about: Pick<Carried, "direction" | "peerSite" | "target">, near: Socket, far: Socket): void {
    const carried: Carried = { ...about, open: true, bytes: { in: 0, out: 0 } };
    carried.bytes = cross(near, far, this.#egress, this.#ingress, () => {
      carried.open = false;
      const over = this.#carried.length > MAX_REMEMBERED ? this.#carried.findIndex(({ open }) => !open) : -1;
      if (over >= 0) this.#carried.splice(over, 1);
    });
    this.#carried.push(carried);
  }

  #dial(
    to: { path: string } | { host: string; port: number; localAddress: string },
    signal: AbortSignal,
  ): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ ...to, allowHalfOpen: true, noDelay: true, signal });
      this.#keep(socket);
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(socket.pause());
      });
    });
  }
}

/** What the daemon that asked is told, as an HTTP status line. */
class Refusal extends Error {
  readonly status: string;
  constructor(status: string, why = "") {
    super(why);
    this.status = status;
  }
}

function refuse(socket: Socket, error: unknown): void {
  if (error instanceof Refusal) {
    socket.end(`HTTP/1.1 ${error.status}\r\nContent-Length: ${error.message.length}\r\n\r\n${error.message}`);
  }
  socket.destroySoon();
}

/** Resolves when `server` listens; rejects with what stood in the way. */
export function listening(server: Server, at: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(at, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
