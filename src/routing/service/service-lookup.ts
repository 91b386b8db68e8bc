import {
  asError,
  type ByteStream,
  type Clock,
  errorMessage,
  Fault,
  faultCode,
  FrameStream,
  type Log,
  RateLimit,
  withDeadline,
} from "#core";
import type { NodeId } from "#identity";
import { type Gossip, type Host, MAX_STATEMENT_BYTES, type Session } from "#mesh";
import { SERVICES_TOPIC } from "./instance-record.ts";
import {
  QUESTION_LIMITS,
  readAnswer,
  readQuestion,
  serviceKey,
  SERVICES_PROTOCOL,
  type ServiceQuestion,
} from "./lookup-wire.ts";
import type { KnownInstance } from "./service-directory.ts";
import type { Services } from "./services.ts";

/** A look-up, with all whom it asks: somebody waits for it. */
const LOOK_UP_MS = 5_000;
/** One question to one node, the dial among it, and one answer to a neighbour. */
const ASK_MS = 2_000;
/** What was not found is not looked for again so soon: a client that retries must not keep the DHT busy. */
const MISSED_MS = 10_000;
const MAX_MISSED = 1_000;
/** Questions that one neighbour may ask. */
const QUESTIONS_PER_SECOND = 10;

/** Who has what in the fleet's DHT, by a key of 32 bytes in hex. */
export type ServiceIndex = {
  announce(key: string): void;
  withdraw(key: string): void;
  find(key: string, signal: AbortSignal): AsyncIterable<NodeId>;
};

export type ServiceLookupDeps = {
  host: Pick<Host, "handle" | "onSession" | "session">;
  gossip: Pick<Gossip, "said" | "take">;
  services: Pick<Services, "published" | "directory">;
  index: ServiceIndex;
  /** Opens a stream to a member, dialling it if need be. */
  open: (peer: NodeId, protocol: string, signal: AbortSignal) => Promise<ByteStream>;
  self: NodeId;
  /** Of this node, once it is a member. */
  tenant: () => string | undefined;
  clock: Clock;
  log: Log;
};

/**
 * Services of which no statement has come: the fleet's DHT says who publishes one, and that node is asked for its newest statement, which is
 * judged as if it had come by gossip.
 */
export class ServiceLookup implements AsyncDisposable {
  readonly #deps: ServiceLookupDeps;
  /** Keys by `tenant/name`. This is gone through at everybody's news: a key costs a hash. */
  readonly #announced = new Map<string, string>();
  readonly #missed = new Map<string, number>(); // by key: until when, monotonic
  readonly #limits = new Map<NodeId, RateLimit>();
  readonly #stopping = new AbortController();
  readonly #serving = new Set<Promise<void>>();
  readonly #stops: readonly (() => void)[];

  constructor(deps: ServiceLookupDeps) {
    this.#deps = deps;
    const { host, services } = deps;
    host.handle(SERVICES_PROTOCOL, (stream, peer) => {
      const served = this.#serve(stream, peer).finally(() => this.#serving.delete(served));
      this.#serving.add(served);
    });
    this.#stops = [
      services.directory.onNews(() => this.#announce()),
      host.onSession(({ nodeId }, event) => (event === "down" ? this.#limits.delete(nodeId) : undefined)),
    ];
    this.#announce();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#stopping.abort(new Fault("routing.stopped", "the node is stopping"));
    await Promise.all(this.#serving);
  }

  /** The instances of a service, of this node's tenant unless another is named. Looked for in the DHT where none is known, for 5 s at most. */
  async find(name: string, tenant = this.#deps.tenant()): Promise<KnownInstance[]> {
    const { directory } = this.#deps.services;
    const known = directory.instances(name, tenant);
    const question = readQuestion({ tenant, name });
    if (known.length > 0 || question === undefined || this.#stopping.signal.aborted) return known;
    await this.#lookUp(question);
    return directory.instances(name, tenant);
  }

  /** Until somebody is found with whom the service is healthy. */
  async #lookUp(question: ServiceQuestion): Promise<void> {
    const { clock, index, self, log, services } = this.#deps;
    const key = serviceKey(question);
    if ((this.#missed.get(key) ?? Number.NEGATIVE_INFINITY) > clock.nowMs()) return;
    const isFound = (): boolean =>
      services.directory.instances(question.name, question.tenant).some(({ healthy }) => healthy);
    const ask = async (signal: AbortSignal): Promise<void> => {
      for await (const node of index.find(key, signal)) {
        if (node !== self) await this.#ask(node, question, signal);
        if (isFound()) return;
      }
    };
    try {
      await withDeadline(clock, LOOK_UP_MS, "looking for a service", ask, this.#stopping.signal);
    } catch (error) {
      log.debug("a look-up of a service ended", { name: question.name, reason: errorMessage(error) });
    }
    if (!isFound()) this.#miss(key);
  }

  #miss(key: string): void {
    const [oldest] = this.#missed.keys();
    if (oldest !== undefined && this.#missed.size >= MAX_MISSED) this.#missed.delete(oldest);
    this.#missed.delete(key);
    this.#missed.set(key, this.#deps.clock.nowMs() + MISSED_MS);
  }

  /** Takes in what a node says of its services, if it has the one that is looked for. */
  async #ask(node: NodeId, question: ServiceQuestion, parent: AbortSignal): Promise<void> {
    const { clock, log, open, host, gossip } = this.#deps;
    const exchange = async (signal: AbortSignal): Promise<void> => {
      const stream = await open(node, SERVICES_PROTOCOL, signal);
      const frames = new FrameStream(stream, { ...QUESTION_LIMITS, maxPayloadBytes: MAX_STATEMENT_BYTES });
      try {
        frames.send(question);
        const frame = await frames.read(signal);
        const session = host.session(node);
        if (frame === undefined || session === undefined || readAnswer(frame.header) !== true) return;
        gossip.take(Uint8Array.from(Buffer.concat(frame.payload)), session);
      } finally {
        frames.close();
      }
    };
    try {
      await withDeadline(clock, ASK_MS, "asking for a service", exchange, parent);
    } catch (error) {
      parent.throwIfAborted();
      log.debug("a node was asked for a service in vain", { node, reason: errorMessage(error) });
    }
  }

  async #serve(stream: ByteStream, peer: Session): Promise<void> {
    const { clock, log } = this.#deps;
    const frames = new FrameStream(stream, QUESTION_LIMITS);
    try {
      if (!this.#limitOf(peer.nodeId).take()) throw new Fault("routing.too-many-questions", "it asks too often");
      const { signal } = this.#stopping;
      const question = await withDeadline(clock, ASK_MS, "a question", (inner) => frames.read(inner), signal);
      this.#answer(frames, readQuestion(question?.header));
      frames.close();
    } catch (error) {
      frames.abort(asError(error));
      log.debug("a question for a service failed", { peer: peer.name, reason: faultCode(error) ?? "" });
    }
  }

  #answer(frames: FrameStream, question: ServiceQuestion | undefined): void {
    if (question === undefined) throw new Fault("routing.question", "a question makes no sense", { exit: "invalid" });
    const { gossip, self, services } = this.#deps;
    const isOwn = services.published.targetOf(question.tenant, question.name) !== undefined;
    const said = isOwn ? gossip.said(SERVICES_TOPIC, self) : undefined;
    frames.send({ found: said !== undefined }, said === undefined ? [] : [said]);
  }

  #limitOf(peer: NodeId): RateLimit {
    const limit = this.#limits.get(peer) ?? new RateLimit(this.#deps.clock, QUESTIONS_PER_SECOND, QUESTIONS_PER_SECOND);
    this.#limits.set(peer, limit);
    return limit;
  }

  /** Tells the DHT of what was published since the last time, and no more of what was not. */
  #announce(): void {
    const { services, index, tenant: ownTenant } = this.#deps;
    const tenant = ownTenant();
    if (tenant === undefined) return;
    const published = new Map(services.published.all().map(({ name }) => [`${tenant}/${name}`, name]));
    for (const [full, key] of this.#announced) {
      if (published.has(full)) continue;
      index.withdraw(key);
      this.#announced.delete(full);
    }
    for (const [full, name] of published) {
      if (this.#announced.has(full)) continue;
      const key = serviceKey({ tenant, name });
      index.announce(key);
      this.#announced.set(full, key);
    }
  }
}
