import { type Clock, decodeCbor, type Ed25519Key, encodeCbor, type Random, RateLimit } from "#core";
import { type NodeId, nodeIdOf } from "#identity";
import { type FeedChange, Feeds } from "./feeds.ts";
import { GossipRepair, type GossipScope } from "./gossip-repair.ts";
import type { Host, Session } from "./host.ts";
import {
  isLater,
  isSigned,
  MAX_VALUE_BYTES,
  readStatement,
  signStatement,
  statementId,
  type Statement,
  type StatementVersion,
  tagOf,
} from "./statement.ts";
import { type HeldStatement, StatementTable } from "./statement-table.ts";

/** How often a node gives up a feed for another and compares what it has with it; ± 50 %. An idle node is to send little. */
const TURN_MS = 20_000;
/** What a newcomer says may overtake the document that makes it a member, which is here by then (src/mesh/replica.ts). */
const CATCH_UP_MS = 2_000;
/** How often a node goes above somebody who speaks in its name; two machines with one key would go on for ever. */
const MAX_OUTBIDS = 8;
/** Statements one neighbour may send: a fleet of 300 that reports once a second, with room. What is beyond comes with a later comparison. */
const STATEMENTS_PER_SECOND = 1_000;

/** One origin's newest word on a topic. */
export type Heard = { origin: NodeId; value: unknown };

/** The neighbours that statements come from and go to. */
export type GossipHost = Pick<Host, "session" | "sessions" | "onSession" | "onMessage" | "disconnect">;

type Deps = {
  host: GossipHost;
  /** Default: `gossip`, which is for everybody. */
  scope?: GossipScope;
  key: Ed25519Key;
  /** Higher than at every earlier start of this node that its data directory knows of. */
  boot: number;
  /**
   * The mesh had a newer word of this node than its own; it goes above that, to `boot`. That may be a data directory put back from a
   * backup under a clock that is wrong, too. `answers`: how often somebody went just above what this node had gone to, as only who lives does.
   */
  outbid?: (boot: number, answers: number) => void;
  /** What statements are signed for, so that they count nowhere else; `undefined` before this node belongs to it. */
  fleet: () => string | undefined;
  /** Where this node is, once it is a member. */
  site: () => string | undefined;
  isMember: (node: NodeId) => boolean;
  clock: Clock;
  random: Random;
};

/**
 * The newest signed statement of every node on every topic: what changes often, concerns everybody and need not survive a restart (states
 * of copies, link states). News goes over feeds; neighbours' tables are made equal now and then. Documents are for what must be
 * agreed and kept.
 */
export class Gossip {
  readonly #deps: Deps;
  readonly #self: NodeId;
  /** Session message that carries one statement, to whom it is news as far as the sender knows. */
  readonly #newsMessage: string;
  /** Session message: the receiver is the sender's feed no longer. */
  readonly #unfeedMessage: string;
  #boot: number;
  #seq = 0;
  #outbids = 0;
  #answers = 0;
  readonly #table = new StatementTable();
  readonly #feeds: Feeds;
  readonly #repair: GossipRepair;
  readonly #listeners = new Map<string, Set<(heard: Heard) => void>>();
  readonly #past = new Map<string, () => void>();
  readonly #unsaid = new Map<string, unknown>();
  readonly #limits = new Map<NodeId, RateLimit>();
  readonly #unlisten: () => void;
  readonly #stopping = new AbortController();
  #catchingUp = false;

  constructor(deps: Deps) {
    this.#deps = deps;
    const { host, clock, random, scope = "gossip" } = deps;
    this.#newsMessage = scope;
    this.#unfeedMessage = `${scope}-unfeed`;
    this.#self = nodeIdOf(deps.key.publicKey);
    this.#boot = deps.boot;
    this.#feeds = new Feeds(random);
    this.#repair = new GossipRepair({
      host,
      scope,
      clock,
      table: this.#table,
      isWanted: (version) => this.#isNewer(version) && deps.isMember(version.origin),
      take: (encoded, from) =>
        this.#limit(from.nodeId).take() ? this.#take(encoded, from, !this.#repair.isFirst) : undefined,
      asked: (peer) => this.#feeds.pickedBy(peer, true),
      asking: (peer) => this.#pickOnly(peer),
      feeds: () => this.#feeds.all(),
    });
    host.onMessage(this.#newsMessage, (session, body) => {
      if (body instanceof Uint8Array) this.#takeNew(body, session, true);
      else host.disconnect(session.nodeId, "sent a malformed statement");
    });
    host.onMessage(this.#unfeedMessage, ({ nodeId }) => this.#feeds.pickedBy(nodeId, false));
    this.#unlisten = host.onSession((session, event) => (event === "up" ? this.#up() : this.#down(session.nodeId)));
    void this.#takeTurns();
  }

  /** Says something new on a topic; it replaces what this node said before. Before this node belongs to a fleet it waits. */
  publish(topic: string, value: unknown): void {
    const fleet = this.#deps.fleet();
    if (fleet === undefined) {
      this.#unsaid.set(topic, value);
      return;
    }
    const statement = { topic, origin: this.#self, boot: this.#boot, seq: ++this.#seq, value: encodeCbor(value) };
    const encoded = signStatement(this.#deps.key, fleet, statement);
    const id = statementId(encoded);
    this.#keep({ ...statement, tag: tagOf(id), encoded, id }, value, undefined, true);
  }

  /** Newest statements on a topic, by origin. */
  latest(topic: string): Heard[] {
    return [...this.#table.all()].filter((held) => held.topic === topic).map(heardIn);
  }

  /** The newest statement of an origin on a topic, as it is sent; `undefined` where none is here. */
  said(topic: string, origin: NodeId): Uint8Array | undefined {
    return this.#table.get({ topic, origin })?.encoded;
  }

  /** Takes in a statement that a neighbour gave on request, judged as all are; it is not passed on as news. */
  take(encoded: Uint8Array, from: Session): void {
    this.#takeNew(encoded, from, false);
  }

  /** Most statements that come were here before, and are not worth reading. */
  #takeNew(encoded: Uint8Array, from: Session, isNews: boolean): void {
    if (!this.#limit(from.nodeId).take()) return;
    const id = statementId(encoded);
    if (!this.#table.has(id)) this.#take(encoded, from, isNews, id);
  }

  /** Calls back for each newer statement on a topic, also this node's own. Returns how to stop. */
  on(topic: string, listener: (heard: Heard) => void): () => void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** Calls back when others know what this node said on a topic before it started, on which it has said nothing since. Returns how to stop. */
  onPast(topic: string, listener: () => void): () => void {
    this.#past.set(topic, listener);
    return () => this.#past.delete(topic);
  }

  [Symbol.dispose](): void {
    this.#unlisten();
    this.#stopping.abort();
    this.#repair[Symbol.dispose]();
  }

  #up(): void {
    for (const [topic, value] of this.#unsaid) this.publish(topic, value);
    this.#unsaid.clear();
    this.#change(this.#feeds.fill(this.#deps.host.sessions(), this.#deps.site()));
  }

  #down(peer: NodeId): void {
    this.#limits.delete(peer);
    this.#feeds.down(peer);
    this.#repair.down(peer);
    this.#change(this.#feeds.fill(this.#deps.host.sessions(), this.#deps.site()));
  }

  /** A comparison tells a neighbour that it was picked. */
  #change({ picked, dropped }: FeedChange): void {
    for (const peer of dropped) {
      this.#repair.forget(peer);
      this.#deps.host.session(peer)?.send(this.#unfeedMessage, undefined);
    }
    for (const peer of picked) this.#repair.compareWith(peer);
  }

  /** A digest makes its receiver a feed, which it is to be only if it was picked. */
  #pickOnly(peer: NodeId): void {
    if (!this.#feeds.hasPicked(peer)) this.#deps.host.session(peer)?.send(this.#unfeedMessage, undefined);
  }

  async #takeTurns(): Promise<void> {
    const { clock, random, host, site, isMember } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await clock.sleep(TURN_MS * (0.5 + random.unit()), signal).catch(() => undefined);
      if (signal.aborted) return;
      this.#table.keepOnly((origin) => origin === this.#self || isMember(origin));
      const change = this.#feeds.turn(host.sessions(), site());
      this.#change(change);
      const feed = change.picked.length === 0 ? this.#feeds.any() : undefined;
      if (feed !== undefined) this.#repair.compareWith(feed);
    }
  }

  /** `isNews`: also for the mesh, as far as anybody can tell. Returns which statement it is, unless its bytes make no sense. */
  #take(encoded: Uint8Array, from: Session, isNews: boolean, id = statementId(encoded)): StatementVersion | undefined {
    const { host, fleet, isMember } = this.#deps;
    let statement: Statement;
    try {
      statement = readStatement(encoded);
    } catch {
      host.disconnect(from.nodeId, "sent a malformed statement");
      return undefined;
    }
    const { topic, origin, boot, seq, value } = statement;
    const version = { topic, origin, boot, seq, tag: tagOf(id) };
    if (!this.#isNewer(version)) return version;
    if (!isMember(origin)) {
      if (isNews) this.#catchUpSoon();
      return version;
    }
    if (!isSigned(fleet() ?? "", statement)) {
      host.disconnect(from.nodeId, "passed on a statement with a wrong signature");
      return version;
    }
    if (origin === this.#self) this.#hearOwn(version);
    else this.#hear({ ...version, encoded, id }, value, from.nodeId, isNews);
    return version;
  }

  /** Compares with a feed a little later: it may have what had to be dropped here. */
  #catchUpSoon(): void {
    if (this.#catchingUp) return;
    this.#catchingUp = true;
    this.#deps.clock.sleep(CATCH_UP_MS, this.#stopping.signal).then(
      () => {
        this.#catchingUp = false;
        const feed = this.#feeds.any();
        if (feed !== undefined) this.#repair.compareWith(feed);
      },
      () => undefined, // the node stops
    );
  }

  #hearOwn(version: StatementVersion): void {
    if (isLater(version, this.#said(version))) this.#outbid(version.boot);
    else this.#past.get(version.topic)?.();
  }

  /** What this node said last on a topic; where it said nothing, the last that it said at all, which is as good as any of the same number. */
  #said(version: StatementVersion): Omit<StatementVersion, "topic" | "origin"> {
    return this.#table.get(version) ?? { boot: this.#boot, seq: this.#seq, tag: version.tag };
  }

  /** Somebody said in this node's name what it did not say. */
  #outbid(boot: number): void {
    if (this.#outbids >= MAX_OUTBIDS || !Number.isSafeInteger(boot + 1)) return;
    const isAnswer = this.#outbids > 0 && boot === this.#boot + 1;
    if (isAnswer) this.#answers += 1;
    this.#outbids += 1;
    this.#boot = boot + 1;
    for (const held of [...this.#table.all()]) {
      if (held.origin === this.#self) this.publish(held.topic, heardIn(held).value);
    }
    this.#deps.outbid?.(this.#boot, isAnswer ? this.#answers : 0);
  }

  #isNewer(version: StatementVersion): boolean {
    if (version.origin === this.#self && this.#isPast(version)) return true;
    const known = version.origin === this.#self ? this.#said(version) : this.#table.get(version);
    return known === undefined || isLater(version, known);
  }

  /** Whether somebody here wants to know of what this node said before it started. */
  #isPast(version: StatementVersion): boolean {
    return this.#past.has(version.topic) && this.#table.get(version) === undefined;
  }

  #hear(held: HeldStatement, value: Uint8Array, from: NodeId, isNews: boolean): void {
    let content: unknown;
    try {
      content = decodeCbor(value, MAX_VALUE_BYTES);
    } catch {
      return; // signed nonsense harms only its origin, and is not passed on
    }
    this.#keep(held, content, from, isNews);
  }

  #keep(held: HeldStatement, value: unknown, from: NodeId | undefined, isNews: boolean): void {
    if (!this.#table.put(held)) return;
    if (isNews) this.#push(held.encoded, from);
    for (const listener of this.#listeners.get(held.topic) ?? []) listener({ origin: held.origin, value });
  }

  /** To all feeds but the one it came from; also to its origin, which is to know when it is not the only one to speak in its name. */
  #push(encoded: Uint8Array, from: NodeId | undefined): void {
    for (const peer of this.#feeds.all()) {
      if (peer !== from) this.#deps.host.session(peer)?.send(this.#newsMessage, encoded);
    }
  }

  #limit(peer: NodeId): RateLimit {
    let limit = this.#limits.get(peer);
    if (limit === undefined) {
      limit = new RateLimit(this.#deps.clock, STATEMENTS_PER_SECOND, STATEMENTS_PER_SECOND);
      this.#limits.set(peer, limit);
    }
    return limit;
  }
}

function heardIn({ origin, encoded }: HeldStatement): Heard {
  return { origin, value: decodeCbor(readStatement(encoded).value, MAX_VALUE_BYTES) };
}
