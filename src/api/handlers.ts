import type { InputOf, OutputOf, ProgressOf, Route } from "./route.ts";
import type { RouteName, Routes } from "./routes.ts";
import type { ServiceDetail, ServiceView } from "./services.ts";
import type {
  ArtifactDetail,
  ArtifactView,
  CircuitView,
  DocumentDetail,
  DocumentView,
  EventView,
  LinkView,
  NodeView,
  PendingView,
  RouteDetail,
  RouteView,
  TokenView,
} from "./views.ts";

/** Every resource: what `list` shows, and what `get` shows of one. */
export type Resources = {
  nodes: { view: NodeView; detail: NodeView };
  links: { view: LinkView; detail: LinkView };
  routes: { view: RouteView; detail: RouteDetail };
  circuits: { view: CircuitView; detail: CircuitView };
  services: { view: ServiceView; detail: ServiceDetail };
  artifacts: { view: ArtifactView; detail: ArtifactDetail };
  documents: { view: DocumentView; detail: DocumentDetail };
  tokens: { view: TokenView; detail: TokenView };
  events: { view: EventView; detail: EventView };
  pending: { view: PendingView; detail: PendingView };
};
/** What can be listed, shown and followed. */
export type ResourceName = keyof Resources;

/** All of them, in the order in which help shows them. */
export const RESOURCE_NAMES = [
  "nodes",
  "links",
  "routes",
  "circuits",
  "services",
  "artifacts",
  "documents",
  "tokens",
  "events",
  "pending",
] as const satisfies readonly ResourceName[];

/** What the daemon provides of one resource; the server adds selectors, watches and `missing` faults. */
export interface ResourceHandler<N extends ResourceName> {
  list(): Promise<Resources[N]["view"][]>;
  /** By name; where people may type other things (a node id, an unambiguous beginning), by those too. */
  get(name: string): Promise<Resources[N]["detail"] | undefined>;
  /** Calls back when something in the list or in a detail may have changed; returns how to stop. */
  onChange(listener: () => void): () => void;
}

type Resource = { readonly [N in ResourceName]: ResourceHandler<N> };

/** Routes that are not about a resource: each has a handler of its own. */
export type OperationName = Exclude<RouteName, `${string}.${string}`>;

/** `signal` fires when the caller hangs up or the server stops. */
export type OperationHandler<R extends Route> = R extends { shape: "job" }
  ? (
      input: InputOf<R>,
      context: { signal: AbortSignal; progress: (event: ProgressOf<R>) => void },
    ) => Promise<OutputOf<R>>
  : (input: InputOf<R>, context: { signal: AbortSignal }) => Promise<OutputOf<R>>;

/** What the control server calls. Input is validated before it comes here; a thrown Fault reaches the caller as it is. */
export type Handlers = { readonly [N in OperationName]: OperationHandler<Routes[N]> } & {
  readonly resources: Resource;
};
