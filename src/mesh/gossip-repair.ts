import { type Clock, RateLimit } from "#core";
import type { NodeId } from "#identity";
import { z } from "zod";
import type { Host, Session } from "./host.ts";
import { Count, MAX_STATEMENT_BYTES, Origin, statementKey, type StatementVersion, Tag, Topic } from "./statement.ts";
import { BUCKET_BYTES, BUCKETS, type HeldStatement, lackedBy, type StatementTable } from "./statement-table.ts";

/** Whom statements are for: the names of all session messages about them begin with it (docs/spec/gossip.md). */
export type GossipScope = "gossip" | "site-gossip";
/** Messages of a comparison, in order. */
type Step = "digest" | "versions" | "want" | "statements";

/** Versions in one message, of whole buckets; at most 350 KiB of the 512 KiB that a message may have. */
const MAX_VERSIONS = 2_048;
const MAX_WANTED = 1_024;
const MAX_MESSAGE_BYTES = 256 * 1024;
/** Requests of one comparison; what is wanting then comes with the next. */
const MAX_REQUESTS = 64;
/** A neighbour that answers a comparison so late is left for the next. */
const ANSWER_MS = 5_000;
/** Comparisons that one neighbour may ask for: it needs one every 20 s, and three at its start. */
const COMPARISONS_PER_SECOND = 1;
const MAX_COMPARISONS_AT_ONCE = 8;
/** What one neighbour may have sent to it: a fleet of 300 that says 24 KiB each at once, and one that says 1 KiB every second after. */
const BYTES_PER_SECOND = 256 * 1024;
const MAX_BYTES_AT_ONCE = 8 * 1024 * 1024;

/** Without a reason of ours an abort makes an exception with a stack each time. */
const DONE = "done";

const Digest = z.strictObject({
  buckets: z.instanceof(Uint8Array).refine((bytes) => bytes.length === BUCKETS * BUCKET_BYTES),
});
const Versions = z.strictObject({
  buckets: z
    .array(
      z
        .int()
        .min(0)
        .max(BUCKETS - 1),
    )
    .max(BUCKETS),
  versions: z.array(z.tuple([Topic, Origin, Count, Count, Tag])).max(MAX_VERSIONS),
});
const Want = z.strictObject({ keys: z.array(z.tuple([Topic, Origin])).max(MAX_WANTED) });
const Statements = z.strictObject({
  statements: z
    .array(z.instanceof(Uint8Array).refine((encoded) => encoded.length <= MAX_STATEMENT_BYTES))
    .max(MAX_WANTED),
});

type Deps = {
  host: Pick<Host, "session" | "onMessage" | "disconnect">;
  scope: GossipScope;
  clock: Clock;
  table: StatementTable;
  /** Whether this node would keep a statement of this version. */
  isWanted: (version: StatementVersion) => boolean;
  /** Keeps a statement if it should; gives back which it is, if that could be read. */
  take: (encoded: Uint8Array, from: Session) => StatementVersion | undefined;
  /** A neighbour compares with this node. */
  asked: (peer: NodeId) => void;
  /** This node compares with a neighbour. */
  asking: (peer: NodeId) => void;
  /** Whom this node compares with once its first comparison is over: what came with that may be news to them, and they may have asked before. */
  feeds: () => Iterable<NodeId>;
};

/** The comparison that this node has under way. `wanted`: what is still to come, by key; undefined until the peer has told its versions. */
type Comparison = {
  peer: NodeId;
  wanted: Map<string, StatementVersion> | undefined;
  requests: number;
  /** Ends the wait for an answer. */
  done: AbortController;
};
type Allowance = { comparisons: RateLimit; bytes: RateLimit };

/**
 * Makes two neighbours' statements equal (anti-entropy, Demers 1987): one sends a digest, the other its versions where that differs; the
 * first sends what the other lacks, and asks for what it lacks itself. Whoever begins has one comparison under way at a time; the other
 * one remembers nothing.
 */
export class GossipRepair {
  readonly #deps: Deps;
  readonly #due = new Set<NodeId>();
  readonly #allowances = new Map<NodeId, Allowance>();
  #stopped = false;
  #current: Comparison | undefined;
  #isFirst = true;

  constructor(deps: Deps) {
    this.#deps = deps;
    this.#hear("digest", Digest, (session, digest) => this.#tellVersions(session, digest));
    this.#hear("versions", Versions, (session, told) => this.#compare(session, told));
    this.#hear("want", Want, (session, want) => this.#tellStatements(session, want));
    this.#hear("statements", Statements, (session, told) => this.#receive(session, told));
  }

  /** Whether what comes now is new to this node, but hardly to the mesh: it has just come up. */
  get isFirst(): boolean {
    return this.#isFirst;
  }

  /** Compares with a neighbour, when those are done that came before it. */
  compareWith(peer: NodeId): void {
    this.#due.add(peer);
    this.#next();
  }

  /** Does not begin a comparison any more: that would make the neighbour a feed. */
  forget(peer: NodeId): void {
    this.#due.delete(peer);
  }

  down(peer: NodeId): void {
    this.#due.delete(peer);
    this.#allowances.delete(peer);
    if (this.#current?.peer === peer) this.#end();
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    this.#current?.done.abort(DONE);
  }

  #say(session: Session | undefined, step: Step, body: unknown): boolean {
    return session?.send(`${this.#deps.scope}-${step}`, body) === true;
  }

  #hear<T>(step: Step, schema: z.ZodType<T>, then: (session: Session, body: T) => void): void {
    const { host, scope } = this.#deps;
    host.onMessage(`${scope}-${step}`, (session, body) => {
      const parsed = schema.safeParse(body);
      if (parsed.success) then(session, parsed.data);
      else host.disconnect(session.nodeId, "sent a malformed comparison of gossip");
    });
  }

  #next(): void {
    const { host, clock, table } = this.#deps;
    if (this.#current !== undefined || this.#stopped) return;
    for (const peer of this.#due) {
      this.#due.delete(peer);
      if (!this.#say(host.session(peer), "digest", { buckets: table.digest() })) continue;
      this.#deps.asking(peer);
      const done = new AbortController();
      this.#current = { peer, wanted: undefined, requests: 0, done };
      clock.sleep(ANSWER_MS, done.signal).then(
        () => this.#end(),
        () => undefined, // it ended before, or the node stops
      );
      return;
    }
  }

  #end(): void {
    const ended = this.#current;
    ended?.done.abort(DONE);
    this.#current = undefined;
    if (ended?.wanted !== undefined && this.#isFirst) {
      this.#isFirst = false;
      for (const peer of this.#deps.feeds()) this.#due.add(peer); // what came meanwhile was no news, and may be news to them
    }
    this.#next();
  }

  #tellVersions(session: Session, { buckets }: z.infer<typeof Digest>): void {
    const { table, asked } = this.#deps;
    asked(session.nodeId);
    if (!this.#allowance(session.nodeId).comparisons.take()) return;
    const told: z.infer<typeof Versions> = { buckets: [], versions: [] };
    for (const index of table.differing(buckets)) {
      const held = table.inBuckets([index]);
      if (told.versions.length + held.length > MAX_VERSIONS) break; // what is left differs still, and comes with the next
      told.buckets.push(index);
      for (const { topic, origin, boot, seq, tag } of held) told.versions.push([topic, origin, boot, seq, tag]);
    }
    this.#say(session, "versions", told);
  }

  #compare(session: Session, { buckets, versions }: z.infer<typeof Versions>): void {
    const { table, isWanted } = this.#deps;
    const comparison = this.#current;
    if (comparison?.peer !== session.nodeId || comparison.wanted !== undefined) return; // it comes too late
    const theirs = versions.map(([topic, origin, boot, seq, tag]) => ({ topic, origin, boot, seq, tag }));
    const lacked = lackedBy(theirs, table.inBuckets(buckets));
    if (lacked.length > 0) this.#send(session, lacked);
    comparison.wanted = new Map(theirs.filter(isWanted).map((version) => [statementKey(version), version]));
    this.#ask(session, comparison);
  }

  #ask(session: Session, comparison: Comparison): void {
    const wanted = [...(comparison.wanted?.values() ?? [])].slice(0, MAX_WANTED);
    comparison.requests += 1;
    const goesOn = wanted.length > 0 && comparison.requests <= MAX_REQUESTS;
    const keys = wanted.map(({ topic, origin }) => [topic, origin]);
    if (!goesOn || !this.#say(session, "want", { keys })) this.#end();
  }

  #tellStatements(session: Session, { keys }: z.infer<typeof Want>): void {
    this.#send(
      session,
      keys.flatMap(([topic, origin]) => this.#deps.table.get({ topic, origin }) ?? []),
    );
  }

  /** As many as one message holds, and as the neighbour may have. */
  #send(session: Session, statements: readonly HeldStatement[]): void {
    const { bytes } = this.#allowance(session.nodeId);
    const chosen: Uint8Array[] = [];
    let sizeBytes = 0;
    for (const { encoded } of statements.slice(0, MAX_WANTED)) {
      sizeBytes += encoded.length;
      if (sizeBytes > MAX_MESSAGE_BYTES || !bytes.take(encoded.length)) break;
      chosen.push(encoded);
    }
    this.#say(session, "statements", { statements: chosen });
  }

  #receive(session: Session, { statements }: z.infer<typeof Statements>): void {
    const came = statements.flatMap((encoded) => this.#deps.take(encoded, session) ?? []);
    const comparison = this.#current;
    if (comparison?.peer !== session.nodeId || comparison.wanted === undefined) return;
    let wasWanted = false;
    for (const version of came) wasWanted = comparison.wanted.delete(statementKey(version)) || wasWanted;
    if (wasWanted) this.#ask(session, comparison);
    else this.#end();
  }

  #allowance(peer: NodeId): Allowance {
    const { clock } = this.#deps;
    const allowance = this.#allowances.get(peer) ?? {
      comparisons: new RateLimit(clock, COMPARISONS_PER_SECOND, MAX_COMPARISONS_AT_ONCE),
      bytes: new RateLimit(clock, BYTES_PER_SECOND, MAX_BYTES_AT_ONCE),
    };
    this.#allowances.set(peer, allowance);
    return allowance;
  }
}
