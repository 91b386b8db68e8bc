import type { NodeId } from "#identity";
import { Gossip, type Host, SiteNeighbours, startReplica } from "#mesh";
import { type AreaDeps, Router, Services } from "#routing";
import { hearOfClones, wasOutbid } from "./clone-watch.ts";
import type { DaemonConfig } from "./config.ts";
import type { OpenNode } from "./node.ts";
import { nextBoot } from "./remembered.ts";
import { startTimeKeeper } from "./time-keeper.ts";

/** What goes round among the nodes. */
export type Spread = { gossip: Gossip; router: Router; services: Services };

/** Passes on documents, beacons and news. Says which way leads where, and who publishes what. */
export function startSpread({ state, copies }: OpenNode, config: DaemonConfig, host: Host): Spread & AsyncDisposable {
  const { clock, random, log, data, store, members, trustedMs, provisional } = state;
  const stack = new AsyncDisposableStack();
  const self = data.key.nodeId;
  const site = (): string | undefined => members.of(self)?.site;
  const isMember = (id: NodeId): boolean => members.of(id) !== undefined;
  const said = {
    key: data.key.key,
    boot: nextBoot(state),
    outbid: (boot: number, answers: number): void => wasOutbid(state, gossip, { boot, answers }),
    site,
    isMember,
    clock,
    random,
  };
  const gossip: Gossip = stack.use(new Gossip({ ...said, host, fleet: () => store.fleet }));
  const mayTell = (id: string, peer: string): boolean => provisional.mayTell(id, peer);
  stack.use(startReplica({ host, store, clock, random, log, trustedMs, mayTell }));
  stack.defer(provisional.connect(host));
  copies.connect(gossip);
  stack.use(copies);
  stack.defer(hearOfClones(state, gossip));
  stack.use(startTimeKeeper({ state, gossip, host }));
  const near = stack.use(new SiteNeighbours(host, site));
  const ownSite = (): string | undefined => (site() === undefined ? undefined : `${store.fleet} ${site()}`);
  const area: AreaDeps = {
    siteGossip: stack.use(new Gossip({ ...said, host: near, scope: "site-gossip", fleet: ownSite })),
    siteOf: (node) => members.of(node)?.site,
    members: () => members.nodes(),
    turn: (isOn) => near.turn(isOn),
  };
  const { transit, expose } = config;
  const policy = state.topology.policy.bind(state.topology);
  const router = stack.use(new Router({ host, gossip, clock, self, site, isMember, transit, policy, area }));
  const services = stack.use(
    new Services({
      db: data.db,
      log,
      clock,
      random,
      trustedMs,
      host,
      gossip,
      router,
      self,
      memberOf: (node) => members.of(node),
      expose,
    }),
  );
  return { gossip, router, services, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
