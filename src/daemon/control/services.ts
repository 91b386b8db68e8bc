import type { Handlers, InstanceView, ResourceHandler, ServiceDetail, ServiceView } from "#api";
import { type KnownInstance, type ServiceLookup, type Services, sharedLabels } from "#routing";
import { daemonDown } from "../daemon-down.ts";
import type { NodeState } from "../node-state.ts";

type ServiceHandlers = Pick<Handlers, "publishService" | "unpublishService"> & {
  services: ResourceHandler<"services">;
};

/** Both are absent while the node does not run. */
type ServiceDeps = { services: Services | undefined; lookup: ServiceLookup | undefined };

/** What nodes publish, as far as this one knows or can find out, and what this one does. */
export function serviceHandlers(state: NodeState, { services, lookup }: ServiceDeps): ServiceHandlers {
  const running = (): Services => {
    if (services !== undefined) return services;
    throw daemonDown("nothing is published");
  };
  return {
    publishService: async ({ replace, ...draft }) => {
      running().publish(draft, replace);
      return { done: true };
    },
    unpublishService: async ({ name }) => {
      running().unpublish(name);
      return { done: true };
    },
    services: {
      list: async () =>
        [...byService(services?.directory.all() ?? []).values()]
          .map((instances) => serviceView(state, instances))
          .toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      get: async (name) => {
        const [tenant, ...rest] = name.split("/");
        const found = rest.length === 0 ? lookup?.find(name) : lookup?.find(rest.join("/"), tenant);
        const instances = (await found) ?? [];
        return services === undefined || instances.length === 0 ? undefined : detailOf(state, services, instances);
      },
      onChange: (listener) => {
        const stops = [services?.directory.onNews(listener), state.store.onAccepted(listener)];
        return () => {
          for (const stop of stops) stop?.();
        };
      },
    },
  };
}

function byService(all: readonly KnownInstance[]): Map<string, KnownInstance[]> {
  return Map.groupBy(all, ({ tenant, name }) => `${tenant}/${name}`);
}

/** `instances`: of one service, at least one. */
function serviceView(state: NodeState, instances: readonly KnownInstance[]): ServiceView {
  const near = instances.toSorted((a, b) => a.cost - b.cost);
  const { name, tenant } = near[0] as KnownInstance;
  const healthy = near.filter((instance) => instance.healthy);
  const cost = healthy[0]?.cost;
  const ownTenant = state.members.of(state.data.key.nodeId)?.tenant ?? tenant;
  return {
    name: tenant === ownTenant ? name : `${tenant}/${name}`,
    labels: sharedLabels(near),
    tenant,
    protocols: [...new Set(near.map(({ protocol }) => protocol))],
    count: near.length,
    healthy: healthy.length,
    ...(cost === undefined ? {} : { cost }),
    nodes: near.map(({ node }) => state.members.nameOf(node)),
    changed: isoOf(Math.max(...near.map(({ since }) => since))),
  };
}

function detailOf(state: NodeState, services: Services, instances: readonly KnownInstance[]): ServiceDetail {
  const self = state.data.key.nodeId;
  const isHere = instances.some(({ node }) => node === self);
  const own = isHere ? services.own(instances[0]?.name ?? "") : undefined;
  return {
    ...serviceView(state, instances),
    instances: instances
      .toSorted((a, b) => a.priority - b.priority || a.cost - b.cost)
      .map((instance) => {
        const view = instanceView(state, instance);
        return instance.node === self && own !== undefined ? { ...view, state: own.health.state } : view;
      }),
    ...(own === undefined ? {} : { here: publishedView(own) }),
  };
}

function publishedView({ draft, health: { last } }: NonNullable<ReturnType<Services["own"]>>): ServiceDetail["here"] {
  return {
    target: draft.to,
    ...(draft.check === undefined ? {} : { check: draft.check }),
    ...(last === undefined ? {} : { lastCheck: last.ok ? "passed" : last.reason }),
    ...(last?.output === undefined || last.output === "" ? {} : { output: last.output }),
  };
}

function instanceView(state: NodeState, instance: KnownInstance): InstanceView {
  const { node, healthy, since, reason, protocol, port, priority, weight, cost, hops, labels } = instance;
  return {
    node: state.members.nameOf(node),
    nodeId: node,
    site: state.members.of(node)?.site ?? "",
    state: healthy ? "healthy" : "unhealthy",
    since: isoOf(since),
    ...(reason === "" ? {} : { reason }),
    protocol,
    port,
    priority,
    weight,
    cost,
    path: hops === 0 ? "local" : hops === 1 ? "direct" : "relayed",
    labels: { ...labels },
  };
}

/** A time that another node told may be none that a Date holds. */
function isoOf(unixSeconds: number): string {
  return new Date(Math.min(unixSeconds * 1_000, MAX_DATE_MS)).toISOString();
}

/** ECMA-262 §21.4.1.1. */
const MAX_DATE_MS = 8.64e15;
