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

/** Every copy, told when one comes, goes or changes its state; and how far those on their way are, told while they are. */
const COPIES = "copies";
const PROGRESS = "progress";
/** Copies in one report: the newest; about 120 bytes each, so a report stays within a statement. */
const MAX_REPORTED = 200;
/** Changes of state within this time are told at once; progress is told so often while few nodes have any, since every node hears every report. */
const COPIES_MS = 250;
const PROGRESS_MS = 4_000;
/** Nodes that have progress to tell at the same time without each telling it less often. */
const FEW = 10;

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
  readonly #progress = new Map<NodeId, Copy[]>();
  readonly #listeners = new Set<() => void>();
  #gossip: Gossip | undefined;
  readonly #scheduled = new Map<string, AbortController>();

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
    const hear = (topic: string, reports: Map<NodeId, Copy[]>): void => {
      gossip.on(topic, ({ origin, value }) => {
        const report = Report.safeParse(value);
        if (!report.success) return;
        reports.set(origin, report.data as Copy[]);
        this.#changed();
      });
    };
    hear(COPIES, this.#reports);
    hear(PROGRESS, this.#progress);
    this.#tellSoon(COPIES, () => COPIES_MS);
  }

  own(name: string): OwnCopy | undefined {
    return this.#own.get(name);
  }

  allOwn(): OwnCopy[] {
    return [...this.#own.values()];
  }

  /** What another node says it has of this version. */
  of(node: NodeId, name: string, version: number): Copy | undefined {
    const isIt = (copy: Copy): boolean => copy.name === name && copy.version === version;
    const told = this.#reports.get(node)?.find(isIt);
    // Progress is told apart from states; once a copy is no longer on its way its state is the newer word.
    return told?.state === "transferring" ? (this.#progress.get(node)?.find(isIt) ?? told) : told;
  }

  /** Nodes that say that they have this version, or some of it. */
  holdersOf(name: string, version: number): NodeId[] {
    const isHeld = (copy: Copy): boolean =>
      copy.name === name && copy.version === version && (copy.state === "complete" || copy.state === "transferring");
    return [...this.#reports].filter(([, copies]) => copies.some(isHeld)).map(([node]) => node);
  }

  /** Notes how this node's copy stands. A change of state is on disk before it returns; progress is only told. */
  set(copy: OwnCopy): void {
    const before = this.#own.get(copy.name);
    this.#own.delete(copy.name); // the newest is last, and told first
    this.#own.set(copy.name, copy);
    if (before?.state !== copy.state || before.version !== copy.version) {
      const text = JSON.stringify({ ...copy, sources: [...copy.sources] });
      this.#db.prepare("INSERT OR REPLACE INTO copies (name, copy) VALUES (?, ?)").run(copy.name, text);
      this.#tellSoon(COPIES, () => COPIES_MS);
    } else {
      this.#tellSoon(PROGRESS, () => PROGRESS_MS * Math.max(1, this.#underWay() / FEW));
    }
    this.#changed();
  }

  delete(name: string): void {
    this.#own.delete(name);
    this.#db.prepare("DELETE FROM copies WHERE name = ?").run(name);
    this.#changed();
    this.#tellSoon(COPIES, () => COPIES_MS);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  [Symbol.dispose](): void {
    for (const scheduled of this.#scheduled.values()) scheduled.abort();
    this.#gossip = undefined;
  }

  /** Nodes that say that they are bringing something just now. */
  #underWay(): number {
    const reports = [...this.#reports.values()];
    return reports.filter((copies) => copies.some(({ state }) => state === "transferring")).length;
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  #tellSoon(topic: string, withinMs: () => number): void {
    if (this.#gossip === undefined || this.#scheduled.has(topic)) return;
    const scheduled = new AbortController();
    this.#scheduled.set(topic, scheduled);
    this.#clock.sleep(withinMs(), scheduled.signal).then(
      () => {
        this.#scheduled.delete(topic);
        const copies = [...this.#own.values()].filter(({ state }) => topic === COPIES || state === "transferring");
        const report = copies.slice(-MAX_REPORTED).map(({ sources: _sources, content: _content, ...copy }) => copy);
        this.#gossip?.publish(topic, report);
      },
      () => undefined, // the node stops
    );
  }
}
