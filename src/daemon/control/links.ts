import type { Explanation, Handlers, LegView, LinkView, ResourceHandler, RouteDetail, RouteView } from "#api";
import { Fault } from "#core";
import type { NodeId } from "#identity";
import type { Host, Session } from "#mesh";
import { type CountedTerms, type Leg, type Route, type Router, totalOf, untakenWays } from "#routing";
import { daemonDown } from "../daemon-down.ts";
import { noSuch } from "../control-events.ts";
import type { NodeState } from "../node-state.ts";

/** Both are absent while the node does not run. */
type LinkDeps = { host: Host | undefined; router: Router | undefined };

/** This node's live connections, the links of others as they tell of them, and the ways over all of them. */
export function linkHandlers(
  state: NodeState,
  { host, router }: LinkDeps,
): { links: ResourceHandler<"links">; routes: ResourceHandler<"routes">; explain: Handlers["explain"] } {
  const onSession = (listener: () => void): (() => void) => {
    const stops = [host?.onSession(listener), state.store.onAccepted(listener)]; // documents say who is a member, and what links are for
    return () => {
      for (const stop of stops) stop?.();
    };
  };
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
        return node === undefined ? undefined : routeDetail(state, router, node);
      },
      onChange: (listener) => {
        const stops = [onSession(listener), router?.onNews(listener)];
        return () => {
          for (const stop of stops) stop?.();
        };
      },
    },
    explain: async ({ name }) => explain(state, router, name),
  };
}

function routeDetail(state: NodeState, router: Router | undefined, node: NodeId): RouteDetail | undefined {
  const route = router?.route(node);
  if (route === undefined) return undefined;
  const { backup } = route;
  return {
    ...routeView(state, route),
    legs: legViews(state, route.legs),
    ...(backup === undefined ? {} : { backup: { cost: backup.cost, legs: legViews(state, backup.legs) } }),
  };
}

/** Throws Fault `api.no-such` (exit `missing`), `api.daemon-down` (exit `offline`), and `daemon.own-node` (exit `invalid`). */
function explain(state: NodeState, router: Router | undefined, text: string): Explanation {
  const self = state.data.key.nodeId;
  const member = state.members.find(text);
  if (member === undefined) throw noSuch("nodes", text);
  const { name, node } = member;
  if (node === self)
    throw new Fault("daemon.own-node", `${name} is this node itself`, { exit: "invalid", fix: "Name another node." });
  if (router === undefined) throw daemonDown("no way is known");
  const { document } = state.topology;
  const route = routeDetail(state, router, node);
  const world = { policy: router.policy, map: router.map() };
  const untaken = untakenWays(world, self, node, route?.cost ?? Number.POSITIVE_INFINITY);
  return {
    name,
    nodeId: node,
    ...(document === undefined ? {} : { topology: document.body.metadata.name }),
    ...(route === undefined ? {} : { route }),
    untaken: untaken.map(({ why, path, at }) => ({
      why,
      cost: path.cost,
      via: path.nodes.slice(1, -1).map((gateway) => state.members.nameOf(gateway)),
      at: at.map((place) => place.map((end) => state.members.nameOf(end))),
    })),
  };
}

/** Of a member that goes by this name, or has this node id. */
function nodeNamed({ members }: NodeState, name: string): NodeId | undefined {
  return members.all().find((member) => member.name === name || member.node === name)?.node;
}

function linkBetween(state: NodeState, router: Router | undefined, from: string, to: string): LinkView | undefined {
  const [a, b] = [nodeNamed(state, from), nodeNamed(state, to)];
  if (a === undefined || b === undefined) return undefined;
  const terms = router?.terms(a, b);
  if (terms === undefined) return undefined;
  const name = `${state.members.nameOf(a)}/${state.members.nameOf(b)}`;
  return {
    name,
    labels: {},
    nodeId: b,
    site: state.members.of(b)?.site ?? "",
    state: stateOf(terms),
    ...costView(terms),
  };
}

/** Of another node's link nobody else knows that its probes go unanswered. */
function stateOf({ admin, loss }: CountedTerms): LinkView["state"] {
  if (!Number.isFinite(admin)) return "forbidden";
  return Number.isFinite(loss) ? "up" : "suspect";
}

/** Nothing while probes go unanswered, or where it is forbidden. */
function costView(terms: CountedTerms): Pick<LinkView, "cost" | "terms"> {
  const cost = totalOf(terms);
  return Number.isFinite(cost) ? { cost, terms: termsView(terms) } : {};
}

function termsView({ latency, loss, load, money, penalty, admin }: CountedTerms): CountedTerms {
  return { latency, loss, load, money, penalty, admin };
}

function routeView(state: NodeState, { to, legs, cost }: Route): RouteView {
  const { name = to, site = "", labels = {} } = state.members.of(to) ?? {};
  const via = legs[0] === undefined ? "" : state.members.nameOf(legs[0].to);
  return { name, labels: { ...labels }, nodeId: to, site, cost, hops: legs.length, via };
}

function legViews(state: NodeState, legs: readonly Leg[]): LegView[] {
  return legs.map(({ from, to, cost, terms }) => ({
    from: state.members.nameOf(from),
    to: state.members.nameOf(to),
    cost,
    ...(terms === undefined ? { inside: state.members.of(to)?.site ?? "" } : termsView(terms)),
  }));
}

function linkView(session: Session, router: Router): LinkView {
  const rttMs = session.rttMs();
  const lossRatio = session.lossRatio();
  const measuredBy = session.measuredBy();
  const terms = router.costOf(session);
  return {
    name: session.name,
    labels: {},
    nodeId: session.nodeId,
    site: session.site,
    address: session.address,
    direction: session.direction === "inbound" ? "in" : "out",
    state: stateOf(terms),
    ...costView(terms),
    loadRatio: Math.round(session.loadRatio() * 1_000) / 1_000,
    ...(lossRatio === undefined ? {} : { lossRatio }),
    ...(measuredBy === undefined ? {} : { measuredBy }),
    ...(rttMs === undefined ? {} : { rttMs: Math.round(rttMs * 100) / 100 }),
  };
}
