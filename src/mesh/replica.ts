import {
  type ByteStream,
  type Clock,
  errorMessage,
  Fault,
  FrameStream,
  type Log,
  type Random,
  withDeadline,
} from "#core";
import { type DocumentStore, MAX_ENVELOPE_BYTES, type NodeId, SUMMARY_BUCKETS } from "#identity";
import { z } from "zod";
import type { Host, Session } from "./host.ts";

/** Spec: docs/spec/documents.md. */
export const DOCUMENTS_PROTOCOL = "/portolan/documents/1";
/** Session message: the sender's summary of all its documents. */
const SUMMARY_MESSAGE = "docs";

const SUMMARY_BYTES = 32;
const BUCKET_BYTES = 8;
/** Ids asked for in one request, and entries told in one answer. */
const MAX_IDS = 20_000;
const MAX_HEADER_BYTES = 4 * 1024 * 1024;
/** Documents that are kept in one write, and their bytes: each write waits for the disk, and the process for the write. */
const BATCH_DOCUMENTS = 64;
const BATCH_BYTES = 1024 * 1024;

const bytesOf = (length: number) =>
  z.instanceof(Uint8Array).refine((bytes) => bytes.length === length, `${length} bytes`);
const Summary = z.strictObject({ digest: bytesOf(SUMMARY_BYTES) });
const Id = z.string().max(300);
const Compare = z.strictObject({ op: z.literal("compare"), buckets: bytesOf(SUMMARY_BUCKETS * BUCKET_BYTES) });
const Get = z.strictObject({ op: z.literal("get"), ids: z.array(Id).max(MAX_IDS) });
const Request = z.discriminatedUnion("op", [Compare, Get]);
const Entries = z.strictObject({ entries: z.array(z.tuple([Id, z.int().min(1)])).max(MAX_IDS) });
const Item = z.union([z.strictObject({ id: Id }), z.strictObject({ end: z.literal(true) })]);

export type ReplicaOptions = {
  /** Summaries are sent again this often, in case one was lost. */
  repeatMs: number;
  /** A pull waits this long, so that several changes and several tellers make one pull. Half of it is jitter. */
  settleMs: number;
  /** One pull from one peer may take this long. */
  pullMs: number;
};

/** `repeatMs`: one small message a minute keeps an idle node quiet. `settleMs`: well under the 3 s from token to first artifact. */
export const DEFAULT_REPLICA: Readonly<ReplicaOptions> = { repeatMs: 60_000, settleMs: 60, pullMs: 30_000 };

type Deps = {
  host: Host;
  store: DocumentStore;
  clock: Clock;
  random: Random;
  log: Log;
  trustedMs: () => number;
  /** Whether this node may pass on the document with this id to a peer; without it, all. */
  mayTell?: (id: string, peer: NodeId) => boolean;
};

/** Keeps this node's documents equal to its neighbours': each tells its summary, whoever differs pulls. */
export interface Replica extends AsyncDisposable {
  /** Pulls that ended well and brought something, since start. */
  readonly pulls: number;
}

export function startReplica(deps: Deps, options: Partial<ReplicaOptions> = {}): Replica {
  return new RunningReplica(deps, { ...DEFAULT_REPLICA, ...options });
}

class RunningReplica implements Replica {
  readonly #deps: Deps;
  readonly #options: ReplicaOptions;
  readonly #stopping = new AbortController();
  readonly #stops: (() => void)[] = [];
  /** Peers with a pull scheduled or under way; `true`: they told us of another change meanwhile. */
  readonly #pulling = new Map<NodeId, boolean>();
  readonly #work = new Set<Promise<void>>();
  #telling = false;
  pulls = 0;

  constructor(deps: Deps, options: ReplicaOptions) {
    this.#deps = deps;
    this.#options = options;
    const { host, store } = deps;
    const limits = { maxHeaderBytes: MAX_HEADER_BYTES, maxPayloadBytes: 0 };
    const serve = (stream: ByteStream, peer: Session): void =>
      this.#run(this.#serve(new FrameStream(stream, limits), peer));
    host.handle(DOCUMENTS_PROTOCOL, serve, { early: true }); // it brings what a neighbour must know before it settles
    host.onMessage(SUMMARY_MESSAGE, (session, body) => this.#heard(session, body));
    this.#stops.push(
      host.onSession((session, event) => {
        if (event === "up") session.send(SUMMARY_MESSAGE, { digest: store.digest() });
      }),
      store.onAccepted(() => this.#tellSoon()),
    );
    this.#run(this.#repeat());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#stopping.abort(new Fault("mesh.stopped", "the node is stopping"));
    await Promise.all(this.#work);
  }

  #run(work: Promise<void>): void {
    const done = work.catch((error: unknown) => {
      if (!this.#stopping.signal.aborted) this.#deps.log.debug("replication ended", { error: errorMessage(error) });
    });
    this.#work.add(done);
    void done.finally(() => this.#work.delete(done));
  }

  async #repeat(): Promise<void> {
    const { clock, store } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await clock.sleep(this.#options.repeatMs, signal);
      store.expire(this.#deps.trustedMs());
      this.#tell();
    }
  }

  #tellSoon(): void {
    if (this.#telling) return;
    this.#telling = true;
    this.#run(
      this.#deps.clock.sleep(this.#options.settleMs / 2, this.#stopping.signal).then(() => {
        this.#telling = false;
        this.#tell();
      }),
    );
  }

  #tell(): void {
    const digest = this.#deps.store.digest();
    for (const session of this.#deps.host.sessions()) session.send(SUMMARY_MESSAGE, { digest });
  }

  #heard(session: Session, body: unknown): void {
    const summary = Summary.safeParse(body);
    if (!summary.success) {
      this.#deps.host.disconnect(session.nodeId, "sent a malformed document summary");
      return;
    }
    if (Buffer.compare(summary.data.digest, this.#deps.store.digest()) === 0) return;
    if (this.#pulling.has(session.nodeId)) {
      this.#pulling.set(session.nodeId, true);
      return;
    }
    this.#pulling.set(session.nodeId, false);
    this.#run(this.#pullUntilQuiet(session.nodeId, summary.data.digest));
  }

  async #pullUntilQuiet(peer: NodeId, told: Uint8Array): Promise<void> {
    const { clock, random, store } = this.#deps;
    const { settleMs, pullMs } = this.#options;
    try {
      let again: boolean | undefined = true;
      while (again === true) {
        this.#pulling.set(peer, false);
        await clock.sleep(settleMs * (0.5 + random.unit() / 2), this.#stopping.signal);
        if (Buffer.compare(told, store.digest()) === 0) return;
        await withDeadline(
          clock,
          pullMs,
          "pulling documents",
          (signal) => this.#pull(peer, signal),
          this.#stopping.signal,
        );
        again = this.#pulling.get(peer);
      }
    } finally {
      this.#pulling.delete(peer);
    }
  }

  async #pull(peer: NodeId, signal: AbortSignal): Promise<void> {
    const { host, store } = this.#deps;
    const stream = await host.open(peer, DOCUMENTS_PROTOCOL, signal);
    const frames = new FrameStream(stream, { maxHeaderBytes: MAX_HEADER_BYTES, maxPayloadBytes: MAX_ENVELOPE_BYTES });
    try {
      frames.send({ op: "compare", buckets: Buffer.concat(store.bucketDigests()) });
      const { entries } = Entries.parse((await frames.read(signal))?.header);
      const ids = entries.filter(([id, version]) => !store.hasSeen(id, version)).map(([id]) => id);
      if (ids.length === 0) return;
      frames.send({ op: "get", ids: ids.toSorted((a, b) => dependencyRank(a) - dependencyRank(b)) });
      await this.#receive(frames, peer, signal);
      this.pulls += 1;
    } finally {
      frames.close();
    }
  }

  async #receive(frames: FrameStream, peer: NodeId, signal: AbortSignal): Promise<void> {
    const { store, trustedMs } = this.#deps;
    const batch: Uint8Array[] = [];
    let bytes = 0;
    const keep = (): void => {
      if (batch.length === 0) return;
      bytes = 0;
      store.submitAll(batch.splice(0), trustedMs(), peer);
    };
    try {
      for (;;) {
        const frame = await frames.read(signal);
        if (frame === undefined || "end" in Item.parse(frame.header)) return;
        batch.push(Uint8Array.from(Buffer.concat(frame.payload))); // in memory of its own: it is kept, and must keep no larger read
        bytes += frame.payloadBytes;
        if (batch.length >= BATCH_DOCUMENTS || bytes >= BATCH_BYTES) keep();
      }
    } finally {
      keep(); // also what came before the peer went away
    }
  }

  async #serve(frames: FrameStream, peer: Session): Promise<void> {
    const { clock } = this.#deps;
    try {
      await withDeadline(
        clock,
        this.#options.pullMs,
        "serving documents",
        async (signal) => {
          // One comparison and one request is all that a pull needs.
          for (let turn = 0; turn < 2; turn++) {
            const frame = await frames.read(signal);
            if (frame === undefined) return;
            const request = Request.parse(frame.header);
            const may = (id: string): boolean => this.#deps.mayTell?.(id, peer.nodeId) ?? true;
            if (request.op === "compare") {
              frames.send({ entries: this.#differing(request.buckets).filter(([id]) => may(id)) });
            } else await this.#sendAll(frames, request.ids.filter(may), signal);
          }
        },
        this.#stopping.signal,
      );
      frames.close();
    } catch (error) {
      frames.abort(error as Error);
      this.#deps.log.debug("document request failed", { peer: peer.name, error: errorMessage(error) });
    }
  }

  #differing(theirs: Uint8Array): [string, number][] {
    const { store } = this.#deps;
    const differing = new Set<number>();
    for (const [index, ours] of store.bucketDigests().entries()) {
      const there = theirs.subarray(index * BUCKET_BYTES, (index + 1) * BUCKET_BYTES);
      if (Buffer.compare(ours, there) !== 0) differing.add(index);
    }
    return store.inBuckets(differing).slice(0, MAX_IDS); // what is left differs still, and comes with the next pull
  }

  async #sendAll(frames: FrameStream, ids: readonly string[], signal: AbortSignal): Promise<void> {
    const { store } = this.#deps;
    for (const id of ids) {
      const document = store.byId(id);
      if (document === undefined) continue;
      const envelopes = document.kind === "Charter" ? store.charterChain() : [document.bytes];
      for (const bytes of envelopes) {
        if (!frames.send({ id }, [bytes])) await frames.drained(signal);
      }
    }
    frames.send({ end: true });
  }
}

/** Signers come before what they signed. */
function dependencyRank(id: string): number {
  const order = ["Charter/", "Operator/", "Registrar/", "Revocation/", "Tombstone/"];
  const rank = order.findIndex((prefix) => id.startsWith(prefix));
  return rank < 0 ? order.length : rank;
}
