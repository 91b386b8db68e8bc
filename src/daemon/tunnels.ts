import type { Connect } from "#api";
import { type Clock, Fault, type Log } from "#core";
import {
  type Choose,
  type Instance,
  type ListenAddress,
  type Listener,
  type ListenerCounts,
  listenTcp,
  listenUdp,
  TunnelHost,
  type TunnelHostDeps,
  TunnelOpener,
  type TunnelOpenerDeps,
  transportsOf,
} from "#routing";

const TRANSPORTS = ["tcp", "udp"] as const;

/** A service that somebody wants to connect to. */
export type WantedService = Pick<Connect, "service" | "tenant" | "strategy"> & {
  /** Of the instances; absent: all of them. */
  selector?: string;
  /** How many tunnels this node has to an instance. */
  openOf: (instance: Pick<Instance, "node" | "name" | "tenant">) => number;
};

/** The services of the fleet, as connecting to one needs them. */
export type ServicePorts = {
  /** How to choose among the instances of a service, also of one that comes later, and what it speaks; no `protocol`: there is no such service just now. */
  chooserOf: (wanted: WantedService) => Promise<{ protocol: Instance["protocol"] | undefined; choose: Choose }>;
} & Pick<TunnelHostDeps, "targetOf" | "mayReach" | "mayExpose">;

export type TunnelDeps = { clock: Clock; log: Log } & Pick<TunnelHostDeps, "handle"> & Pick<TunnelOpenerDeps, "open">;

/** A port of this machine that leads to a service, or to another one that it fails over to, over one transport or both. */
export class ServicePort implements AsyncDisposable {
  readonly #listeners: readonly Listener[];
  /** Of the services, those that there were not. */
  readonly missing: readonly string[];

  constructor(listeners: readonly Listener[], missing: readonly string[]) {
    this.#listeners = listeners;
    this.missing = missing;
  }

  get address(): ListenAddress {
    return (this.#listeners[0] as Listener).address;
  }

  get protocol(): "tcp" | "udp" | "tcp+udp" {
    const [first, second] = this.#listeners;
    return second === undefined ? (first as Listener).protocol : "tcp+udp";
  }

  /** All together. */
  get counts(): ListenerCounts {
    const counts: ListenerCounts = { open: 0, opened: 0, failed: 0, dropped: 0, fromSocketBytes: 0, toSocketBytes: 0 };
    for (const listener of this.#listeners)
      for (const key of Object.keys(counts) as (keyof ListenerCounts)[]) counts[key] += listener.counts[key];
    return counts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener[Symbol.asyncDispose]()));
  }
}

/** Tunnels to services of other nodes, and from them to this one's. */
export class Tunnels implements Disposable {
  readonly host: TunnelHost;
  readonly opener: TunnelOpener;
  readonly #deps: TunnelDeps;
  readonly #services: ServicePorts;

  constructor(deps: TunnelDeps, services: ServicePorts) {
    this.#deps = deps;
    this.#services = services;
    this.host = new TunnelHost({ ...deps, ...services });
    this.opener = new TunnelOpener(deps);
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }

  /**
   * Opens a port of this machine that leads to a service. Throws Fault `daemon.no-service` where there is none of those named,
   * `daemon.failover-protocol` (exit `invalid`) where some need TCP and some UDP, or as `listenTcp`. The port listens for what all of them speak.
   */
  async listen({ listen, failover, selector, ...wanted }: Connect): Promise<ServicePort> {
    const { opener } = this;
    const openOf: WantedService["openOf"] = (instance) => opener.openOf(instance);
    const services = [...new Set([wanted.service, ...failover])];
    const found = await Promise.all(
      services.map(async (service, at) => {
        const all = { ...wanted, service, openOf };
        const chooser = await this.#services.chooserOf(at === 0 ? { ...all, selector } : all);
        return { service, ...chooser };
      }),
    );
    const missing = found.flatMap(({ service, protocol }) => (protocol === undefined ? [service] : []));
    if (missing.length === services.length) throw noService(services, wanted.tenant);
    const spoken = found.flatMap(({ protocol }) => (protocol === undefined ? [] : [transportsOf(protocol)]));
    const transports = TRANSPORTS.filter((transport) => spoken.every((all) => all.includes(transport)));
    if (transports.length === 0) {
      const text = found.flatMap(({ service, protocol }) =>
        protocol === undefined ? [] : [`${service} speaks ${protocol}`],
      );
      throw new Fault("daemon.failover-protocol", `${text.join(", ")}: no port leads to all of them`, {
        exit: "invalid",
        fix: "name services of one kind for --failover",
      });
    }
    await using stack = new AsyncDisposableStack();
    const listeners: Listener[] = [];
    for (const transport of transports) {
      const choose: Choose = (key) =>
        found.flatMap((one) => one.choose(key)).filter(({ protocol }) => transportsOf(protocol).includes(transport));
      const deps = { ...this.#deps, opener, choose };
      const address = listeners[0]?.address ?? listen; // the same port for both
      listeners.push(stack.use(await (transport === "udp" ? listenUdp(deps, address) : listenTcp(deps, address))));
    }
    stack.move();
    return new ServicePort(listeners, missing);
  }
}

function noService(services: readonly string[], tenant: string | undefined): Fault {
  const where = tenant === undefined ? "" : ` in tenant ${tenant}`;
  const names = services.map((service) => `"${service}"`).join(", and none ");
  return new Fault("daemon.no-service", `there is no service ${names}${where}`, {
    exit: "missing",
    fix: "see what there is: portolan get services",
  });
}
