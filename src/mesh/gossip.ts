import { type Clock, type Ed25519Key, encodeCbor, decodeCbor, type Random, RateLimit, verifyEd25519 } from "#core";
import { type NodeId, nodeIdOf, publicKeyOf } from "#identity";
import { z } from "zod";
import type { Host, Session } from "./host.ts";

/** Session message that carries one statement. */
const GOSSIP_MESSAGE = "gossip";
/** Largest value of one statement, in bytes of CBOR. */
export const MAX_STATEMENT_BYTES = 32 * 1024;
/** Statements kept: topics × nodes of the largest single-area fleet, with room. */
const MAX_STATEMENTS = 4_096;
/** Neighbours to whom somebody else's statement on a sparse topic is passed on, picked anew each time. */
const PASS_ON_TO = 3;
/** How often a node goes above somebody who speaks in its name; two machines with one key would go on for ever. */
const MAX_OUTBIDS = 8;
/** Statements one neighbour may send: a fleet of 300 that reports once a second, with room. */
const STATEMENTS_PER_SECOND = 1_000;

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
const Statement = z.strictObject({
  topic: z.string().min(1).max(32),
  origin: z.string().max(64),
  /** Higher at each start of the origin; with `seq` it orders the origin's statements. */
  boot: z.int().min(0),
  seq: z.int().min(0),
  value: bytes.refine((value) => value.length <= MAX_STATEMENT_BYTES, "value is too large"),
  sig: bytes,
});
type Statement = z.infer<typeof Statement>;

/** One origin's newest word on a topic. */
export type Heard = { origin: NodeId; value: unknown };

type Deps = {
  host: Host;
  key: Ed25519Key;
  /** Higher than at every earlier start of this node that its data directory knows of. */
  boot: number;
  /**
   * The mesh had a newer word of this node than its own; it goes above that, to `boot`. That may be a data directory put back from a
   * backup under a clock that is wrong, too. `answers`: how often somebody went just above what this node had gone to, as only who lives does.
   */
  outbid?: (boot: number, answers: number) => void;
  fleet: () => string | undefined;
  isMember: (node: NodeId) => boolean;
  /** Topics on which each node speaks every few seconds: to miss one statement is no loss, so they are not flooded but sown. */
  sparse: ReadonlySet<string>;
  clock: Clock;
  random: Random;
};

/**
 * The newest signed statement of every node on every topic, flooded through the mesh: what changes often, concerns everybody and need not
 * survive a restart (states of copies, link states). Documents are for what must be agreed and kept.
 */
export class Gossip {
  readonly #deps: Deps;
  readonly #self: NodeId;
  #boot: number;
  #outbids = 0;
  #answers = 0;
  readonly #latest = new Map<string, Statement>();
  readonly #values = new Map<string, Heard>();
  readonly #listeners = new Map<string, Set<(heard: Heard) => void>>();
  readonly #unsaid = new Map<string, unknown>();
  readonly #limits = new Map<NodeId, RateLimit>();
  readonly #stop: () => void;
  #seq = 0;

  constructor(deps: Deps) {
    this.#deps = deps;
    this.#self = nodeIdOf(deps.key.publicKey);
    this.#boot = deps.boot;
    deps.host.onMessage(GOSSIP_MESSAGE, (session, body) => this.#receive(session, body));
    this.#stop = deps.host.onSession((session, event) => {
      if (event === "down") {
        this.#limits.delete(session.nodeId);
        return;
      }
      for (const [topic, value] of this.#unsaid) this.publish(topic, value);
      this.#unsaid.clear();
      for (const statement of this.#latest.values()) session.send(GOSSIP_MESSAGE, statement);
    });
  }

  /** Says something new on a topic; it replaces what this node said before. Before this node belongs to a fleet it waits. */
  publish(topic: string, value: unknown): void {
    if (this.#deps.fleet() === undefined) {
      this.#unsaid.set(topic, value);
      return;
    }
    const statement = { topic, origin: this.#self, boot: this.#boot, seq: ++this.#seq, value: encodeCbor(value) };
    this.#keep({ ...statement, sig: this.#deps.key.sign(this.#signedBytes(statement)) }, undefined);
  }

  /** Newest statements on a topic, by origin. */
  latest(topic: string): Heard[] {
    return [...this.#values].filter(([key]) => key.startsWith(`${topic}\n`)).map(([, heard]) => heard);
  }

  /** Calls back for each newer statement on a topic, also this node's own. Returns how to stop. */
  on(topic: string, listener: (heard: Heard) => void): () => void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** Forgets what a node said, when it is revoked or long gone. */
  forget(origin: NodeId): void {
    for (const [key, statement] of this.#latest) {
      if (statement.origin !== origin) continue;
      this.#latest.delete(key);
      this.#values.delete(key);
    }
  }

  [Symbol.dispose](): void {
    this.#stop();
  }

  #signedBytes({ topic, origin, boot, seq, value }: Omit<Statement, "sig">): Uint8Array {
    return encodeCbor(["portolan-gossip-v1", this.#deps.fleet() ?? "", topic, origin, boot, seq, value]);
  }

  #receive(session: Session, body: unknown): void {
    if (!this.#limit(session.nodeId).take()) return; // it comes again with the next statement
    const parsed = Statement.safeParse(body);
    if (!parsed.success) {
      this.#deps.host.disconnect(session.nodeId, "sent a malformed statement");
      return;
    }
    const statement = parsed.data;
    if (!this.#isNewer(statement) || !this.#deps.isMember(statement.origin)) return;
    if (!verifyEd25519(publicKeyOf(statement.origin), this.#signedBytes(statement), statement.sig)) {
      this.#deps.host.disconnect(session.nodeId, "passed on a statement with a wrong signature");
      return;
    }
    if (statement.origin === this.#self) this.#outbid(statement.boot);
    else this.#keep(statement, session.nodeId);
  }

  /** Somebody said in this node's name what it did not say. */
  #outbid(boot: number): void {
    if (this.#outbids >= MAX_OUTBIDS || !Number.isSafeInteger(boot + 1)) return;
    const isAnswer = this.#outbids > 0 && boot === this.#boot + 1;
    if (isAnswer) this.#answers += 1;
    this.#outbids += 1;
    this.#boot = boot + 1;
    for (const [key, { origin, value }] of [...this.#values]) {
      if (origin === this.#self) this.publish(key.slice(0, key.indexOf("\n")), value);
    }
    this.#deps.outbid?.(this.#boot, isAnswer ? this.#answers : 0);
  }

  #isNewer({ topic, origin, boot, seq }: Statement): boolean {
    if (origin === this.#self) return boot > this.#boot || (boot === this.#boot && seq > this.#seq);
    const known = this.#latest.get(`${topic}\n${origin}`);
    return known === undefined || boot > known.boot || (boot === known.boot && seq > known.seq);
  }

  #keep(statement: Statement, from: NodeId | undefined): void {
    const key = `${statement.topic}\n${statement.origin}`;
    const before = this.#latest.get(key);
    if (before === undefined && this.#latest.size >= MAX_STATEMENTS) return;
    let value: unknown;
    try {
      value = decodeCbor(statement.value, MAX_STATEMENT_BYTES);
    } catch {
      return; // signed nonsense harms only its origin, and is not passed on
    }
    const heard = { origin: statement.origin, value };
    this.#latest.set(key, statement);
    this.#values.set(key, heard);
    // whoever else speaks in a neighbour's name shows by another boot, and the neighbour is to know
    const isOther = before !== undefined && before.boot !== statement.boot && from !== statement.origin;
    for (const session of this.#hearers(statement.topic, statement.origin, from, isOther))
      session.send(GOSSIP_MESSAGE, statement);
    for (const listener of this.#listeners.get(statement.topic) ?? []) listener(heard);
  }

  /** All neighbours but those who know; on a sparse topic a few of them. `withOrigin`: who is named as the origin does not know. */
  #hearers(topic: string, origin: NodeId, from: NodeId | undefined, withOrigin: boolean): Session[] {
    const knows = (node: NodeId): boolean => node === from || (node === origin && !withOrigin);
    const others = this.#deps.host.sessions().filter(({ nodeId }) => !knows(nodeId));
    if (origin === this.#self || !this.#deps.sparse.has(topic)) return others;
    const chosen: Session[] = [];
    while (chosen.length < PASS_ON_TO && others.length > 0) {
      chosen.push(...others.splice(this.#deps.random.below(others.length), 1));
    }
    return chosen;
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
