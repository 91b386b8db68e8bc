import type { ArtifactView, CircuitView, LinkView, NodeView, RouteView, ServiceView } from "#api";

/** A link as both its ends tell of it: costs from the first to the second, and back; `null`: no way may lead over it. */
export type PairView = {
  name: string;
  ends: readonly [string, string];
  costs: readonly [number | null, number | null];
};

/** What the page shows, each kind by name. `links` are those of the node that is looked through, `pairs` everybody's. */
export type FleetViews = {
  nodes: NodeView;
  links: LinkView;
  pairs: PairView;
  routes: RouteView;
  services: ServiceView;
  circuits: CircuitView;
  artifacts: ArtifactView;
};
export type Kind = keyof FleetViews;
export type Fleet = { readonly [K in Kind]: Map<string, FleetViews[K]> };

export const KINDS = [
  "nodes",
  "links",
  "pairs",
  "routes",
  "services",
  "circuits",
  "artifacts",
] as const satisfies Kind[];

/** What is to put into and to take out of one kind. */
export type Changes<K extends Kind> = { set: FleetViews[K][]; gone: string[] };
/** One event of the stream. `down`: why the daemon does not answer; what is shown is then as it last was. */
export type Frame = { changes: { readonly [K in Kind]?: Changes<K> }; down?: string };

/** A fleet of which nothing is known. */
export function emptyFleet(): Fleet {
  return {
    nodes: new Map(),
    links: new Map(),
    pairs: new Map(),
    routes: new Map(),
    services: new Map(),
    circuits: new Map(),
    artifacts: new Map(),
  };
}

/** What makes `sent` the same as `now`, and does so to it. Views are compared by identity: one that changes is another object. */
export function takeChanges(sent: Fleet, now: Fleet): Frame["changes"] {
  return Object.fromEntries(
    KINDS.flatMap((kind) => {
      const changes = differences<{ name: string }>(sent[kind], now[kind]);
      applyTo<{ name: string }>(sent[kind], changes);
      return changes.set.length + changes.gone.length === 0 ? [] : [[kind, changes]];
    }),
  );
}

/** Takes a frame in. */
export function applyChanges(fleet: Fleet, changes: Frame["changes"]): void {
  for (const kind of KINDS) {
    const of = changes[kind];
    if (of !== undefined) applyTo<{ name: string }>(fleet[kind], of);
  }
}

function differences<V extends { name: string }>(sent: ReadonlyMap<string, V>, now: ReadonlyMap<string, V>) {
  const set = [...now.values()].filter((view) => sent.get(view.name) !== view);
  const gone = [...sent.keys()].filter((name) => !now.has(name));
  return { set, gone };
}

function applyTo<V extends { name: string }>(views: Map<string, V>, { set, gone }: { set: V[]; gone: string[] }): void {
  for (const name of gone) views.delete(name);
  for (const view of set) views.set(view.name, view);
}
