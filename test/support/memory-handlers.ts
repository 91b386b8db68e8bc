import type { Handlers, NodeView, ResourceHandler, ResourceName, Resources, Status } from "#api";
import { Fault } from "#core";

/** A list in memory behind the port of a resource. */
export class MemoryResource<N extends ResourceName> implements ResourceHandler<N> {
  items: Resources[N]["detail"][] = [];
  listeners = new Set<() => void>();

  list(): Promise<Resources[N]["view"][]> {
    return Promise.resolve(this.items);
  }
  get(name: string): Promise<Resources[N]["detail"] | undefined> {
    return Promise.resolve(this.items.find((item) => item.name === name));
  }
  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  set(items: Resources[N]["detail"][]): void {
    this.items = items;
    for (const listener of this.listeners) listener();
  }
}

export type MemoryResources = { [N in ResourceName]: MemoryResource<N> };

export function memoryResources(): MemoryResources {
  return {
    nodes: new MemoryResource(),
    links: new MemoryResource(),
    routes: new MemoryResource(),
    circuits: new MemoryResource(),
    services: new MemoryResource(),
    artifacts: new MemoryResource(),
    documents: new MemoryResource(),
    tokens: new MemoryResource(),
    events: new MemoryResource(),
    pending: new MemoryResource(),
  };
}

/** Handlers that refuse everything but what a test provides. */
export function memoryHandlers(resources: MemoryResources, given: Partial<Handlers> = {}): Handlers {
  return {
    status: () => Promise.resolve(STATUS),
    identity: none,
    doctor: none,
    token: none,
    createFleet: none,
    draft: none,
    submit: none,
    previewTopology: none,
    explain: none,
    reject: none,
    publish: none,
    publishTorrent: none,
    exportTorrent: none,
    fetch: none,
    connect: none,
    pin: none,
    prune: none,
    ping: none,
    names: none,
    map: () => Promise.resolve({ nodes: [], links: [] }),
    limits: none,
    setLimits: none,
    resetLimits: none,
    publishService: none,
    unpublishService: none,
    leave: none,
    rekey: none,
    acceptMachine: none,
    shutdown: none,
    ...given,
    resources,
  };
}

export const STATUS: Status = {
  name: "n1",
  nodeId: "12D3KooWExample",
  site: "berlin",
  state: "member",
  autonomous: false,
  time: { now: "2026-11-21T12:00:00.000Z", confirmed: true },
  offline: false,
  version: "0.1.0",
  pid: 1,
  uptimeSeconds: 1,
  data: "/data",
  addresses: ["/ip4/127.0.0.1/tcp/4001/tls"],
  links: 2,
  nodes: 3,
  documents: { count: 7, digest: "ab" },
  charterVersion: 1,
  store: { usedBytes: 0, dueBytes: 0, limitBytes: 1, limitedBy: "quota", freeBytes: 1, artifacts: 0, pinned: 0 },
  warnings: [],
};

export function nodeView(name: string, site = "berlin", labels: Record<string, string> = {}): NodeView {
  return {
    name,
    labels,
    nodeId: `12D3KooW${name}`,
    keyHash: "00".repeat(32),
    state: "known",
    site,
    tenant: "default",
    roles: [],
  };
}

function none(): Promise<never> {
  return Promise.reject(new Fault("test.none", "not part of this test"));
}
