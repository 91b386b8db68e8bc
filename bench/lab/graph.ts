import type { Clock } from "#core";
import type { Child, ChildOptions } from "./child.ts";
import { Namespaces } from "./namespaces.ts";

/** A link between two nodes; `delayMs` is one way. It is not a bottleneck. */
export type GraphLink = { a: string; b: string; delayMs: number };

/**
 * How a link breaks. `reset`: TCP connections over it are reset at both ends with their next packet, and nothing else passes. `down`: the
 * interfaces at both ends go down; connections stay as they are. `silent`: it swallows everything both ways, and nobody is told.
 */
export type LinkFault = "reset" | "down" | "silent";

type Wire = GraphLink & { device: string; emulator: Child };

/** The address on a network that all nodes share until `part` takes it away. */
const MEETING = "10.66.0";

/**
 * Nodes in network namespaces, joined by links of their own with a delay, and by nothing else. Each node has an address on each of its links,
 * and no route beyond. Needs root and the tools of `labNeeds`. Dispose of it to end everything that runs in it.
 */
export class Graph implements AsyncDisposable {
  readonly nodes: readonly string[];
  readonly #namespaces: Namespaces;
  readonly #wires: Wire[] = [];

  private constructor(nodes: readonly string[], namespaces: Namespaces) {
    this.nodes = nodes;
    this.#namespaces = namespaces;
  }

  /** Throws Fault `lab.command` when a step fails. */
  static async make(clock: Clock, nodes: readonly string[], links: readonly GraphLink[]): Promise<Graph> {
    await using stack = new AsyncDisposableStack();
    const namespaces = stack.use(await Namespaces.make(clock));
    const graph = new Graph(nodes, namespaces);
    await namespaces.shell(nodes.flatMap((node) => [`ip netns add ${node}`, `ip -n ${node} link set lo up`]));
    for (const link of links) await graph.#lay(link);
    stack.move();
    return graph;
  }

  start(node: string, argv: readonly string[], options?: ChildOptions): Child {
    return this.#namespaces.start(node, argv, options);
  }

  run(node: string, argv: readonly string[], ms: number): Promise<string> {
    return this.#namespaces.run(node, argv, ms);
  }

  /** Runs shell commands as root where namespaces have their names. */
  shell(lines: readonly string[]): Promise<string> {
    return this.#namespaces.shell(lines);
  }

  /** Gives all nodes a network in common, without delay. */
  async meet(): Promise<void> {
    const join = (node: string, i: number): string[] => [
      `ip -n ${node} link add meet0 type veth peer name m${i} netns meeting`,
      `ip -n meeting link set m${i} master lan0 up`,
      `ip -n ${node} addr add ${MEETING}.${i + 1}/24 dev meet0`,
      `ip -n ${node} link set meet0 up`,
    ];
    const place = ["ip netns add meeting", "ip -n meeting link add lan0 type bridge", "ip -n meeting link set lan0 up"];
    await this.shell([...place, ...this.nodes.flatMap(join)]);
  }

  /** Takes the common network away. */
  async part(): Promise<void> {
    await this.shell([...this.nodes.map((node) => `ip -n ${node} link del meet0`), "ip netns del meeting"]);
  }

  /** The devices and addresses of a node's links, and who is at their other ends. */
  devicesOf(node: string): { device: string; address: string; peer: string; peerAddress: string }[] {
    return this.#wires.flatMap(({ a, b, device }, i) => {
      const [here, there] = [`10.64.${i}.1`, `10.64.${i}.2`];
      if (node === a) return [{ device, address: here, peer: b, peerAddress: there }];
      return node === b ? [{ device, address: there, peer: a, peerAddress: here }] : [];
    });
  }

  /** Delay of the link between two nodes, one way in ms. Throws RangeError where there is none, as do the next two. */
  delayMs(from: string, to: string): number {
    return this.#wire(from, to).delayMs;
  }

  /** Breaks a link. Resolves when it is broken at both ends; they are a few milliseconds apart. */
  async break(from: string, to: string, fault: LinkFault): Promise<void> {
    const { a, b, device, emulator } = this.#wire(from, to);
    if (fault === "silent") return emulator.signal("SIGUSR2");
    const lines = [a, b].map((node) =>
      fault === "down" ? `ip -n ${node} link set ${device} down` : restore(node, resetRules(device)),
    );
    await this.shell([...lines.map((line) => `${line} &`), "wait"]);
  }

  async mend(from: string, to: string, fault: LinkFault): Promise<void> {
    const { a, b, device, emulator } = this.#wire(from, to);
    if (fault === "silent") return emulator.signal("SIGUSR2");
    const lines = [a, b].map((node) =>
      fault === "down" ? `ip -n ${node} link set ${device} up` : `ip netns exec ${node} iptables -w -F`,
    );
    await this.shell(lines);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#namespaces[Symbol.asyncDispose]();
  }

  #wire(from: string, to: string): Wire {
    const wire = this.#wires.find(({ a, b }) => (a === from && b === to) || (a === to && b === from));
    if (wire === undefined) throw new RangeError(`no link between ${from} and ${to}`);
    return wire;
  }

  async #lay(link: GraphLink): Promise<void> {
    const i = this.#wires.length;
    const device = `link${i}`;
    const queueBytes = 4 * 1024 * 1024; // what is sent in a second at 32 Mbit/s: never full here
    const numbers = [0, link.delayMs * 1_000, 0, queueBytes, 0, i + 1].map(String);
    const emulator = await this.#namespaces.link([link.a, device, link.b, device, ...numbers]);
    const end = (node: string, address: string): string[] => [
      `ip -n ${node} addr add ${address}/30 dev ${device}`,
      `ip -n ${node} link set ${device} up`,
    ];
    await this.shell([...end(link.a, `10.64.${i}.1`), ...end(link.b, `10.64.${i}.2`)]);
    this.#wires.push({ ...link, device, emulator });
  }
}

/** The sender's own kernel answers it with a reset, as it would when the other end's machine had started anew. */
const resetRules = (device: string): string[] => [
  `-A OUTPUT -o ${device} -p tcp -j REJECT --reject-with tcp-reset`,
  `-A OUTPUT -o ${device} -j DROP`,
  `-A INPUT -i ${device} -j DROP`,
];

/** All rules at once, so that no packet comes between them. */
const restore = (node: string, rules: readonly string[]): string =>
  `printf '%s\\n' '*filter' ${rules.map((rule) => `'${rule}'`).join(" ")} COMMIT | ip netns exec ${node} iptables-restore -n`;
