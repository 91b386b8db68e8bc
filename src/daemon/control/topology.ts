import type { Handlers, TopologyPreview } from "#api";
import { MAX_LIST } from "#api";
import { type Clock, Fault } from "#core";
import { type NodeId, parseBody, type Spec, TOPOLOGY_NAME } from "#identity";
import { graphUnder, nodesOf, type RouteChange, routeChanges, type Router } from "#routing";
import type { NodeState } from "../node-state.ts";
import { isNodeName, strictPickerOf } from "../topology.ts";
import { makeDraft } from "./documents.ts";

/** Says what a topology would change, before anybody signs it. `router` is absent while the node does not run. */
export function topologyHandlers(
  state: NodeState,
  { router }: { router: Router | undefined },
): Pick<Handlers, "previewTopology"> {
  return {
    previewTopology: async (input, { signal }) => {
      const draft = makeDraft(state, "Topology", { name: TOPOLOGY_NAME, spec: input.spec });
      const { spec } = parseBody("Topology", Buffer.from(draft.payload, "base64"));
      const warnings = judgeEnds(state, spec);
      if (router === undefined) warnings.push("no daemon runs here, so what it would change is not known");
      else if (router.policy.areas === "site")
        warnings.push("links inside other sites are not known here, so what it would change there is not shown");
      return { ...(await preview(state, router, spec, signal)), warnings };
    },
  };
}

/** Ends of rules, each with its place in the document. */
function endsOf({ links = [], transit = [], borders = [] }: Spec<"Topology">): { path: string; end: string }[] {
  return [
    ...links.flatMap(({ from, to }, i) => [
      { path: `links.${i}.from`, end: from },
      { path: `links.${i}.to`, end: to },
    ]),
    ...transit.map(({ node }, i) => ({ path: `transit.${i}.node`, end: node })),
    ...borders.map((end, i) => ({ path: `borders.${i}`, end })),
  ];
}

/** Warnings of ends that mean nobody. Throws Fault `api.selector` (exit `invalid`), and `daemon.topology-node` (exit `missing`) for a name that no node has. */
function judgeEnds({ members }: NodeState, spec: Spec<"Topology">): string[] {
  const all = members.all();
  return endsOf(spec).flatMap(({ path, end }) => {
    if (all.some(strictPickerOf(end))) return [];
    if (!isNodeName(end)) return [`spec.${path}: no node matches "${end}" now`];
    throw new Fault("daemon.topology-node", `spec.${path}: there is no node "${end}"`, {
      exit: "missing",
      fix: "`portolan get nodes` lists them. Labels are written as in rack=r1.",
    });
  });
}

type Preview = Omit<TopologyPreview, "warnings">;

/** From what this node knows of everybody's links. */
async function preview(
  state: NodeState,
  router: Router | undefined,
  spec: Spec<"Topology">,
  signal: AbortSignal,
): Promise<Preview> {
  if (router === undefined) return { changes: [], total: 0, cut: [] };
  const map = router.map();
  const before = graphUnder(router.policy, map);
  const after = graphUnder(state.topology.policyOf(spec), map);
  const found = new Changes();
  for (const node of nodesOf(before)) {
    if (map.get(node)?.links.size === 0) continue; // behind borders: it goes as they do
    found.add(routeChanges(before, after, node));
    await pause(state.clock, signal);
  }
  const nameOf = (node: NodeId): string => state.members.nameOf(node);
  return {
    total: found.total,
    changes: found.worst().map((change) => changeView(change, nameOf)),
    cut: [...found.cut].map(([node, from]) => ({ node: nameOf(node), from })).toSorted((a, b) => b.from - a.from),
  };
}

/** All pairs of 300 nodes take a second; what else the daemon does goes on between the nodes. */
async function pause(clock: Clock, signal: AbortSignal): Promise<void> {
  await clock.sleep(0, signal);
}

/** Changes, those first that matter most: ways that are gone or new, then other ways, then other costs. */
class Changes {
  readonly #kinds: [RouteChange[], RouteChange[], RouteChange[]] = [[], [], []];
  /** From how many nodes each node could not be reached any more. */
  readonly cut = new Map<NodeId, number>();
  total = 0;

  add(changes: readonly RouteChange[]): void {
    this.total += changes.length;
    for (const change of changes) {
      const { to, before, after } = change;
      if (after === undefined) this.cut.set(to, (this.cut.get(to) ?? 0) + 1);
      const kind = this.#kinds[before === undefined || after === undefined ? 0 : isOtherWay(change) ? 1 : 2];
      if (kind.length < MAX_LIST) kind.push(change);
    }
  }

  worst(): RouteChange[] {
    return this.#kinds.flat().slice(0, MAX_LIST);
  }
}

function isOtherWay({ before, after }: RouteChange): boolean {
  return before?.nodes.join() !== after?.nodes.join();
}

function changeView(
  { from, to, before, after }: RouteChange,
  nameOf: (node: NodeId) => string,
): TopologyPreview["changes"][number] {
  const way = (path: RouteChange["before"]) => path && { cost: path.cost, via: path.nodes.slice(1, -1).map(nameOf) };
  const [was, is] = [way(before), way(after)];
  return {
    from: nameOf(from),
    to: nameOf(to),
    ...(was === undefined ? {} : { before: was }),
    ...(is === undefined ? {} : { after: is }),
  };
}
