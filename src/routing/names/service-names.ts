import { type Clock, faultCode, type Random, withDeadline } from "#core";
import type { Groups, MemberInfo, NodeId } from "#identity";
import { type Choice, chooseInstances } from "../service/choose-instances.ts";
import { sharedLabels, transportsOf } from "../service/service.ts";
import type { KnownInstance, ServiceDirectory } from "../service/service-directory.ts";
import type { ServiceLookup } from "../service/service-lookup.ts";
import type { Choose } from "../tunnel/ports.ts";
import type { TunnelOpener } from "../tunnel/tunnel-opener.ts";
import type { MeshName, ScopedName } from "./mesh-name.ts";
import { endsOf, type Found, type NamedService, type ServiceEnd } from "./name-answers.ts";
import type { NamedListeners } from "./named-listeners.ts";
import type { ServiceAddresses } from "./service-addresses.ts";

/** A client of DNS asks again or gives up after about 5 s, often sooner; a look-up goes on meanwhile, and the next question finds what it found. */
const ANSWER_MS = 2_000;
/** Services that are looked for in the DHT at a time. */
const MAX_LOOK_UPS = 64;

type Member = Pick<MemberInfo, "tenant" | "site">;

export type ServiceNamesDeps = {
  clock: Clock;
  random: Random;
  directory: Pick<ServiceDirectory, "instances">;
  lookup: Pick<ServiceLookup, "find">;
  opener: Pick<TunnelOpener, "openOf">;
  self: NodeId;
  memberOf: (node: NodeId) => Member | undefined;
  /** Tenants and sites that have members. */
  groups: () => Groups;
};

/** What a scope is: a tenant, or the nodes of a site among those of this node's tenant. */
type Scope = { tenant: string; site: string | undefined };

/** Says what names stand for, and has ports ready for whoever connects to them. */
export class ServiceNames {
  readonly #deps: ServiceNamesDeps;
  readonly #addresses: ServiceAddresses;
  readonly #listeners: NamedListeners;
  readonly #lookUps = new Map<string, Promise<unknown>>();

  constructor(deps: ServiceNamesDeps, addresses: ServiceAddresses, listeners: NamedListeners) {
    this.#deps = deps;
    this.#addresses = addresses;
    this.#listeners = listeners;
  }

  /** What there is to say of a name. The ports of a service are open then. */
  async find(name: MeshName): Promise<Found> {
    if (name.kind === "outside" || name.kind === "zone" || name.kind === "server") return "empty";
    if (name.kind === "part") return this.#isPart(name.scope) ? "empty" : "nothing";
    const scope = this.#scopeOf(name.scope);
    if (scope === undefined) return this.#isPart(`${name.service}.${name.scope}`) ? "empty" : "nothing";
    if (this.#instances(name).length === 0 && !(await this.#lookUp(name.service, scope.tenant))) return "failed";
    const instances = this.#instances(name);
    if (instances.length === 0) return this.#isPart(`${name.service}.${name.scope}`) ? "empty" : "nothing";
    return this.#serve(name, instances);
  }

  async #serve(name: ScopedName, instances: readonly KnownInstance[]): Promise<NamedService | "failed"> {
    const address = this.#addresses.of(name);
    if (address === undefined) return "failed";
    const ends = endsOf(instances);
    const open = await Promise.all(ends.map((end) => this.#open(name, end, address)));
    const reached = ends.filter((_, index) => open[index]);
    if (reached.length === 0) return "failed";
    const protocols = [...new Set(instances.map(({ protocol }) => protocol))];
    return { address, ends: reached, protocols, labels: sharedLabels(instances) };
  }

  #open(name: ScopedName, { transport, port }: ServiceEnd, address: string): Promise<boolean> {
    const { random, opener } = this.#deps;
    const at = (): KnownInstance[] =>
      this.#instances(name).filter((one) => one.port === port && transportsOf(one.protocol).includes(transport));
    const choice: Choice = { strategy: "closest", random, openOf: (instance) => opener.openOf(instance) };
    const choose: Choose = () => chooseInstances(at(), choice);
    return this.#listeners.open({ address, transport, port, choose, isThere: () => at().length > 0 });
  }

  /** The instances of a name now, healthy or not. */
  #instances({ service, scope: text }: ScopedName): KnownInstance[] {
    const scope = this.#scopeOf(text);
    if (scope === undefined) return [];
    const { directory, memberOf } = this.#deps;
    const all = directory.instances(service, scope.tenant);
    return scope.site === undefined ? all : all.filter(({ node }) => memberOf(node)?.site === scope.site);
  }

  /** A tenant goes before a site of the same name. */
  #scopeOf(text: string): Scope | undefined {
    const { self, memberOf, groups } = this.#deps;
    const { tenants, sites } = groups();
    if (tenants.has(text)) return { tenant: text, site: undefined };
    const own = memberOf(self)?.tenant;
    return own !== undefined && sites.has(text) ? { tenant: own, site: text } : undefined;
  }

  /** Whether a scope is called so, or ends so: what has names below it is there (RFC 8020). */
  #isPart(text: string): boolean {
    const { tenants, sites } = this.#deps.groups();
    const isAtOrBelow = (scope: string): boolean => scope === text || scope.endsWith(`.${text}`);
    return tenants.values().some(isAtOrBelow) || sites.values().some(isAtOrBelow);
  }

  /** Looks for a service of which nobody told. `false`: it is not known yet whether there is one. */
  async #lookUp(service: string, tenant: string): Promise<boolean> {
    const { clock, lookup } = this.#deps;
    const key = `${service}.${tenant}`;
    const running = this.#lookUps.get(key);
    if (running === undefined && this.#lookUps.size >= MAX_LOOK_UPS) return false;
    const lookUp = running ?? lookup.find(service, tenant).finally(() => this.#lookUps.delete(key));
    if (running === undefined) this.#lookUps.set(key, lookUp);
    try {
      await withDeadline(clock, ANSWER_MS, "looking for a service", () => lookUp);
      return true;
    } catch (error) {
      if (faultCode(error) === "core.deadline") return false;
      throw error;
    }
  }
}
