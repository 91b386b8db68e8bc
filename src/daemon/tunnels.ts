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
export type WantedService = Pick<Connect, "service" | "tenant" | "strategy" | "selector"> & {
  /** How many tunnels this node has to an instance. */
  openOf: (instance: Pick<Instance, "node" | "name" | "tenant">) => number;
};

/** The services of the fleet, as connecting to one needs them. */
export type ServicePorts = {
  /** How to choose among the instances of a service; `undefined`: there is no such service. */
  chooserOf: (wanted: WantedService) => Promise<{ protocol: Instance["protocol"]; choose: Choose } | undefined>;
} & Pick<TunnelHostDeps, "targetOf" | "mayReach" | "mayExpose">;

export type TunnelDeps = { clock: Clock; log: Log } & Pick<TunnelHostDeps, "handle"> & Pick<TunnelOpenerDeps, "open">;

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

  /** Opens a port of this machine that leads to a service. Throws Fault `daemon.no-service`, or as `listenTcp`. */
  async listen({ listen, ...wanted }: Connect): Promise<Listener> {
    const { opener } = this;
    const { service, tenant } = wanted;
    const found = await this.#services.chooserOf({ ...wanted, openOf: (instance) => opener.openOf(instance) });
    if (found === undefined) {
      const where = tenant === undefined ? "" : ` in tenant ${tenant}`;
      throw new Fault("daemon.no-service", `there is no service "${service}"${where}`, {
        exit: "missing",
        fix: "see what there is: portolan get services",
      });
    }
    const deps = { ...this.#deps, opener, choose: found.choose };
    return found.protocol === "udp" ? listenUdp(deps, listen) : listenTcp(deps, listen); // HTTP goes over TCP
  }
}
