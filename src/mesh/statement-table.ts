import { hash } from "node:crypto";
import { encodeCbor } from "#core";
import type { NodeId } from "#identity";
import { isLater, statementKey, type StatementVersion } from "./statement.ts";

/** Statements kept: topics × nodes of the largest single-area fleet, with room. */
const MAX_STATEMENTS = 4_096;
/** Topics of one origin: three times what there is; nobody shuts the others out by topics that it makes up. */
const MAX_TOPICS = 16;
/** Parts in which two tables are compared: a fleet of 300 has some 15 statements in each. */
export const BUCKETS = 64;
/** Enough to tell two parts apart; who finds two that look alike hides a difference for one round. */
export const BUCKET_BYTES = 8;

/** `encoded`: the statement, signature and all; `id`: that of those bytes. */
export type HeldStatement = StatementVersion & { encoded: Uint8Array; id: string };
/** `isDigested`: its part of the digest is that of what it holds now. */
type Bucket = { held: Map<string, HeldStatement>; isDigested: boolean };
/** In which bucket a statement stands. */
type Place = { statement: HeldStatement; bucket: Bucket };

/** The newest statement of each origin on each topic, in parts that two nodes can compare by digest. No I/O. */
export class StatementTable {
  readonly #buckets: readonly Bucket[] = Array.from({ length: BUCKETS }, () => ({
    held: new Map(),
    isDigested: false,
  }));
  readonly #digest = new Uint8Array(BUCKETS * BUCKET_BYTES);
  readonly #places = new Map<string, Place>();
  readonly #ids = new Set<string>();
  readonly #topics = new Map<NodeId, number>();

  get(key: { topic: string; origin: NodeId }): HeldStatement | undefined {
    return this.#places.get(statementKey(key))?.statement;
  }

  /** Whether this very statement is here. */
  has(id: string): boolean {
    return this.#ids.has(id);
  }

  /** Takes the place of what the origin said before on this topic, with its bytes in memory of their own. `false`: there is no room for another one. */
  put({ topic, origin, boot, seq, tag, encoded, id }: HeldStatement): boolean {
    const statement = { topic, origin, boot, seq, tag, encoded: new Uint8Array(encoded), id };
    const name = statementKey(statement);
    const before = this.#places.get(name);
    if (before === undefined && !this.#admit(statement.origin)) return false;
    if (before !== undefined) this.#ids.delete(before.statement.id);
    const bucket = before?.bucket ?? this.#bucketOf(name);
    this.#places.set(name, { statement, bucket });
    this.#ids.add(statement.id);
    bucket.held.set(name, statement);
    bucket.isDigested = false;
    return true;
  }

  #admit(origin: NodeId): boolean {
    const topics = this.#topics.get(origin) ?? 0;
    if (this.#ids.size >= MAX_STATEMENTS || topics >= MAX_TOPICS) return false;
    this.#topics.set(origin, topics + 1);
    return true;
  }

  *all(): Generator<HeldStatement> {
    for (const { held } of this.#buckets) yield* held.values();
  }

  /** Forgets what was said by origins of which this does not hold. */
  keepOnly(stays: (origin: NodeId) => boolean): void {
    const gone = new Set([...this.#topics.keys()].filter((origin) => !stays(origin)));
    if (gone.size === 0) return;
    for (const bucket of this.#buckets) {
      for (const [name, { origin, id }] of bucket.held) {
        if (!gone.has(origin)) continue;
        bucket.held.delete(name);
        bucket.isDigested = false;
        this.#places.delete(name);
        this.#ids.delete(id);
      }
    }
    for (const origin of gone) this.#topics.delete(origin);
  }

  /** One digest after the other, over the versions in each bucket: 64 × 8 bytes. */
  digest(): Uint8Array {
    for (const [i, bucket] of this.#buckets.entries()) {
      if (!bucket.isDigested) this.#digest.set(digestOf(bucket), i * BUCKET_BYTES);
      bucket.isDigested = true;
    }
    return this.#digest.slice();
  }

  /** Buckets that differ from another table's. `theirs`: what `digest` gave there. */
  differing(theirs: Uint8Array): number[] {
    const ours = this.digest();
    const differ = new Set<number>();
    for (const [at, byte] of ours.entries()) if (theirs[at] !== byte) differ.add(Math.floor(at / BUCKET_BYTES));
    return [...differ];
  }

  /** What stands in some of the buckets. */
  inBuckets(indexes: readonly number[]): HeldStatement[] {
    return indexes.flatMap((index) => [...(this.#buckets[index]?.held.values() ?? [])]);
  }

  #bucketOf(name: string): Bucket {
    const [first = 0] = hash("sha256", name, "buffer");
    return this.#buckets[first % BUCKETS] as Bucket;
  }
}

function digestOf({ held }: Bucket): Uint8Array {
  const versions = [...held]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { topic, origin, boot, seq, tag }]) => [topic, origin, boot, seq, tag]);
  return hash("sha256", encodeCbor(versions), "buffer").subarray(0, BUCKET_BYTES);
}

/** Those of `held` that somebody who has `theirs` lacks. */
export function lackedBy(theirs: readonly StatementVersion[], held: readonly HeldStatement[]): HeldStatement[] {
  const known = new Map(theirs.map((version) => [statementKey(version), version]));
  return held.filter((statement) => {
    const version = known.get(statementKey(statement));
    return version === undefined || isLater(statement, version);
  });
}
