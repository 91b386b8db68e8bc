import type { DatabaseSync } from "node:sqlite";
import type { ArtifactContent } from "#artifacts";
import type { Clock } from "#core";
import type { NodeId } from "#identity";
import type { Gossip } from "#mesh";
import { z } from "zod";

/** What one node has of one version of an artifact. Byte counts are payload that came over the mesh. */
export type Copy = {
  /** Artifact name and document version. */
  name: string;
  version: number;
  state: "waiting" | "transferring" | "complete" | "failed";
  bytes: number;
  bytesFromSite: number;
  bytesFromWan: number;
  /** Unix milliseconds by the node's own trusted time. */
  startedMs?: number;
  finishedMs?: number;
  reason?: string;
};

/** A node's own copy also knows which neighbours its bytes came from, and what it consists of, also when its document is gone. */
export type OwnCopy = Copy & { sources: ReadonlyMap<NodeId, number>; content: ArtifactContent };

const TOPIC = "copies";
/** Copies in one report: the newest; about 120 bytes each, so a report stays within a statement. */
const MAX_REPORTED = 200;
/** Progress is told at most so often. */
const REPORT_MS = 500;

const bytes = z.int().min(0);
const Report = z
  .array(
    z.strictObject({
      name: z.string().max(128),
      version: z.int().min(1),
      state: z.enum(["waiting", "transferring", "complete", "failed"]),
      bytes,
      bytesFromSite: bytes,
      bytesFromWan: bytes,
      startedMs: bytes.optional(),
      finishedMs: bytes.optional(),
      reason: z.string().max(200).optional(),
    }),
  )
  .max(MAX_REPORTED);

/** Who has what: this node's own copies, on disk, and what the others report of theirs. */
export class Copies {
  readonly #db: DatabaseSync;
  readonly #clock: Clock;
  readonly #own = new Map<string, OwnCopy>();
  readonly #reports = new Map<NodeId, Copy[]>();
  readonly #listeners = new Set<() => void>();
  #gossip: Gossip | undefined;
  #scheduled: AbortController | undefined;

  constructor(db: DatabaseSync, clock: Clock) {
    this.#db = db;
    this.#clock = clock;
    db.exec("CREATE TABLE IF NOT EXISTS copies (name TEXT PRIMARY KEY, copy TEXT NOT NULL) STRICT");
    for (const row of db.prepare("SELECT copy FROM copies ORDER BY rowid").all()) {
      const { sources, ...copy } = JSON.parse(row.copy as string) as Omit<OwnCopy, "sources"> & {
        sources: [NodeId, number][];
      };
      this.#own.set(copy.name, { ...copy, sources: new Map(sources) });
    }
  }

  /** Tells the mesh about this node's copies from now on, and hears about the others'. */
  connect(gossip: Gossip): void {
    this.#gossip = gossip;
    gossip.on(TOPIC, ({ origin, value }) => {
      const report = Report.safeParse(value);
      if (!report.success) return;
      this.#reports.set(origin, report.data as Copy[]);
      this.#changed();
    });
    this.#reportSoon();
  }

  own(name: string): OwnCopy | undefined {
    return this.#own.get(name);
  }

  allOwn(): OwnCopy[] {
    return [...this.#own.values()];
  }

  /** What another node says it has of this version. */
  of(node: NodeId, name: string, version: number): Copy | undefined {
    return this.#reports.get(node)?.find((copy) => copy.name === name && copy.version === version);
  }

  /** Nodes that say they have, or are getting, this version. */
  holders(name: string, version: number): NodeId[] {
    return [...this.#reports]
      .filter(([, report]) => report.some((c) => c.name === name && c.version === version && c.bytes > 0))
      .map(([node]) => node);
  }

  /** Notes how this node's copy stands. A change of state is on disk before it returns; progress is only told. */
  set(copy: OwnCopy): void {
    const before = this.#own.get(copy.name);
    this.#own.delete(copy.name); // the newest is last, and told first
    this.#own.set(copy.name, copy);
    if (before?.state !== copy.state || before.version !== copy.version) {
      const text = JSON.stringify({ ...copy, sources: [...copy.sources] });
      this.#db.prepare("INSERT OR REPLACE INTO copies (name, copy) VALUES (?, ?)").run(copy.name, text);
    }
    this.#changed();
    this.#reportSoon();
  }

  delete(name: string): void {
    this.#own.delete(name);
    this.#db.prepare("DELETE FROM copies WHERE name = ?").run(name);
    this.#changed();
    this.#reportSoon();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  [Symbol.dispose](): void {
    this.#scheduled?.abort();
    this.#gossip = undefined;
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  #reportSoon(): void {
    if (this.#gossip === undefined || this.#scheduled !== undefined) return;
    const scheduled = new AbortController();
    this.#scheduled = scheduled;
    this.#clock.sleep(REPORT_MS, scheduled.signal).then(
      () => {
        this.#scheduled = undefined;
        const newest = [...this.#own.values()].slice(-MAX_REPORTED);
        this.#gossip?.publish(
          TOPIC,
          newest.map(({ sources: _sources, content: _content, ...copy }) => copy),
        );
      },
      () => undefined, // the node stops
    );
  }
}
