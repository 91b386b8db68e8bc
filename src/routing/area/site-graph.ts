import type { NodeId } from "#identity";
import { type AdvertisedLinks, type LinkChange, LinkGraph } from "../link-graph.ts";
import { type Path, PathTree } from "../path-tree.ts";

/** The links inside the own site, and whom this node reaches over them alone. */
export class SiteGraph {
  readonly #graph = new LinkGraph();
  readonly #tree: PathTree;
  readonly #self: NodeId;
  #changes: LinkChange[] = [];
  #reached: ReadonlySet<NodeId>;

  constructor(self: NodeId) {
    this.#self = self;
    this.#graph.set(self, new Map(), true);
    this.#tree = new PathTree(this.#graph, 0);
    this.#reached = new Set([self]);
  }

  /** As `LinkGraph.set`; counts from the next `settle`. */
  set(origin: NodeId, links: AdvertisedLinks, carries: boolean): void {
    this.#changes.push(...this.#graph.set(origin, links, carries));
  }

  /** Returns who is reached now and was not, or the other way round. */
  settle(): ReadonlySet<NodeId> {
    if (this.#changes.length === 0) return new Set();
    this.#tree.update(this.#changes);
    this.#changes = [];
    const before = this.#reached;
    this.#reached = new Set(this.#tree.reached());
    return before.symmetricDifference(this.#reached);
  }

  /** This node, and those that it reaches inside the site. */
  get reached(): ReadonlySet<NodeId> {
    return this.#reached;
  }

  /** The cheapest way inside the site. */
  pathTo(node: NodeId): Path | undefined {
    return node === this.#self ? undefined : this.#tree.to(node);
  }
}
