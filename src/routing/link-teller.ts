import type { Clock } from "#core";
import type { NodeId } from "#identity";
import type { Host, Session } from "#mesh";
import { AdvertisedCost } from "./advertised-cost.ts";
import { type LinkCost, linkCost, type LinkTerms, moneyCost } from "./link-cost.ts";
import { LinkPenalty } from "./link-penalty.ts";
import type { Advertisement } from "./link-state.ts";
import { TellPace } from "./tell-pace.ts";

/**
 * How often links are measured: as often as they are probed at rest. Three such measurements make a change, so that a live circuit is off a link that got
 * slow within 10 s; every second would cost an idle node 3 kbit/s more of what is told.
 */
const MEASURE_MS = 2_000;
/** Worse costs are told so long after anything was told before: everybody hears of all links of this node each time. */
const WORSE_EVERY_MS = 10_000;
/**
 * Better ones wait longer, and go with any others: who waits for them has a path meanwhile. Probes lost while a machine was busy are forgotten step by
 * step for minutes: told every 10 s, an idle node with 10 neighbours sent and received 46 kbit/s.
 */
const BETTER_EVERY_MS = 120_000;
/** A link that went is told of so soon, with those that went at the same time. */
const GONE_MS = 20;
/**
 * One that came is told of so soon, and so long after what was told before: a node that starts gets many, and everybody hears of each. Where
 * its end has enough others, it waits longer each time, as what a link costs does.
 */
const CAME_MS = 200;
const CAME_EVERY_MS = 2_000;

export type LinkTellerDeps = {
  host: Pick<Host, "sessions" | "session" | "onSession">;
  publish: (advertisement: Advertisement) => void;
  clock: Clock;
  /** Where this node is, once it is a member. */
  site: () => string | undefined;
  /** Whether this node passes on what is not for itself. */
  transit: boolean;
  /** Whether the links to these neighbours make little difference to the fleet. */
  areWellLinked: (peers: ReadonlySet<NodeId>) => boolean;
};

/**
 * A link of this node: what it costs more for coming up lately, what this node's own paths go by, and what others were told of it, if anything, with
 * what it costs by now.
 */
type OwnLink = { penalty: LinkPenalty; counted: Counted | undefined; told: Told | undefined };
type Counted = { terms: LinkTerms; isMeasured: boolean; cost: AdvertisedCost };
type Told = { terms: LinkTerms; latest: LinkTerms; cost: AdvertisedCost };

/** Knows what this node's links cost, and tells the fleet when that changes for long, and when they come and go. */
export class LinkTeller implements Disposable {
  readonly #deps: LinkTellerDeps;
  readonly #links = new Map<NodeId, OwnLink>();
  readonly #stopping = new AbortController();
  readonly #unlisten: () => void;
  readonly #pace = new TellPace();
  /** To whom there were links, when it was told last, and when it will be told next, if that is to be soon. */
  #told: ReadonlySet<NodeId> = new Set();
  #toldMs = Number.NEGATIVE_INFINITY;
  #tellAtMs = Number.POSITIVE_INFINITY;

  constructor(deps: LinkTellerDeps) {
    this.#deps = deps;
    this.#unlisten = deps.host.onSession(({ nodeId }, event) => {
      const nowMs = deps.clock.nowMs();
      if (event === "down") return this.#tellAt(nowMs + GONE_MS);
      this.#link(nodeId).penalty.up(nowMs);
      this.#tellOfNew(nowMs);
    });
    void this.#run();
  }

  [Symbol.dispose](): void {
    this.#unlisten();
    this.#stopping.abort();
  }

  /** What the link to a neighbour costs just now. */
  costOf(session: Session): LinkCost {
    return linkCost({
      rttMs: session.rttMs(),
      lossRatio: session.lossRatio(),
      loadRatio: session.loadRatio(),
      suspect: session.suspect(),
      sameSite: session.site === this.#deps.site(),
      penalty: this.#links.get(session.nodeId)?.penalty.at(this.#deps.clock.nowMs()) ?? 0,
    });
  }

  /** What this node's own paths go by: as others are told, but at once when it held. `undefined`: the link must not be used now. */
  countedOf(session: Session): LinkTerms | undefined {
    if (session.suspect()) return undefined;
    const link = this.#link(session.nodeId);
    const isMeasured = session.rttMs() !== undefined;
    if (link.counted === undefined || (isMeasured && !link.counted.isMeasured)) {
      const terms = this.costOf(session);
      link.counted = { terms, isMeasured, cost: new AdvertisedCost(varying(terms)) };
    }
    const { latency, loss, load } = link.counted.terms;
    const money = moneyCost(session.site === this.#deps.site());
    return { latency, loss, load, money, penalty: link.penalty.at(this.#deps.clock.nowMs()) };
  }

  /** What others know of the links that are there. */
  told(): Map<NodeId, LinkTerms> {
    const nowMs = this.#deps.clock.nowMs();
    const links = new Map<NodeId, LinkTerms>();
    for (const { nodeId } of this.#deps.host.sessions()) {
      const { told, penalty } = this.#link(nodeId);
      if (told !== undefined) links.set(nodeId, { ...told.terms, penalty: penalty.at(nowMs) });
    }
    return links;
  }

  /** Tells of all links soon, since there are others who listen now. */
  tellAgain(): void {
    this.#told = new Set();
    this.#tellAt(this.#deps.clock.nowMs() + CAME_MS);
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await clock.sleep(MEASURE_MS, signal).catch(() => undefined);
      if (!signal.aborted) this.#measure();
    }
  }

  #tellAt(atMs: number): void {
    const { clock } = this.#deps;
    if (this.#tellAtMs <= atMs) return;
    this.#tellAtMs = atMs;
    clock.sleep(atMs - clock.nowMs(), this.#stopping.signal).then(
      () => {
        if (this.#tellAtMs === atMs) this.#tell();
      },
      () => undefined, // the node stops
    );
  }

  /** Links that others were not told of are news to them, some more urgent than others. */
  #tellOfNew(nowMs: number): void {
    const { host, areWellLinked } = this.#deps;
    const added = new Set(host.sessions().map(({ nodeId }) => nodeId)).difference(this.#told);
    if (added.size === 0) return;
    const nextMs = areWellLinked(added) ? this.#pace.nextMs(CAME_EVERY_MS, nowMs) : this.#toldMs + CAME_EVERY_MS;
    this.#tellAt(Math.max(nowMs + CAME_MS, nextMs));
  }

  /** Measures all links, and tells of them if that is news to others. */
  #measure(): void {
    const { host, clock } = this.#deps;
    const nowMs = clock.nowMs();
    for (const session of host.sessions()) {
      const { total, ...terms } = this.costOf(session);
      // one that is silent just now is told of as before: it may come back, and is given up within seconds if it does not
      if (!Number.isFinite(total)) continue;
      const { told, counted } = this.#link(session.nodeId);
      told?.cost.measure(varying(terms));
      if (told !== undefined) told.latest = terms;
      counted?.cost.measure(varying(terms));
      if (counted?.cost.change === undefined) continue;
      counted.terms = terms;
      counted.cost.tell();
    }
    this.#forgetGone(nowMs);
    const changes = this.#changes();
    if (changes.has("worse")) this.#tellAt(Math.max(nowMs, this.#pace.nextMs(WORSE_EVERY_MS, nowMs)));
    else if (changes.has("better")) this.#tellAt(Math.max(nowMs, this.#toldMs + BETTER_EVERY_MS));
    this.#tellOfNew(nowMs); // also what became usable without a session coming up
  }

  /** Tells what links there are and what they cost, if any cost is another one, or there are other links. */
  #tell(): void {
    const { host, publish, clock, transit, site } = this.#deps;
    this.#tellAtMs = Number.POSITIVE_INFINITY;
    if (site() === undefined) return;
    const changes = this.#changes();
    const links = new Map<NodeId, LinkTerms>();
    for (const session of host.sessions()) {
      const terms = this.#toldOf(session);
      if (terms !== undefined) links.set(session.nodeId, terms);
    }
    const peers = new Set(links.keys());
    if (changes.size === 0 && peers.symmetricDifference(this.#told).size === 0) return;
    this.#told = peers;
    this.#toldMs = clock.nowMs();
    this.#pace.told(this.#toldMs);
    publish({ transit, links });
  }

  /** What others are told of a link: of a new one, what it costs just now. */
  #toldOf(session: Session): LinkTerms | undefined {
    const link = this.#link(session.nodeId);
    const nowMs = this.#deps.clock.nowMs();
    const { told } = link;
    if (told?.cost.change !== undefined) {
      told.terms = told.latest;
      told.cost.tell();
    }
    if (told !== undefined) return { ...told.terms, penalty: link.penalty.at(nowMs) };
    const { total, ...terms } = this.costOf(session);
    if (!Number.isFinite(total)) return undefined;
    link.told = { terms, latest: terms, cost: new AdvertisedCost(varying(terms)) };
    return terms;
  }

  /** How costs differ from what others know. */
  #changes(): Set<"worse" | "better"> {
    return new Set([...this.#links.values()].flatMap(({ told }) => told?.cost.change ?? []));
  }

  /** A link that went is remembered while it would start dearer. */
  #forgetGone(nowMs: number): void {
    for (const [peer, link] of this.#links) {
      if (this.#deps.host.session(peer) !== undefined) continue;
      link.told = undefined;
      link.counted = undefined;
      if (link.penalty.at(nowMs) === 0) this.#links.delete(peer);
    }
  }

  #link(peer: NodeId): OwnLink {
    let link = this.#links.get(peer);
    if (link === undefined) {
      link = { penalty: new LinkPenalty(), counted: undefined, told: undefined };
      this.#links.set(peer, link);
    }
    return link;
  }
}

/**
 * What others are told of again when it changes: not what leaving the site costs, beside which a round trip that doubled looks like nothing, nor the
 * penalty, whose fall everybody works out.
 */
function varying({ latency, loss, load }: LinkTerms): number {
  return latency + loss + load;
}
