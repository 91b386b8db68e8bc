import { createHash } from "node:crypto";
import {
  type ByteStream,
  type Clock,
  decodeCbor,
  Ed25519Key,
  encodeFrame,
  HeadedStream,
  SILENT_LOG,
  SystemClock,
  SystemRandom,
} from "#core";
import type { NodeId } from "#identity";
import { type Gate, type Libp2pBackedHost, startHost } from "#mesh";
import { Circuits } from "#routing";
import { CIRCUIT_PROTOCOL, FROM_SOURCE, MAX_HEAD_BYTES } from "../../src/routing/circuit/circuit-open.ts";

const OPEN_GATE: Gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "berlin", name: "cam-7" }) };
export const ECHO = "/test/echo/1";
export const never = new AbortController().signal;

export type Node = { host: Libp2pBackedHost; circuits: Circuits; key: Ed25519Key };
/** What a rogue gateway passes on of a piece; `undefined`: nothing. `passed`: bytes so far. */
type Meddle = (piece: Uint8Array, passed: number) => Uint8Array | undefined;

/** Real hosts on loopback that are linked as the test says, with circuits over the ways that it says. */
export class CircuitWorld implements AsyncDisposable {
  readonly clock: Clock;
  readonly #random = new SystemRandom();
  readonly #nodes = new Map<string, Node>();
  /** Ways by `from-to`, as names: `a-b` → [`g b`, `h b`]. */
  readonly ways = new Map<string, string[]>();
  /** Costs of ways; one without is told of no more. */
  readonly costs = new Map<string, number>();
  readonly revoked = new Set<string>();
  /** Nodes between two without a link, by `from-to`: `g-b` → `d e`. */
  readonly detours = new Map<string, string>();
  /** Of another site than all the others. */
  readonly distant = new Set<string>();

  private constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Links such as `a-g g-b`. Nodes in `idle` do not pass on. */
  static async start(
    links: string,
    {
      idle = "",
      rogues = {},
      clock = new SystemClock(),
    }: { idle?: string; rogues?: Record<string, Meddle>; clock?: Clock } = {},
  ): Promise<CircuitWorld> {
    const world = new CircuitWorld(clock);
    for (const name of new Set(links.split(/[- ]/u))) await world.#add(name, !idle.includes(name), rogues[name]);
    for (const link of links.split(" ")) await world.link(...(link.split("-") as [string, string]));
    return world;
  }

  async #add(name: string, transit: boolean, meddle: Meddle | undefined): Promise<void> {
    const [clock, random] = [this.clock, this.#random];
    const seed = random.bytes(32);
    const deps = { clock, random, log: SILENT_LOG, seed, gate: OPEN_GATE };
    const host = await startHost(deps, { listen: ["/ip4/127.0.0.1/tcp/0/tls"] });
    host.handle(ECHO, echo);
    const key = new Ed25519Key(seed);
    const circuits = new Circuits({
      host: meddle === undefined ? host : withRogue(host, meddle),
      clock,
      random,
      log: SILENT_LOG,
      key,
      fleet: () => "fleet",
      trustedMs: () => clock.wallMs(),
      isMember: (node) => !this.revoked.has(this.nameOf(node)),
      isNear: (node) => this.distant.has(this.nameOf(node)) === this.distant.has(name),
      mayUse: () => true,
      detour: (to, avoid) => this.#detour(name, this.nameOf(to), avoid),
      transit: () => transit,
      costAlong: (path) => this.costs.get(path.map((node) => this.nameOf(node)).join(" ")),
      pathsTo: (to) => this.#pathsTo(name, this.nameOf(to)),
    });
    this.#nodes.set(name, { host, circuits, key });
  }

  #pathsTo(from: string, to: string): NodeId[][] {
    const ways = this.ways.get(`${from}-${to}`) ?? [];
    return ways.map((way) => way.split(" ").map((name) => this.of(name).host.nodeId));
  }

  #detour(from: string, to: string, avoid: ReadonlySet<NodeId>): NodeId[] | undefined {
    const nodes = this.detours
      .get(`${from}-${to}`)
      ?.split(" ")
      .map((name) => this.of(name).host.nodeId);
    return nodes?.some((node) => avoid.has(node)) === true ? undefined : nodes;
  }

  of(name: string): Node {
    return this.#nodes.get(name) as Node;
  }

  nameOf(node: NodeId): string {
    return [...this.#nodes].find(([, { host }]) => host.nodeId === node)?.[0] ?? "nobody";
  }

  async link(a: string, b: string): Promise<void> {
    await this.of(a).host.connect(this.of(b).host.addresses(), never);
  }

  /** A stream over a circuit that gives back what it is sent. */
  async echo(from: string, to: string): Promise<ByteStream> {
    const [near, far] = [this.of(from), this.of(to)];
    await near.circuits.connect(far.host.nodeId, never);
    return near.host.openCarried(far.host.nodeId, ECHO, never);
  }

  /** Ends a node as kill -9 would. */
  async kill(name: string): Promise<void> {
    const { host, circuits } = this.of(name);
    circuits[Symbol.dispose]();
    for (const session of host.sessions()) host.disconnect(session.nodeId, "killed");
    await host[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#nodes.keys()].map((name) => this.kill(name).catch(() => undefined)));
  }
}

/** A host on which circuits go through a gateway that does as it likes. */
function withRogue(host: Libp2pBackedHost, meddle: Meddle): Libp2pBackedHost {
  const handle: Libp2pBackedHost["handle"] = (protocol) =>
    host.handle(protocol, (stream, { nodeId }) => {
      void carryBadly(host, new HeadedStream(stream, FROM_SOURCE), nodeId, meddle);
    });
  return new Proxy(host, {
    get: (target, name) => {
      if (name === "handle") return handle;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

async function carryBadly(host: Libp2pBackedHost, stream: HeadedStream, from: NodeId, meddle: Meddle): Promise<void> {
  const head = (await stream.head) as { open: Uint8Array };
  const { path } = decodeCbor(head.open, MAX_HEAD_BYTES) as { path: NodeId[] };
  const to = path[path.indexOf(host.nodeId) + 1] as NodeId;
  const onward = await host.open(to === from ? from : to, CIRCUIT_PROTOCOL, never);
  onward.send(...encodeFrame(head));
  let passed = 0;
  stream.listen({
    data: (piece) => {
      passed += piece.length;
      const other = meddle(piece, passed);
      if (other !== undefined) onward.send(other);
    },
    end: () => onward.abort(new Error("ended")),
  });
  onward.listen({
    data: (piece) => {
      if (meddle(piece, passed) !== undefined) stream.send(piece);
    },
    end: () => stream.abort(new Error("ended")),
  });
}

function echo(stream: ByteStream): void {
  stream.listen({
    data: (piece) => {
      if (stream.send(piece)) return;
      stream.pause();
      stream.drained().then(
        () => stream.resume(),
        () => undefined,
      );
    },
    end: (error) => (error === undefined ? stream.close() : stream.abort(error)),
  });
}

/** Sends so many bytes over an echo and checks what comes back by its digest. Says how many came. */
export async function throughEcho(stream: ByteStream, bytes: number): Promise<boolean> {
  const [sent, came] = [createHash("sha256"), createHash("sha256")];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  stream.listen({ data: (piece) => void came.update(piece), end: (error) => (error ? reject(error) : resolve()) });
  for (let left = bytes, n = 0; left > 0; n++) {
    const piece = Buffer.alloc(Math.min(left, 60_000), n);
    sent.update(piece);
    left -= piece.length;
    if (!stream.send(piece)) await stream.drained();
  }
  stream.close();
  await promise;
  return sent.digest("hex") === came.digest("hex");
}
