import { DEFAULT_TENANT, type MemberInfo, type NodeId } from "#identity";
import type { Gossip, Host } from "#mesh";
import type { Router } from "../router.ts";
import type { Candidate } from "./choose-instances.ts";
import { type InstanceRecord, readInstances, SERVICES_TOPIC } from "./instance-record.ts";

export type ServiceDirectoryDeps = {
  gossip: Pick<Gossip, "on">;
  host: Pick<Host, "onSession">;
  router: Pick<Router, "distance" | "onNews">;
  self: NodeId;
  /** Whose node it is, by its member document; `undefined` for one that is no member. */
  memberOf: (node: NodeId) => Pick<MemberInfo, "tenant"> | undefined;
  /** What this node itself publishes, by name. */
  own: () => ReadonlyMap<string, InstanceRecord>;
};

/** An instance with what its node says of it, and the way there. On this very node cost and hops are 0. */
export type KnownInstance = Candidate & Pick<InstanceRecord, "port" | "since" | "reason"> & { hops: number };

const NOTHING: ReadonlyMap<string, InstanceRecord> = new Map();

/**
 * Which services there are, and where: what this node publishes, and what those members tell to whom a way leads. Each counts in the tenant
 * of its node's member document.
 */
export class ServiceDirectory implements Disposable {
  readonly #deps: ServiceDirectoryDeps;
  /** What came and nobody asked about yet: reading it takes longer than saying it again and again does. */
  readonly #news = new Map<NodeId, unknown>();
  readonly #heard = new Map<NodeId, ReadonlyMap<string, InstanceRecord>>();
  /** The nodes of which a service of that name was heard. */
  readonly #hosts = new Map<string, Set<NodeId>>();
  readonly #listeners = new Set<() => void>();
  readonly #stops: readonly (() => void)[];

  constructor(deps: ServiceDirectoryDeps) {
    this.#deps = deps;
    const { gossip, host, router, self } = deps;
    const changed = (): void => this.changed();
    this.#stops = [
      gossip.on(SERVICES_TOPIC, ({ origin, value }) => {
        if (origin === self) return;
        this.#news.set(origin, value);
        changed();
      }),
      router.onNews(changed),
      host.onSession(changed),
    ];
  }

  [Symbol.dispose](): void {
    for (const stop of this.#stops) stop();
    this.#listeners.clear();
  }

  /** The instances of a service, healthy or not; of this node's tenant unless another is named. */
  instances(name: string, tenant = this.#tenantOf(this.#deps.self)): KnownInstance[] {
    this.#read();
    this.#dropStrangers(this.#hosts.get(name) ?? []);
    const { self, own } = this.#deps;
    return [self, ...(this.#hosts.get(name) ?? [])].flatMap((node) => {
      const record = (node === self ? own() : this.#heard.get(node))?.get(name);
      return record === undefined || this.#tenantOf(node) !== tenant ? [] : this.#known(node, [record]);
    });
  }

  /** All instances of all services, of all tenants. */
  all(): KnownInstance[] {
    this.#read();
    this.#dropStrangers(this.#heard.keys());
    const { self, own } = this.#deps;
    const nodes: [NodeId, ReadonlyMap<string, InstanceRecord>][] = [[self, own()], ...this.#heard];
    return nodes.flatMap(([node, records]) => this.#known(node, [...records.values()]));
  }

  /** Calls back when instances may have come, gone or changed. Returns how to stop. */
  onNews(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What this node publishes is another than before. */
  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** This node's is the usual one until it is a member. */
  #tenantOf(node: NodeId): string | undefined {
    const { memberOf, self } = this.#deps;
    return memberOf(node)?.tenant ?? (node === self ? DEFAULT_TENANT : undefined);
  }

  /** What came is read when somebody asks. */
  #read(): void {
    if (this.#news.size === 0) return;
    for (const [origin, value] of this.#news) this.#keep(origin, readInstances(value) ?? NOTHING);
    this.#news.clear();
    this.#dropStrangers(this.#heard.keys());
  }

  /** Forgets what those said that are no members any more. */
  #dropStrangers(nodes: Iterable<NodeId>): void {
    for (const node of nodes) if (this.#deps.memberOf(node) === undefined) this.#keep(node, NOTHING);
  }

  #keep(node: NodeId, records: ReadonlyMap<string, InstanceRecord>): void {
    for (const name of this.#heard.get(node)?.keys() ?? []) {
      const hosts = this.#hosts.get(name);
      hosts?.delete(node);
      if (hosts?.size === 0) this.#hosts.delete(name);
    }
    for (const name of records.keys()) {
      const hosts = this.#hosts.get(name) ?? new Set();
      this.#hosts.set(name, hosts.add(node));
    }
    if (records.size === 0) this.#heard.delete(node);
    else this.#heard.set(node, records);
  }

  #known(node: NodeId, records: readonly InstanceRecord[]): KnownInstance[] {
    const { self, router } = this.#deps;
    const tenant = this.#tenantOf(node);
    if (tenant === undefined || records.length === 0) return [];
    const way = node === self ? { cost: 0, hops: 0 } : router.distance(node);
    return way === undefined ? [] : records.map((record) => ({ ...record, node, tenant, ...way }));
  }
}
