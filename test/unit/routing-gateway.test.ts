import assert from "node:assert/strict";
import { once } from "node:events";
import { Fault, memoryStreamPair, SILENT_LOG, SystemClock } from "#core";
import { nodeIdOf, type NodeId } from "#identity";
import type { Session } from "#mesh";
import { Gateway } from "../../src/routing/circuit/gateway.ts";
import { orderPaths } from "../../src/routing/circuit/order-paths.ts";

const [source, gateway, target] = [1, 2, 3].map((n) => nodeIdOf(new Uint8Array(32).fill(n))) as [
  NodeId,
  NodeId,
  NodeId,
];
const OPEN = {
  fleet: "fleet",
  circuit: new Uint8Array(16),
  source,
  path: [gateway, target],
  expires: 0,
  epoch: 0,
  received: 0,
};
const never = new AbortController().signal;

/** A gateway between two neighbours, of which those in `silent` do not answer probes. */
function gatewayBetween(silent: Set<NodeId>) {
  const [near, carried] = memoryStreamPair();
  const [onward, far] = memoryStreamPair();
  const session = (node: NodeId) => ({ suspect: () => silent.has(node), carry: () => () => undefined }) as Session;
  const host = { nodeId: gateway, session, open: () => Promise.resolve(onward) };
  const carries = { transit: () => true, isMember: () => true };
  const it = new Gateway({ host, clock: new SystemClock(), log: SILENT_LOG, ...carries });
  const ended = new EventTarget();
  for (const end of [near, far]) {
    end.listen({
      data: () => undefined,
      end: (error) => ended.dispatchEvent(new CustomEvent("end", { detail: error })),
    });
  }
  return { it, ended, carry: () => it.carry(carried, {}, OPEN, never) };
}

describe("a gateway", () => {
  for (const [name, neighbour] of Object.entries({ before: source, behind: target })) {
    it(`ends what it carries when the link ${name} it falls silent, and nothing sooner`, async () => {
      const silent = new Set<NodeId>();
      const { it, ended, carry } = gatewayBetween(silent);
      await carry();
      it.endSilent();
      assert.equal(it.carried().length, 1);
      silent.add(neighbour);
      const [end] = [once(ended, "end")];
      it.endSilent();
      const [{ detail }] = (await end) as [CustomEvent];
      assert.ok(detail instanceof Error);
    });
  }

  it("refuses what would go on over a silent link", async () => {
    const { it, carry } = gatewayBetween(new Set([target]));
    await assert.rejects(carry, (error) => error instanceof Fault && error.code === "routing.no-link");
    assert.equal(it.carried().length, 0);
  });
});

describe("the order of ways", () => {
  const paths = (...all: string[]) => all.map((path) => path.split(" "));
  const cases = [
    { what: "the cheapest first", failed: undefined, known: paths("g b", "h b"), order: paths("g b", "h b") },
    { what: "the failed one last", failed: "g b", known: paths("g b", "h b"), order: paths("h b", "g b") },
    {
      what: "what shares gateways with the failed one behind what does not",
      failed: "g b",
      known: paths("h g b", "g b", "h b", "i h b"),
      order: paths("h b", "i h b", "h g b", "g b"),
    },
    { what: "each once", failed: undefined, known: paths("g b", "g b"), order: paths("g b") },
  ];
  for (const { what, failed, known, order } of cases) {
    it(`is ${what}`, () => assert.deepEqual(orderPaths(known, failed?.split(" ")), order));
  }
});
