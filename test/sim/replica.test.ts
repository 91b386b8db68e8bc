import assert from "node:assert/strict";
import { encodeCbor, SeededRandom, SILENT_LOG, VirtualClock } from "#core";
import { nodeIdOf } from "#identity";
import { Gossip, startReplica } from "#mesh";
import type { Replica } from "../../src/mesh/replica.ts";
import type { DocumentStore } from "../../src/identity/document-store.ts";
import { ARTIFACT_SPEC, NOW_MS, TestFleet, testKey } from "../support/fleet.ts";
import { MemoryHost } from "../support/memory-mesh.ts";

const fleet = new TestFleet();

type TestNode = { host: MemoryHost; store: DocumentStore; replica: Replica };

function startNode(clock: VirtualClock, seed: number, store: DocumentStore): TestNode {
  const host = new MemoryHost(nodeIdOf(testKey(seed).publicKey));
  const random = new SeededRandom(seed);
  const replica = startReplica({ host, store, clock, random, log: SILENT_LOG, trustedMs: () => NOW_MS });
  return { host, store, replica };
}

/** Virtual time passes until the condition holds; fails after a simulated minute. */
async function until(clock: VirtualClock, condition: () => boolean): Promise<void> {
  for (let step = 0; step < 600 && !condition(); step++) {
    await clock.advanceMs(100);
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
  }
  assert.ok(condition(), "the state was not reached in a simulated minute");
}

const same = (nodes: TestNode[]): boolean =>
  new Set(nodes.map(({ store }) => Buffer.from(store.digest()).toString("hex"))).size === 1;

describe("document replication", () => {
  it("brings a document from one end of a line of nodes to the other", async () => {
    const clock = new VirtualClock(NOW_MS);
    const nodes = [100, 101, 102, 103].map((seed, i) =>
      startNode(clock, seed, i === 0 ? fleet.seededStore() : fleet.store()),
    );
    for (let i = 0; i + 1 < nodes.length; i++)
      MemoryHost.link((nodes[i] as TestNode).host, (nodes[i + 1] as TestNode).host);
    await until(clock, () => same(nodes));
    const [first, , , last] = nodes as [TestNode, TestNode, TestNode, TestNode];
    assert.equal(last.store.charter?.body.metadata.name, "plant");
    last.store.submit(fleet.sign("Artifact", "model:v1", ARTIFACT_SPEC, [fleet.publisher]), NOW_MS);
    await until(clock, () => first.store.get("Artifact", "model:v1") !== undefined);
    for (const node of nodes) await node.replica[Symbol.asyncDispose]();
  });

  it("unites two halves that changed while they were cut off", async () => {
    const clock = new VirtualClock(NOW_MS);
    const nodes = [110, 111].map((seed) => startNode(clock, seed, fleet.seededStore())) as [TestNode, TestNode];
    for (let i = 0; i < 300; i++) {
      const node = nodes[i % 2] as TestNode;
      node.store.submit(fleet.sign("Artifact", `a${i}`, ARTIFACT_SPEC, [fleet.publisher]), NOW_MS);
    }
    MemoryHost.link(nodes[0].host, nodes[1].host);
    await until(clock, () => same(nodes));
    assert.equal(nodes[0].store.list("Artifact").length, 300);
    for (const node of nodes) await node.replica[Symbol.asyncDispose]();
  });

  it("keeps nothing that a hostile neighbour offers, and closes one that talks nonsense", async () => {
    const clock = new VirtualClock(NOW_MS);
    const honest = startNode(clock, 120, fleet.seededStore());
    const hostile = new MemoryHost(nodeIdOf(testKey(121).publicKey));
    MemoryHost.link(honest.host, hostile);
    hostile.sessions()[0]?.send("docs", { digest: new Uint8Array(3) });
    await until(clock, () => honest.host.disconnected.size === 1);
    assert.equal(honest.host.sessions().length, 0);
    await honest.replica[Symbol.asyncDispose]();
  });
});

describe("gossip", () => {
  const gossips = (count: number, clock: VirtualClock): { host: MemoryHost; gossip: Gossip }[] =>
    Array.from({ length: count }, (_, i) => {
      const key = testKey(130 + i);
      const host = new MemoryHost(nodeIdOf(key.publicKey));
      const isMember = (): boolean => true;
      return {
        host,
        gossip: new Gossip({
          boot: 1,
          host,
          key,
          fleet: () => fleet.id,
          site: () => "one",
          isMember,
          clock,
          random: new SeededRandom(1),
        }),
      };
    });

  it("brings the newest statement to all, also to nodes that come later", async () => {
    const clock = new VirtualClock(NOW_MS);
    const [a, b, c] = gossips(3, clock) as [
      ReturnType<typeof gossips>[number],
      ReturnType<typeof gossips>[number],
      ReturnType<typeof gossips>[number],
    ];
    MemoryHost.link(a.host, b.host);
    a.gossip.publish("copies", [1]);
    a.gossip.publish("copies", [2]);
    await until(clock, () => b.gossip.latest("copies").length === 1);
    MemoryHost.link(b.host, c.host);
    await until(clock, () => c.gossip.latest("copies").length === 1);
    await until(clock, () => JSON.stringify(c.gossip.latest("copies")[0]?.value) === "[2]");
    assert.equal(c.gossip.latest("copies")[0]?.origin, a.host.nodeId);
  });

  it("brings each statement to a mesh of 60", async () => {
    const clock = new VirtualClock(NOW_MS);
    const nodes = gossips(60, clock);
    const random = new SeededRandom(7);
    for (const [i, { host }] of nodes.entries()) {
      const others = [nodes[(i + 1) % 60], ...Array.from({ length: 3 }, () => nodes[random.below(60)])];
      for (const other of others) {
        if (other !== undefined && other.host !== host && host.session(other.host.nodeId) === undefined) {
          MemoryHost.link(host, other.host);
        }
      }
    }
    const [first] = nodes as [(typeof nodes)[number]];
    first.gossip.publish("copies", ["news"]);
    await until(clock, () => nodes.every(({ gossip }) => gossip.latest("copies").length === 1));
  });

  it("waits with what it has to say until it belongs to a fleet", async () => {
    const clock = new VirtualClock(NOW_MS);
    const [reader] = gossips(1, clock) as [ReturnType<typeof gossips>[number]];
    const key = testKey(150);
    const host = new MemoryHost(nodeIdOf(key.publicKey));
    let joined: string | undefined;
    const early = new Gossip({
      boot: 1,
      host,
      key,
      fleet: () => joined,
      site: () => "one",
      isMember: () => true,
      clock,
      random: new SeededRandom(1),
    });
    early.publish("copies", ["early"]);
    joined = fleet.id;
    MemoryHost.link(host, reader.host);
    await until(clock, () => reader.gossip.latest("copies").length === 1);
    assert.equal(reader.host.disconnected.size, 0);
  });

  it("drops the neighbour that passes on a statement it changed", async () => {
    const clock = new VirtualClock(NOW_MS);
    const [a, b] = gossips(2, clock) as [ReturnType<typeof gossips>[number], ReturnType<typeof gossips>[number]];
    MemoryHost.link(a.host, b.host);
    const forged = {
      topic: "copies",
      origin: nodeIdOf(testKey(140).publicKey),
      boot: 1,
      seq: 1,
      value: Uint8Array.of(1),
      sig: new Uint8Array(64),
    };
    a.host.sessions()[0]?.send("gossip", encodeCbor(forged));
    await until(clock, () => b.host.disconnected.has(a.host.nodeId));
    assert.equal(b.gossip.latest("copies").length, 0);
  });
});
