import type { Clock, Random } from "#core";
import type { NodeId } from "#identity";
import { AddressBook, type KnownPeer, type nodeIdIn } from "./address-book.ts";
import type { Hint, NeighbourEffect, NeighbourEvent } from "./neighbour-event.ts";

export type NeighbourOptions = {
  /** Neighbours of the own site that a node dials for; whoever dials it counts. */
  wantedHere: number;
  /** And of other sites, picked at random: they hold the fleet together. Where one share lacks peers, the other makes up for it. */
  wantedElsewhere: number;
  /** Neighbours at most. Beyond it one that can spare this node is let go; those that have nobody else come on top. */
  most: number;
};

/** A random graph of degree 16 stays in one piece when half its nodes die at once (test/sim/neighbours.test.ts). */
export const DEFAULT_NEIGHBOURS: Readonly<NeighbourOptions> = { wantedHere: 12, wantedElsewhere: 4, most: 40 };

/** Peers told of in one message. */
export const MAX_PEERS_TOLD = 32;
/** Dials at a time: a node that comes up must not look like a port scan. */
const MAX_DIALS = 8;
/** A lost neighbour is looked for so often, even by who has enough: across a cut there is nobody else who would. ± 25 %. */
const LOST_DIAL_MS = 60_000;
/** Whoever has only us for so long, in spite of those it was told of, cannot reach them. */
const STRANDED_MS = 30_000;
/** How often others hear how many neighbours this node has, if that changed. */
const DEGREE_MS = 10_000;
/** Links that both ends can spare are given up one at a time, when they are older than this. */
const SPARE_MS = 120_000;

export type NeighbourDeps = {
  self: NodeId;
  clock: Clock;
  random: Random;
  /** The own site once this node is a member, which is when it starts to dial. */
  ownSite: () => string | undefined;
  /** The site that is signed for a peer, as far as this node knows its member document: it counts, whatever others say. */
  siteOf: (peer: NodeId) => string | undefined;
  /** Whether a node is to have links to other sites; one that is not gets them only while it has none at home. Default: everybody is. */
  leavesSite?: (node: NodeId) => boolean;
  /** Addresses from the token and the charter. */
  seeds: () => readonly string[];
  /** Whether a link carries more than the session; then it is not given up. */
  isBusy: (peer: NodeId) => boolean;
  readAddress?: typeof nodeIdIn;
};

/** How many neighbours of the own site and of others. */
type Census = { here: number; elsewhere: number };

/** `degree`: what it said; `told`: what it was told of ours. */
type Neighbour = { hint: Hint; upMs: number; degree: number | undefined; told: number };

/**
 * Whom to keep as neighbours: a few of the own site, a few at random from others, and a bounded number in all. Who has too few
 * dials; who has too many lets one go that has enough others; whoever comes is taken and told of others first. Lost ones
 * are looked for again and again, which is what heals a cut. No I/O: `step` says what to do.
 */
export class Neighbours {
  readonly book: AddressBook;
  readonly #deps: NeighbourDeps;
  readonly #options: NeighbourOptions;
  readonly #up = new Map<NodeId, Neighbour>();
  readonly #dialling = new Set<NodeId>();
  readonly #news = new Set<NodeId>(); // came up since the others were told
  #nextLostMs = 0;
  #nextSpareMs = 0;
  #nextDegreeMs = 0;

  constructor(deps: NeighbourDeps, options: Partial<NeighbourOptions> = {}) {
    this.#deps = deps;
    this.#options = { ...DEFAULT_NEIGHBOURS, ...options };
    this.book = new AddressBook(deps.self, deps.clock, deps.readAddress);
  }

  step(event: NeighbourEvent): NeighbourEffect[] {
    switch (event.type) {
      case "look":
        return this.#look();
      case "up":
        return this.#cameUp(event);
      case "down":
        if (this.#up.delete(event.peer)) this.book.lost(event.peer);
        return [];
      case "dialled":
        this.#dialling.delete(event.peer);
        if (event.failure !== undefined) this.book.failed(event.peer, event.failure, this.#deps.random);
        return [];
      case "told":
        for (const { addresses, site } of event.peers) this.book.hint(addresses, site, event.from);
        return [];
      case "degree": {
        const neighbour = this.#up.get(event.from);
        if (neighbour !== undefined) neighbour.degree = event.degree;
        return [];
      }
      case "parted":
        this.#forget(event.from);
        return [];
    }
  }

  #cameUp({ peer, addresses, site, dialled }: Extract<NeighbourEvent, { type: "up" }>): NeighbourEffect[] {
    this.book.reached(peer, site, addresses, dialled);
    this.#dialling.delete(peer);
    const others = this.#sample();
    const degree = this.#up.size + 1;
    this.#up.set(peer, { hint: { addresses, site }, upMs: this.#deps.clock.nowMs(), degree: undefined, told: degree });
    this.#news.add(peer);
    const hello: NeighbourEffect[] = others.length === 0 ? [] : [{ type: "tell", to: peer, peers: others }];
    return [...hello, { type: "degree", to: peer, degree }, ...this.#keepBound(peer)];
  }

  #look(): NeighbourEffect[] {
    if (this.#deps.ownSite() === undefined) return [];
    return [...this.#keepBound(), ...this.#spare(), ...this.#tellNews(), ...this.#tellDegree(), ...this.#dialDue()];
  }

  /** Lets neighbours go until there are at most `most` besides those that have nobody else. */
  #keepBound(newcomer?: NodeId): NeighbourEffect[] {
    const effects: NeighbourEffect[] = [];
    for (let over = this.#counted() - this.#options.most; over > 0; over--) {
      const candidates = [...this.#up].filter(
        ([peer, n]) => peer !== newcomer && !this.#isStranded(n) && !this.#deps.isBusy(peer),
      );
      const here = candidates.filter(([, { hint }]) => this.#isHere(hint.site));
      const elsewhere = candidates.filter(([, { hint }]) => !this.#isHere(hint.site));
      const { wantedHere, wantedElsewhere } = this.#options;
      const moreHere = elsewhere.length === 0 || here.length * wantedElsewhere > elsewhere.length * wantedHere;
      const from = moreHere ? here : elsewhere;
      const victim = from[this.#deps.random.below(from.length)]?.[0];
      if (victim === undefined) break; // all are in use: the next look tries again
      effects.push(this.#part(victim));
    }
    return effects;
  }

  /** Gives up one link in a while that neither end needs, so that degrees do not drift upward as nodes come and go. */
  #spare(): NeighbourEffect[] {
    const nowMs = this.#deps.clock.nowMs();
    const enough = 1.5 * (this.#options.wantedHere + this.#options.wantedElsewhere);
    const isAtHome = !this.#leaves(this.#deps.self) && this.#census().here > 0;
    if ((this.#up.size <= enough && !isAtHome) || nowMs < this.#nextSpareMs) return [];
    this.#nextSpareMs = nowMs + this.#jittered(SPARE_MS);
    const spare = [...this.#up].filter(([peer, { degree = 0, upMs, hint }]) => {
      const isMisplaced = isAtHome && degree > 1 && !this.#isHere(hint.site);
      const isBeyond = this.#up.size > enough && degree > enough;
      return (isMisplaced || isBeyond) && nowMs - upMs > SPARE_MS && !this.#deps.isBusy(peer);
    });
    const victim = spare[this.#deps.random.below(spare.length)]?.[0];
    return victim === undefined ? [] : [this.#part(victim)];
  }

  #part(peer: NodeId): NeighbourEffect {
    this.#forget(peer);
    return { type: "part", peer };
  }

  #forget(peer: NodeId): void {
    this.#up.delete(peer);
    this.book.parted(peer, this.#deps.random);
  }

  #tellNews(): NeighbourEffect[] {
    const fresh = [...this.#news].filter((peer) => this.#up.has(peer)).slice(0, MAX_PEERS_TOLD);
    this.#news.clear();
    const effects: NeighbourEffect[] = [];
    for (const to of this.#up.keys()) {
      const peers = fresh.filter((peer) => peer !== to).flatMap((peer) => this.#hintOf(peer));
      if (peers.length > 0) effects.push({ type: "tell", to, peers });
    }
    return effects;
  }

  /** Small changes are nobody's business. */
  #tellDegree(): NeighbourEffect[] {
    const nowMs = this.#deps.clock.nowMs();
    if (nowMs < this.#nextDegreeMs) return [];
    this.#nextDegreeMs = nowMs + DEGREE_MS;
    const degree = this.#up.size;
    const effects: NeighbourEffect[] = [];
    for (const [to, neighbour] of this.#up) {
      const { told } = neighbour;
      if (Math.abs(degree - told) * 4 <= told && degree > 1 === told > 1) continue;
      neighbour.told = degree;
      effects.push({ type: "degree", to, degree });
    }
    return effects;
  }

  #dialDue(): NeighbourEffect[] {
    const { random, clock, seeds } = this.#deps;
    const lostIsDue = clock.nowMs() >= this.#nextLostMs;
    const around = this.#census();
    if (!lostIsDue && this.#isEnough(around)) return [];
    this.book.hint(seeds().filter((seed) => this.book.get(seed.slice(seed.lastIndexOf("/") + 1)) === undefined));
    const alone = this.#up.size === 0;
    const due = [...this.book.peers()]
      .filter((peer) => !this.#up.has(peer.nodeId) && !this.#dialling.has(peer.nodeId) && this.book.isDue(peer, alone))
      .map((peer) => ({ peer, chance: random.unit() }))
      .toSorted((a, b) => a.peer.failures - b.peer.failures || a.chance - b.chance)
      .map(({ peer }) => peer);
    const plan = this.#fillUp(
      around,
      due.filter(({ nodeId }) => this.#livesHere(nodeId)),
      due.filter(({ nodeId }) => !this.#livesHere(nodeId) && this.#leaves(nodeId)),
    );
    const lost = due.find((peer) => peer.lost && !plan.includes(peer));
    if (lostIsDue && plan.length === 0) {
      this.#nextLostMs = clock.nowMs() + this.#jittered(LOST_DIAL_MS);
      if (lost !== undefined) plan.push(lost);
    }
    for (const { nodeId } of plan) this.#dialling.add(nodeId);
    return plan.map(({ nodeId: peer, addresses }) => ({ type: "dial", peer, addresses }));
  }

  /** Neighbours that there are or will be, by share. */
  #census(): Census {
    let here = 0;
    for (const { hint } of this.#up.values()) if (this.#isHere(hint.site)) here += 1;
    for (const peer of this.#dialling) if (this.#livesHere(peer)) here += 1;
    return { here, elsewhere: this.#up.size + this.#dialling.size - here };
  }

  #isEnough({ here, elsewhere }: Census): boolean {
    const { wantedHere, wantedElsewhere } = this.#options;
    if (!this.#leaves(this.#deps.self)) return here >= wantedHere + wantedElsewhere;
    return here + elsewhere >= wantedHere + wantedElsewhere && elsewhere >= wantedElsewhere;
  }

  /** Fills the share that is further behind, from the other one where it lacks peers; other sites get theirs in any case. */
  #fillUp({ here, elsewhere }: Census, atHome: KnownPeer[], abroad: KnownPeer[]): KnownPeer[] {
    const { wantedHere, wantedElsewhere } = this.#options;
    const plan: KnownPeer[] = [];
    const staysHome = !this.#leaves(this.#deps.self);
    if (staysHome && (here + atHome.length > 0 || elsewhere >= wantedElsewhere)) abroad = [];
    while (this.#dialling.size + plan.length < MAX_DIALS && !this.#isEnough({ here, elsewhere })) {
      const isFull = here + elsewhere >= wantedHere + wantedElsewhere;
      const abroadFirst = isFull || here * wantedElsewhere > elsewhere * wantedHere;
      const peer =
        (abroadFirst ? abroad : atHome).shift() ?? (isFull ? undefined : (abroadFirst ? atHome : abroad).shift());
      if (peer === undefined) break;
      plan.push(peer);
      if (this.#livesHere(peer.nodeId)) here += 1;
      else elsewhere += 1;
    }
    return plan;
  }

  #leaves(node: NodeId): boolean {
    return this.#deps.leavesSite?.(node) ?? true;
  }

  /** Of a peer that is no neighbour. */
  #livesHere(peer: NodeId): boolean {
    return this.#isHere(this.#deps.siteOf(peer) ?? this.book.get(peer)?.site);
  }

  #isHere(site: string | undefined): boolean {
    return site !== undefined && site === this.#deps.ownSite();
  }

  /** It has nobody else, and those it was told of do not answer it. */
  #isStranded({ degree, upMs }: Neighbour): boolean {
    return degree !== undefined && degree <= 1 && this.#deps.clock.nowMs() - upMs >= STRANDED_MS;
  }

  /** Neighbours that count towards the bound. */
  #counted(): number {
    let count = 0;
    for (const neighbour of this.#up.values()) if (!this.#isStranded(neighbour)) count += 1;
    return count;
  }

  /** Random neighbours, to tell somebody of. Only neighbours of one's own: a hint is at most one hop from who vouches for it. */
  #sample(): Hint[] {
    const all = [...this.#up.keys()];
    const chosen: NodeId[] = [];
    while (all.length > 0 && chosen.length < MAX_PEERS_TOLD)
      chosen.push(...all.splice(this.#deps.random.below(all.length), 1));
    return chosen.flatMap((peer) => this.#hintOf(peer));
  }

  #hintOf(peer: NodeId): Hint[] {
    const hint = this.#up.get(peer)?.hint;
    return hint === undefined || hint.addresses.length === 0 ? [] : [hint];
  }

  #jittered(ms: number): number {
    return ms * (0.75 + this.#deps.random.unit() / 2);
  }
}
