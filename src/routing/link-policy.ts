import type { NodeId, Spec } from "#identity";

/** What operators ask of links, and of who carries for others. */
export type LinkPolicy = {
  /** Added to the cost of a link in this direction; negative: taken away. `Infinity`: paths must not lead over it. */
  admin: (from: NodeId, to: NodeId) => number;
  /** Whether a node may carry for others, if it does so by itself. */
  mayCarry: (node: NodeId) => boolean;
  /** Who hears of the links inside a site: the whole fleet, which is one area, or the site. */
  areas: "one" | "site";
  /** Whether a node is to have links to other sites, where areas are sites. */
  mayLeave: (node: NodeId) => boolean;
};

/** Where operators have said nothing. */
export const NO_POLICY: LinkPolicy = { admin: () => 0, mayCarry: () => true, areas: "one", mayLeave: () => true };

/** More kinds of nodes than there are nodes in any fleet. */
const MAX_KINDS = 2 ** 24;

type Rule = NonNullable<Spec<"Topology">["links"]>[number];

/**
 * Works a topology out for the members of the moment. `picks` says which nodes one end of a rule means. Of each list the first rule that
 * fits counts. Nodes which the same ends mean are alike, and a link is held against the rules once for all links between nodes that are
 * alike.
 */
export function policyOf(spec: Spec<"Topology">, picks: (end: string, node: NodeId) => boolean): LinkPolicy {
  const { links = [], transit = [], areas = "one", borders } = spec;
  const kinds = new NodeKinds(
    [...links.flatMap(({ from, to }) => [from, to]), ...transit.map(({ node }) => node), ...(borders ?? [])],
    picks,
  );
  const known = new Map<number, number>();
  return {
    admin: (from, to) => {
      const [a, b] = [kinds.of(from), kinds.of(to)];
      const pair = a.number * MAX_KINDS + b.number;
      const admin = known.get(pair) ?? adminOf(links.find((rule) => fits(rule, a.ends, b.ends)));
      known.set(pair, admin);
      return admin;
    },
    mayCarry: (node) => transit.find((rule) => kinds.of(node).ends.has(rule.node))?.carry ?? true,
    areas,
    mayLeave: (node) => borders === undefined || borders.some((end) => kinds.of(node).ends.has(end)),
  };
}

function fits({ from, to, oneWay }: Rule, a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return (a.has(from) && b.has(to)) || (oneWay !== true && b.has(from) && a.has(to));
}

function adminOf(rule: Rule | undefined): number {
  if (rule === undefined) return 0;
  return rule.forbid === true ? Number.POSITIVE_INFINITY : (rule.cost ?? 0) - (rule.prefer ?? 0);
}

type NodeKind = { number: number; ends: ReadonlySet<string> };

/** Sorts nodes by the ends of rules that mean them, each when it is first asked for. */
class NodeKinds {
  readonly #ends: readonly string[];
  readonly #picks: (end: string, node: NodeId) => boolean;
  readonly #kinds = new Map<string, NodeKind>();
  readonly #kindOf = new Map<NodeId, NodeKind>();

  constructor(ends: readonly string[], picks: (end: string, node: NodeId) => boolean) {
    this.#ends = [...new Set(ends)];
    this.#picks = picks;
  }

  of(node: NodeId): NodeKind {
    let kind = this.#kindOf.get(node);
    if (kind === undefined) {
      const ends = this.#ends.filter((end) => this.#picks(end, node));
      const key = JSON.stringify(ends);
      kind = this.#kinds.get(key) ?? { number: this.#kinds.size, ends: new Set(ends) };
      this.#kinds.set(key, kind);
      this.#kindOf.set(node, kind);
    }
    return kind;
  }
}
