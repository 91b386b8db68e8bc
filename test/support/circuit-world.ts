import { createHash } from "node:crypto";
import { type ByteStream, Ed25519Key, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import type { NodeId } from "#identity";
import { type Gate, type Libp2pBackedHost, startHost } from "#mesh";
import { Circuits } from "#routing";

const OPEN_GATE: Gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "berlin", name: "cam-7" }) };
const ECHO = "/test/echo/1";
export const never = new AbortController().signal;

type Node = { host: Libp2pBackedHost; circuits: Circuits };

/** Real hosts on loopback that are linked as the test says, with circuits over the ways that it says. */
export class CircuitWorld implements AsyncDisposable {
  readonly clock = new SystemClock();
  readonly #random = new SystemRandom();
  readonly #nodes = new Map<string, Node>();
  /** Ways by `from-to`, as names: `a-b` → [`g b`, `h b`]. */
  readonly ways = new Map<string, string[]>();
  readonly revoked = new Set<string>();

  /** Links such as `a-g g-b`. Nodes in `idle` do not pass on. */
  static async start(links: string, { idle = "" } = {}): Promise<CircuitWorld> {
    const world = new CircuitWorld();
    for (const name of new Set(links.split(/[- ]/u))) await world.#add(name, !idle.includes(name));
    for (const link of links.split(" ")) await world.link(...(link.split("-") as [string, string]));
    return world;
  }

  async #add(name: string, transit: boolean): Promise<void> {
    const [clock, random] = [this.clock, this.#random];
    const seed = random.bytes(32);
    const deps = { clock, random, log: SILENT_LOG, seed, gate: OPEN_GATE };
    const host = await startHost(deps, { listen: ["/ip4/127.0.0.1/tcp/0/tls"] });
    host.handle(ECHO, echo);
    const circuits = new Circuits({
      host,
      clock,
      random,
      log: SILENT_LOG,
      key: new Ed25519Key(seed),
      fleet: () => "fleet",
      trustedMs: () => clock.wallMs(),
      isMember: (node) => !this.revoked.has(this.nameOf(node)),
      transit,
      pathsTo: (to) => this.#pathsTo(name, this.nameOf(to)),
    });
    this.#nodes.set(name, { host, circuits });
  }

  #pathsTo(from: string, to: string): NodeId[][] {
    const ways = this.ways.get(`${from}-${to}`) ?? [];
    return ways.map((way) => way.split(" ").map((name) => this.of(name).host.nodeId));
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
