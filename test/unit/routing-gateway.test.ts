import assert from "node:assert/strict";
import { once } from "node:events";
import { type ByteStream, Fault, memoryStreamPair, SILENT_LOG, SystemClock } from "#core";
import { nodeIdOf, type NodeId } from "#identity";
import type { Session } from "#mesh";
import { Gateway, MAX_HELD_BYTES } from "../../src/routing/circuit/gateway.ts";
import { legOf } from "../../src/routing/circuit/leg.ts";
import { pass } from "../../src/routing/circuit/splice.ts";
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
const OPENING = { signed: { open: new Uint8Array(), sig: new Uint8Array() }, open: OPEN, via: undefined };
const LEG = legOf(OPENING, gateway, () => true);
const never = new AbortController().signal;

/** A gateway between two neighbours, of which those in `silent` do not answer probes. */
function gatewayBetween(silent: Set<NodeId>) {
  const [near, carried] = memoryStreamPair();
  const [onward, far] = memoryStreamPair();
  const session = (node: NodeId) => ({ suspect: () => silent.has(node), carry: () => () => undefined }) as Session;
  const host = { nodeId: gateway, session, open: () => Promise.resolve(onward) };
  const carries = { transit: () => true, isMember: () => true, mayUse: () => true, detour: () => undefined };
  const it = new Gateway({ host, clock: new SystemClock(), log: SILENT_LOG, ...carries });
  const ended = new EventTarget();
  for (const end of [near, far]) {
    end.listen({
      data: () => undefined,
      end: (error) => ended.dispatchEvent(new CustomEvent("end", { detail: error })),
    });
  }
  return { it, ended, carry: () => it.carry(carried, OPENING, LEG, never) };
}

describe("a gateway", () => {
  it("ends what keeps the most waiting, when it is too much in all", async () => {
    const onwards: ByteStream[] = [];
    const session = () => ({ suspect: () => false, carry: () => () => undefined }) as unknown as Session;
    const host = { nodeId: gateway, session, open: () => Promise.resolve(onwards.shift() as ByteStream) };
    const carries = { transit: () => true, isMember: () => true, mayUse: () => true, detour: () => undefined };
    const clock = new SystemClock();
    const sleep = (ms: number): Promise<void> => clock.sleep(ms);
    const it = new Gateway({ host, clock, log: SILENT_LOG, ...carries });
    /** A circuit whose far end reads nothing, over which so much is sent. */
    const carry = async (bytes: number): Promise<Promise<Error | undefined>> => {
      const [[near, carried], [onward, far]] = [memoryStreamPair(), memoryStreamPair()];
      onwards.push(onward);
      far.pause();
      const { promise, resolve } = Promise.withResolvers<Error | undefined>();
      near.listen({ data: () => undefined, end: resolve });
      await it.carry(carried, OPENING, LEG, never);
      near.send(new Uint8Array(512 * 1024)); // the way onward is full, and the rest stays here
      await sleep(20);
      near.send(new Uint8Array(bytes));
      return promise;
    };
    const ended: string[] = [];
    for (const [name, bytes] of Object.entries({ one: MAX_HELD_BYTES / 2, hoarder: MAX_HELD_BYTES, other: 1_000 })) {
      const end = carry(bytes);
      void end.then((error) => ended.push(`${name}: ${error instanceof Fault ? error.code : "no error"}`));
      await sleep(60);
    }
    it.endHoarders();
    await sleep(20);
    assert.deepEqual(ended, ["hoarder: core.stream-reset"]);
    assert.equal(it.carried().length, 2);
    it.endHoarders();
    assert.equal(it.carried().length, 2);
  });

  it("puts no more on a link that is full than one turn, however much waits", async () => {
    const [[near, from], [to, far]] = [memoryStreamPair(), memoryStreamPair()];
    for (let i = 0; i < 128; i++) near.send(new Uint8Array(32 * 1024).fill(i));
    pass(from, to, () => undefined);
    const clock = new SystemClock();
    await clock.sleep(20);
    assert.ok(far.heldBytes >= 256 * 1024 && far.heldBytes <= 320 * 1024, `${far.heldBytes} bytes`);
    assert.equal(from.heldBytes + far.heldBytes, 128 * 32 * 1024, "the rest stays");
    const got: number[] = [];
    far.listen({ data: (piece) => got.push(piece[0] as number), end: () => undefined });
    while (got.length < 128) await clock.sleep(1);
    assert.deepEqual(
      got,
      Array.from({ length: 128 }, (_, i) => i),
    );
  });

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
