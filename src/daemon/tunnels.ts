import type { Connect } from "#api";
import { type Clock, Fault, type Log } from "#core";
import {
  type Choose,
  type Instance,
  type Listener,
  listenTcp,
  listenUdp,
  TunnelHost,
  type TunnelHostDeps,
  TunnelOpener,
  type TunnelOpenerDeps,
} from "#routing";

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

/** A port that leads to a service, or to another one that it fails over to; `missing`: those of them that there were not. */
export type ServicePort = { listener: Listener; missing: string[] };

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
   * `daemon.failover-protocol` (exit `invalid`) where some need TCP and some UDP, or as `listenTcp`.
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
    const transports = new Map(
      found.flatMap(({ service, protocol }) => (protocol === undefined ? [] : [[transportOf(protocol), service]])),
    );
    if (transports.size > 1) {
      const text = [...transports].map(([transport, service]) => `${service} is reached over ${transport}`);
      throw new Fault("daemon.failover-protocol", `${text.join(", ")}: a port leads to one kind`, {
        exit: "invalid",
        fix: "name services of one kind for --failover",
      });
    }
    const choose: Choose = (key) => found.flatMap((one) => one.choose(key));
    const deps = { ...this.#deps, opener, choose };
    const listener = await (transports.has("udp") ? listenUdp(deps, listen) : listenTcp(deps, listen));
    return { listener, missing };
  }
}

/** HTTP goes over TCP. */
function transportOf(protocol: Instance["protocol"]): "tcp" | "udp" {
  return protocol === "udp" ? "udp" : "tcp";
}

function noService(services: readonly string[], tenant: string | undefined): Fault {
  const where = tenant === undefined ? "" : ` in tenant ${tenant}`;
  const names = services.map((service) => `"${service}"`).join(", and none ");
  return new Fault("daemon.no-service", `there is no service ${names}${where}`, {
    exit: "missing",
    fix: "see what there is: portolan get services",
  });
}
