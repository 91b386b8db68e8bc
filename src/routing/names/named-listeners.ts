import { type Clock, errorMessage, Fault, faultCode } from "#core";
import type { Choose } from "../tunnel/ports.ts";
import { type Listener, type ListenerDeps, listenTcp } from "../tunnel/tunnel-listener.ts";
import { listenUdp } from "../tunnel/udp-listener.ts";
import type { Transport } from "../service/service.ts";

/** Ports that are open for names: a quarter of the sockets that a process may usually have. */
export const MAX_LISTENERS = 1_024;
/** How often services are looked for that are gone. */
const SWEEP_MS = 5_000;
/** A service may be away for so long, as while its node starts again, before its port is closed and what is open there is reset. */
const GONE_MS = 30_000;
/** What was told with an answer may be dialled for so long after it (its lifetime in caches): such a port does not make room for another. */
const ASKED_MS = 30_000;
/** Ports of which it was said once that they do not open. */
const MAX_COMPLAINTS = 1_024;

export type NamedPort = {
  address: string;
  transport: Transport;
  port: number;
  /** Instances to try for one connection, and whether there is any, healthy or not. */
  choose: Choose;
  isThere: () => boolean;
};

type Open = {
  listener: Promise<Listener | undefined>;
  live: Listener | undefined;
  named: NamedPort;
  askedMs: number;
  thereMs: number;
};

/** Ports of this machine that lead to services, opened when somebody asks for their names, and open while those services are there. */
export class NamedListeners implements AsyncDisposable {
  readonly #deps: Omit<ListenerDeps, "choose">;
  readonly #open = new Map<string, Open>();
  readonly #complaints = new Set<string>();
  readonly #stop = new AbortController();
  readonly #sweeping: Promise<void>;

  constructor(deps: Omit<ListenerDeps, "choose">) {
    this.#deps = deps;
    this.#sweeping = this.#sweep(deps.clock, this.#stop.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("routing.names-stopped", "the node is stopping", { exit: "offline" }));
    await this.#sweeping;
    await Promise.all([...this.#open.keys()].map((key) => this.#close(key)));
  }

  /** Ports that are open now. */
  all(): { address: string; port: number; transport: Transport }[] {
    return [...this.#open.values()].flatMap(({ live, named: { address, port, transport } }) =>
      live === undefined ? [] : [{ address, port, transport }],
    );
  }

  isInUse(address: string): boolean {
    return [...this.#open.values()].some(({ named }) => named.address === address);
  }

  /** Sees to it that a port is open. `false`: it cannot be; the log says why. */
  async open(named: NamedPort): Promise<boolean> {
    const key = keyOf(named);
    const nowMs = this.#deps.clock.nowMs();
    const before = this.#open.get(key);
    if (before !== undefined) {
      before.askedMs = nowMs;
      return (await before.listener) !== undefined;
    }
    if (this.#stop.signal.aborted || (this.#open.size >= MAX_LISTENERS && !this.#makeRoom(nowMs))) {
      this.#complain("too many", `${MAX_LISTENERS} ports are open for names of services already`);
      return false;
    }
    const open: Open = { listener: this.#listen(named), live: undefined, named, askedMs: nowMs, thereMs: nowMs };
    this.#open.set(key, open);
    open.live = await open.listener;
    if (open.live === undefined && this.#open.get(key) === open) this.#open.delete(key); // the next question tries again
    return open.live !== undefined;
  }

  async #listen(named: NamedPort): Promise<Listener | undefined> {
    const { address: host, port, transport, choose } = named;
    const deps = { ...this.#deps, choose };
    try {
      return await (transport === "udp" ? listenUdp(deps, { host, port }) : listenTcp(deps, { host, port }));
    } catch (error) {
      this.#complain(keyOf(named), errorMessage(error), fixOf(error, port));
      return undefined;
    }
  }

  #complain(what: string, reason: string, fix = ""): void {
    if (this.#complaints.has(what) || this.#complaints.size >= MAX_COMPLAINTS) return;
    this.#complaints.add(what);
    this.#deps.log.warn("a name gets no answer: its port does not open", { port: what, reason, fix });
  }

  /** Closes the port that was asked for longest ago, of those that nobody uses. */
  #makeRoom(nowMs: number): boolean {
    const idle = [...this.#open].filter(
      ([, { live, askedMs }]) => live !== undefined && live.counts.open === 0 && nowMs - askedMs > ASKED_MS,
    );
    const [oldest] = idle.toSorted(([, a], [, b]) => a.askedMs - b.askedMs);
    if (oldest === undefined) return false;
    void this.#close(oldest[0]);
    return true;
  }

  async #close(key: string): Promise<void> {
    const open = this.#open.get(key);
    this.#open.delete(key);
    await (await open?.listener)?.[Symbol.asyncDispose]();
  }

  async #sweep(clock: Clock, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await clock.sleep(SWEEP_MS, signal).catch(() => undefined);
      const nowMs = clock.nowMs();
      for (const [key, open] of this.#open) {
        if (open.named.isThere()) open.thereMs = nowMs;
        else if (nowMs - open.thereMs >= GONE_MS) await this.#close(key);
      }
    }
  }
}

function keyOf({ address, transport, port }: NamedPort): string {
  return `${address}:${port}/${transport}`;
}

function fixOf(error: unknown, port: number): string {
  if (faultCode(error) === "routing.port-in-use")
    return "something on this machine listens at all its addresses: have it listen at one of them, or take another port for the service";
  const cause: unknown = error instanceof Fault ? error.cause : undefined;
  const isDenied = cause instanceof Error && Reflect.get(cause, "code") === "EACCES";
  return isDenied && port < 1_024 ? "run the daemon as root or with CAP_NET_BIND_SERVICE" : "";
}
