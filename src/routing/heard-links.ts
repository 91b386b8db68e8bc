import type { Clock } from "#core";
import type { NodeId } from "#identity";
import type { LinkTerms } from "./link-cost.ts";
import { penaltyAfter } from "./link-penalty.ts";
import type { Advertisement } from "./link-state.ts";

/** What a node told, and when that was heard. `settled`: none of its links costs more any longer for having come up lately. */
type Heard<A> = { advertisement: A; atMs: number; settled: boolean };

/** What makes links other than they were, besides what was told. */
export type Changes = {
  /** This node's links, as its own paths go by them. */
  own: ReadonlyMap<NodeId, LinkTerms>;
  isMember: (node: NodeId) => boolean;
  /** Penalties are to be worked out anew. */
  isFaded: boolean;
  /** Operators ask something else of links, or somebody is a member that was none. */
  isRuled: boolean;
};

/**
 * What nodes told of their links on one topic, each the last, as it is by now. What comes is kept unread until it is worked in. A neighbour of
 * this node is there also while it has not told of the link itself.
 */
export class HeardLinks<A extends Advertisement> {
  readonly #clock: Clock;
  readonly #self: NodeId;
  readonly #read: (value: unknown, origin: NodeId) => A;
  readonly #speaks: (node: NodeId) => boolean;
  readonly #news = new Map<NodeId, { value: unknown; atMs: number }>();
  readonly #heard = new Map<NodeId, Heard<A>>();
  /** `undefined` until anything is worked in. */
  #own: ReadonlyMap<NodeId, LinkTerms> | undefined;
  #vouched: ReadonlySet<NodeId> = new Set();

  /** `read` gives something for any value. `speaks`: who tells of its links on this topic, as far as this node's neighbours go. */
  constructor(
    deps: { clock: Clock; self: NodeId },
    read: (value: unknown, origin: NodeId) => A,
    speaks: (node: NodeId) => boolean = () => true,
  ) {
    this.#clock = deps.clock;
    this.#self = deps.self;
    this.#read = read;
    this.#speaks = speaks;
  }

  hear(origin: NodeId, value: unknown): void {
    if (origin !== this.#self) this.#news.set(origin, { value, atMs: this.#clock.nowMs() });
  }

  /** What this node knows of itself. */
  set(advertisement: A): void {
    const settled = this.#heard.get(this.#self)?.settled ?? false;
    this.#heard.set(this.#self, { advertisement, atMs: this.#clock.nowMs(), settled });
  }

  /** Works in what was heard since the last time. Returns whose links may be other than before: nobody's, most times that a way is asked for. */
  workIn({ own, isMember, isFaded, isRuled }: Changes): Set<NodeId> {
    const isOwnNew = this.#own === undefined || !areSame(this.#own, own);
    const changed = new Set(isOwnNew ? [this.#self] : []);
    for (const [origin, { value, atMs }] of this.#news) {
      changed.add(origin);
      this.#heard.set(origin, { advertisement: this.#read(value, origin), atMs, settled: false });
    }
    this.#news.clear();
    for (const origin of this.#heard.keys()) {
      const isGone = origin !== this.#self && !isMember(origin);
      if (isGone || isRuled || (isFaded && this.#heard.get(origin)?.settled === false)) changed.add(origin);
      if (isGone) this.#heard.delete(origin);
    }
    if (changed.size === 0 && !isOwnNew && !isRuled) return changed;
    const before = this.#vouched;
    this.#own = own;
    this.#vouched = new Set([...own.keys()].filter((peer) => this.#speaks(peer) && !this.#tells(peer, this.#self)));
    return changed.union(isOwnNew ? before.union(this.#vouched) : before.symmetricDifference(this.#vouched));
  }

  /** Those of whom anything is known. */
  origins(): Set<NodeId> {
    return new Set(this.#heard.keys()).union(this.#vouched);
  }

  /** What a node told; its penalties are those of that moment. */
  get(origin: NodeId): A | undefined {
    return this.#heard.get(origin)?.advertisement;
  }

  /** What is known of one link, as it is by now. */
  termsOf(from: NodeId, to: NodeId): LinkTerms | undefined {
    const heard = this.#heard.get(from);
    const terms = heard?.advertisement.links.get(to);
    if (heard === undefined || terms === undefined)
      return to === this.#self && this.#vouched.has(from) ? this.#own?.get(from) : undefined;
    return terms.penalty === 0 ? terms : this.#faded(terms, heard.atMs);
  }

  /** What is known of a node's links, as they are by now. */
  linksOf(origin: NodeId): Map<NodeId, LinkTerms> {
    const links = new Map<NodeId, LinkTerms>();
    const heard = this.#heard.get(origin);
    const toUs = this.termsOf(origin, this.#self);
    if (toUs !== undefined) links.set(this.#self, toUs);
    if (heard === undefined) return links;
    heard.settled = toUs === undefined || toUs.penalty === 0;
    for (const [peer, told] of heard.advertisement.links) {
      const terms = told.penalty === 0 ? told : this.#faded(told, heard.atMs);
      links.set(peer, terms);
      if (terms.penalty > 0) heard.settled = false;
    }
    return links;
  }

  #faded(terms: LinkTerms, toldMs: number): LinkTerms {
    return { ...terms, penalty: penaltyAfter(terms.penalty, this.#clock.nowMs() - toldMs) };
  }

  #tells(from: NodeId, to: NodeId): boolean {
    return this.#heard.get(from)?.advertisement.links.has(to) === true;
  }
}

function areSame(before: ReadonlyMap<NodeId, LinkTerms>, after: ReadonlyMap<NodeId, LinkTerms>): boolean {
  if (before.size !== after.size) return false;
  for (const [peer, a] of after) {
    const b = before.get(peer);
    if (b?.latency !== a.latency || b.loss !== a.loss || b.load !== a.load) return false;
    if (b.money !== a.money || b.penalty !== a.penalty) return false;
  }
  return true;
}
