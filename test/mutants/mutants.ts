/** One check of the product switched off, and the test that must notice. */
export type Mutant = {
  name: string;
  /** What no longer happens. */
  off: string;
  file: string;
  /** Text that stands in the file exactly once, and what takes its place. */
  from: string;
  to: string;
  test: string;
  /** The test's own title. */
  title: string;
};

/** Texts are long enough to be unmistakable, and no longer: whoever rewrites such a line has to look here. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: "sequence",
    off: "an older version of a document is no longer refused",
    file: "src/identity/charter.ts",
    from: "if (version < known) return",
    to: "if (version < 0) return",
    test: "test/unit/document-store.test.ts",
    title: "refuses a rollback and an equivocation, and a higher version heals",
  },
  {
    name: "equivocation",
    off: "another document of the same version is taken for the same one",
    file: "src/identity/charter.ts",
    from: "if (mark !== undefined && version === known) {",
    to: 'if (mark !== undefined && version === known) {\n    return { outcome: "known", id };',
    test: "test/unit/document-store.test.ts",
    title: "refuses a rollback and an equivocation, and a higher version heals",
  },
  {
    name: "refund",
    off: "what was offered to a peer that is gone counts for ever",
    file: "src/artifacts/swarm/membership.ts",
    from: "for (const chunk of peer.offered.keys()) refundOffer(state, peer, chunk);",
    to: "",
    test: "test/unit/artifacts-swarm-step.test.ts",
    title: "offers as much to others when one that did not answer is gone",
  },
  {
    name: "veto: mine",
    off: "a chunk that is arriving is accepted once more",
    file: "src/artifacts/swarm/receiving.ts",
    from: "state.have.has(chunk) || state.arrivals.has(chunk)) return",
    to: "state.have.has(chunk)) return",
    test: "test/sim/swarm.test.ts",
    title: "reaches 8 nodes within 5 % of the fluid bound (seed 1)",
  },
  {
    name: "veto: site",
    off: "a chunk that the site has, or gets, is taken over the WAN once more",
    file: "src/artifacts/swarm/receiving.ts",
    from: 'if (peer.wan && state.siteHas(chunk)) return "site";',
    to: "",
    test: "test/unit/artifacts-swarm-step.test.ts",
    title: "takes nothing over the WAN that a member of its site has or gets, until that one gives it up",
  },
  {
    name: "verification",
    off: "cells are taken without a look at their hashes",
    file: "src/artifacts/chunk-assembly.ts",
    from: "if (!fill(cells, pieces) || !this.#verify(first, cells)) return false;",
    to: "fill(cells, pieces);\n    this.#verify(first, cells);",
    test: "test/unit/artifacts-swarm-service.test.ts",
    title: "takes nothing from one that sends wrong bytes, names it, and gets the blob from another",
  },
  {
    name: "gate: hello",
    off: "whoever says hello is a neighbour",
    file: "src/mesh/gatekeeper.ts",
    from: "(this.#isFull(connection) ? FULL : gate.judge(peer, offer))",
    to: '({ ...gate.judge(peer, offer), accepted: true, site: "", name: "" })',
    test: "test/e2e/mesh-host.test.ts",
    title: "tells the dialler why it was refused, and runs no handler for it",
  },
  {
    name: "gate: handlers",
    off: "whoever has not said hello is served",
    file: "src/mesh/libp2p-host.ts",
    from: "if (session === undefined) stream.abort(",
    to: "if (session === null) stream.abort(",
    test: "test/e2e/mesh-host.test.ts",
    title: "serves strangers the protocol that is theirs and no other",
  },
  {
    name: "one-sided links",
    off: "a link counts that only one of its ends tells of",
    file: "src/routing/link-graph.ts",
    from: "cost = isMutual ? ",
    to: "cost = true ? ",
    test: "test/sim/routing.test.ts",
    title: "does not believe a node that tells of a link which the other end does not have",
  },
  {
    name: "transit",
    off: "paths lead through nodes that do not pass on",
    file: "src/routing/path-tree.ts",
    from: "from === this.#root || this.#graph.carries(from) ? ",
    to: "true ? ",
    test: "test/unit/routing-paths.test.ts",
    title: "begin and end at a node that does not carry, and never lead through it",
  },
  {
    name: "forbidden links",
    off: "paths lead over links that operators forbid",
    file: "src/routing/link-map.ts",
    from: "if (Number.isFinite(cost)) costs.set(to, cost);",
    to: "costs.set(to, Number.isFinite(cost) ? cost : 1);",
    test: "test/unit/routing-topology.test.ts",
    title: "never lead over a link that is forbidden",
  },
  {
    name: "carry: false",
    off: "circuits stay on a node that must carry no more",
    file: "src/routing/link-graph.ts",
    from: "|| (i > 0 && !this.carries(from))",
    to: "",
    test: "test/unit/routing-topology.test.ts",
    title: "never lead through a node that must not carry, and still end at it",
  },
  {
    name: "backup path",
    off: "the backup path may share what it likes with the path",
    file: "src/routing/backup-path.ts",
    from: "const SHARED = 2 ** 40;",
    to: "const SHARED = 1;",
    test: "test/unit/routing-paths.test.ts",
    title: "shares no node with the path, though another way would be cheaper",
  },
  {
    name: "circuit tags",
    off: "a frame of a circuit may be changed on its way",
    file: "src/routing/circuit/circuit-frame.ts",
    from: "if (!timingSafeEqual(",
    to: "if (timingSafeEqual(tag, tag) && !timingSafeEqual(tag, tag) && !timingSafeEqual(",
    test: "test/unit/routing-circuits.test.ts",
    title: "refuses what was changed on its way, once both have the key",
  },
  {
    name: "circuit source",
    off: "anybody may open a circuit in the name of another",
    file: "src/routing/circuit/circuit-open.ts",
    from: "if (!verifyEd25519(publicKeyOf(open.data.source), ",
    to: "if (!open.success && !verifyEd25519(publicKeyOf(open.data.source), ",
    test: "test/e2e/circuits.test.ts",
    title: "are opened and moved only by who signed for it, in its turn, and once",
  },
  {
    name: "replay over a new path",
    off: "what was on its way is not sent again",
    file: "src/routing/circuit/reliable-line.ts",
    from: "for (const part of this.#replay.parts(",
    to: "for (const part of new ReplayBuffer().parts(",
    test: "test/unit/routing-circuits.test.ts",
    title: "goes on where it broke, wherever that is",
  },
  {
    name: "service tenant",
    off: "a service counts in whichever tenant is asked for",
    file: "src/routing/service/service-directory.ts",
    from: "record === undefined || this.#tenantOf(node) !== tenant",
    to: "record === undefined || (this.#tenantOf(node) ?? tenant) === undefined",
    test: "test/unit/routing-service-directory.test.ts",
    title: "counts a service in the tenant of its node's member document, also when that changes",
  },
  {
    name: "exposed addresses",
    off: "what a name means is not judged when it is dialled",
    file: "src/routing/service/expose.ts",
    from: "found.filter(mayExpose)",
    to: "found",
    test: "test/unit/routing-services.test.ts",
    title: "is asked about what a name means, each time",
  },
];
