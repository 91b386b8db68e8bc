import { mkdir } from "node:fs/promises";
import type { ControlClient } from "#api";
import { Fault } from "#core";
import type { FleetDeps, Place } from "./fleet.ts";
import { command, joinOthers, type Node, startNode, until } from "./portolan.ts";

/** A new link is told of within 2 s (docs/spec/link-state.md), and worked in when that comes. */
const TOLD_MS = 3_000;

/** Daemons are calm when all of them together took at most `share` of one processor for `forMs`; nobody waits longer than `atMostMs` for that. */
export type Calm = { share: number; forMs: number; atMostMs: number };

/** Real daemons by name, each at its place: one demo fleet, in which they are killed, stopped, and started again. Disposing of it ends them. */
export class Daemons<Name extends string> implements AsyncDisposable {
  readonly #deps: FleetDeps;
  readonly #places: Readonly<Record<Name, Place>>;
  readonly #directory: string;
  readonly #nodes = new Map<Name, Node>();
  readonly #stack = new AsyncDisposableStack();

  /** `directory`: for their data; made if it is not there. */
  constructor(deps: FleetDeps, directory: string, places: Readonly<Record<Name, Place>>) {
    this.#deps = deps;
    this.#directory = directory;
    this.#places = places;
  }

  get names(): readonly Name[] {
    return Object.keys(this.#places) as Name[];
  }

  /** Throws RangeError for one that was never started. */
  node(name: Name): Node {
    const node = this.#nodes.get(name);
    if (node === undefined) throw new RangeError(`${name} was never started`);
    return node;
  }

  client(name: Name): ControlClient {
    return this.node(name).client;
  }

  /** Runs one command of the CLI against a daemon; returns what it printed. */
  cli(name: Name, ...argv: readonly string[]): Promise<string> {
    return command(this.#deps.clock, this.node(name), argv);
  }

  /** A demo fleet, made by the first of them; resolves when all are members. */
  async fleet(): Promise<void> {
    const [first] = this.names;
    if (first === undefined) throw new RangeError("a fleet has a node");
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await this.up(first);
    await this.cli(first, "fleet", "create", "bench", "--demo");
    const options = { places: Object.values<Place>(this.#places), directory: this.#directory };
    await joinOthers(this.#deps.clock, this.node(first), options, (index, flags) =>
      this.up(this.names[index] as Name, flags),
    );
  }

  /** Starts a daemon, also one that was killed; resolves when it answers. */
  async up(name: Name, flags: readonly string[] = []): Promise<Node> {
    const options = { places: Object.values<Place>(this.#places), directory: this.#directory };
    const node = await startNode(this.#deps, this.#stack, options, this.names.indexOf(name), flags);
    this.#nodes.set(name, node);
    return node;
  }

  /** Sends a signal: SIGKILL, or SIGSTOP and SIGCONT for one that keeps its connections and says nothing. */
  signal(name: Name, signal: NodeJS.Signals): void {
    this.node(name).process.signal(signal);
  }

  /** Ends a daemon in good order. */
  async stop(name: Name): Promise<void> {
    await this.node(name).process.stop();
  }

  /** Resolves when each of these has live links to at least so many, and has told of them. */
  async untilLinked(links: Readonly<Partial<Record<Name, number>>>): Promise<void> {
    const { clock } = this.#deps;
    for (const [name, count] of Object.entries(links) as [Name, number][]) {
      await until(clock, `${name} to have ${count} links`, async () => {
        const { items } = await this.client(name).call("links.list", {});
        return items.filter(({ state }) => state === "up").length >= count;
      });
    }
    await clock.sleep(TOLD_MS);
  }

  /** Resolves when they are calm, or after the longest wait, with the seconds that it took. */
  async untilCalm({ share, forMs, atMostMs }: Calm): Promise<number> {
    const { clock } = this.#deps;
    const used = async (): Promise<number> => {
      const each = await Promise.all([...this.#nodes.values()].map(({ process }) => process.cpuSeconds()));
      return each.reduce((sum, seconds) => sum + seconds, 0);
    };
    const startMs = clock.nowMs();
    for (let before = await used(); clock.nowMs() - startMs < atMostMs; ) {
      await clock.sleep(forMs);
      const now = await used();
      if (now - before <= (share * forMs) / 1_000) break;
      before = now;
    }
    return (clock.nowMs() - startMs) / 1_000;
  }

  /** Resolves when a daemon knows a healthy instance of a service. */
  async untilServed(name: Name, service: string): Promise<void> {
    await until(this.#deps.clock, `${name} to know a healthy ${service}`, async () => {
      const { items } = await this.client(name).call("services.list", {});
      return items.some((item) => item.name === service && item.healthy > 0);
    });
  }

  /** Opens a port at a daemon, of 127.0.0.1 unless another address is said, that leads to a service, until the signal fires; the failure after that is nobody's. */
  async connect(
    name: Name,
    service: string,
    signal: AbortSignal,
    { host = "127.0.0.1", port = 0 } = {},
  ): Promise<number> {
    await this.untilServed(name, service);
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const wanted = { service, listen: { host, port } };
    this.client(name)
      .job("connect", wanted, (progress) => resolve(progress.port), signal)
      .catch(reject);
    return promise;
  }

  /**
   * The nodes on the way of the circuit that begins at a daemon, behind it and before its end. Throws Fault `bench.no-circuit` when none does.
   */
  async gateways(source: Name): Promise<Name[]> {
    const { items } = await this.client(source).call("circuits.list", {});
    const via = items.find(({ role, state }) => role === "source" && state === "up")?.via;
    const names = await this.#fleetNames();
    const gateways = via?.map((said) => names.get(said));
    if (gateways === undefined || gateways.includes(undefined))
      throw new Fault("bench.no-circuit", `no circuit over nodes that are up: ${JSON.stringify(items)}`);
    return gateways as Name[];
  }

  /** What the fleet calls each daemon that answers. */
  async #fleetNames(): Promise<ReadonlyMap<string, Name>> {
    const asked = this.names.map(async (name) => [(await this.client(name).call("status", {})).name, name] as const);
    const answers = await Promise.allSettled(asked);
    return new Map(answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : [])));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}
