import type { LegView, LinkView, ResourceHandler, RouteView } from "#api";
import type { NodeId } from "#identity";
import type { Host, Session } from "#mesh";
import { type Leg, type LinkTerms, type Route, type Router, totalOf } from "#routing";
import type { NodeState } from "../node-state.ts";

/** Both are absent while the node does not run. */
type LinkDeps = { host: Host | undefined; router: Router | undefined };

/** This node's live connections, the links of others as they tell of them, and the ways over all of them. */
export function linkHandlers(
  state: NodeState,
  { host, router }: LinkDeps,
): { links: ResourceHandler<"links">; routes: ResourceHandler<"routes"> } {
  const onSession = (listener: () => void): (() => void) => host?.onSession(listener) ?? (() => undefined);
  const ownLink = (name: string): LinkView | undefined => {
    const session = host?.sessions().find((s) => s.name === name || s.nodeId === name);
    return session === undefined || router === undefined ? undefined : linkView(session, router);
  };
  return {
    links: {
      list: async () => (router === undefined ? [] : (host?.sessions() ?? []).map((s) => linkView(s, router))),
      get: async (name) => {
        const [from = "", to, ...more] = name.split("/");
        if (to === undefined) return ownLink(name);
        return more.length === 0 ? linkBetween(state, router, from, to) : undefined;
      },
      onChange: onSession,
    },
    routes: {
      list: async () => (router?.routes() ?? []).map((route) => routeView(state, route)),
      get: async (name) => {
        const node = nodeNamed(state, name);
        const route = node === undefined ? undefined : router?.route(node);
        if (route === undefined) return undefined;
        const { backup } = route;
        return {
          ...routeView(state, route),
          legs: legViews(state, route.legs),
          ...(backup === undefined ? {} : { backup: { cost: backup.cost, legs: legViews(state, backup.legs) } }),
        };
      },
      onChange: (listener) => {
        const stops = [onSession(listener), router?.onNews(listener)];
        return () => {
          for (const stop of stops) stop?.();
        };
      },
    },
  };
}

/** Of a member that goes by this name, or has this node id. */
function nodeNamed({ members }: NodeState, name: string): NodeId | undefined {
  return members.all().find((member) => member.name === name || member.node === name)?.node;
}

function nameOf({ members }: NodeState, node: NodeId): string {
  return members.of(node)?.name ?? node;
}

function linkBetween(state: NodeState, router: Router | undefined, from: string, to: string): LinkView | undefined {
  const [a, b] = [nodeNamed(state, from), nodeNamed(state, to)];
  if (a === undefined || b === undefined) return undefined;
  const terms = router?.terms(a, b);
  if (terms === undefined) return undefined;
  const name = `${nameOf(state, a)}/${nameOf(state, b)}`;
  return { name, labels: {}, nodeId: b, site: state.members.of(b)?.site ?? "", state: "up", ...costView(terms) };
}

/** Nothing while probes go unanswered. */
function costView(terms: LinkTerms): Pick<LinkView, "cost" | "terms"> {
  const cost = totalOf(terms);
  return Number.isFinite(cost) ? { cost, terms: termsView(terms) } : {};
}

function termsView({ latency, loss, money, penalty }: LinkTerms): LinkTerms {
  return { latency, loss, money, penalty };
}

function routeView(state: NodeState, { to, legs, cost }: Route): RouteView {
  const { name = to, site = "", labels = {} } = state.members.of(to) ?? {};
  const via = legs[0] === undefined ? "" : nameOf(state, legs[0].to);
  return { name, labels: { ...labels }, nodeId: to, site, cost, hops: legs.length, via };
}

function legViews(state: NodeState, legs: readonly Leg[]): LegView[] {
  return legs.map(({ from, to, cost, terms }) => ({
    from: nameOf(state, from),
    to: nameOf(state, to),
    cost,
    ...termsView(terms),
  }));
}

function linkView(session: Session, router: Router): LinkView {
  const rttMs = session.rttMs();
  const lossRatio = session.lossRatio();
  const measuredBy = session.measuredBy();
  return {
    name: session.name,
    labels: {},
    nodeId: session.nodeId,
    site: session.site,
    address: session.address,
    direction: session.direction === "inbound" ? "in" : "out",
    state: session.suspect() ? "suspect" : "up",
    ...costView(router.costOf(session)),
    ...(lossRatio === undefined ? {} : { lossRatio }),
    ...(measuredBy === undefined ? {} : { measuredBy }),
    ...(rttMs === undefined ? {} : { rttMs: Math.round(rttMs * 100) / 100 }),
  };
}
