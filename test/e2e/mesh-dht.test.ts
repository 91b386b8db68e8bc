import assert from "node:assert/strict";
import { SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { type Dht, type Gate, LazyDht, type Libp2pBackedHost, startHost } from "#mesh";

const clock = new SystemClock();
const random = new SystemRandom();
const OPEN_GATE: Gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "berlin", name: "cam" }) };
const never = new AbortController().signal;

type Node = { host: Libp2pBackedHost; dht: Dht; hints: string[] };

describe("mesh: DHT", () => {
  const stack = new AsyncDisposableStack();
  after(() => stack.disposeAsync());

  async function startNode(): Promise<Omit<Node, "dht"> & { lazy: LazyDht }> {
    const listen = ["/ip4/127.0.0.1/tcp/0/tls"];
    const host = stack.use(
      await startHost({ clock, random, log: SILENT_LOG, seed: random.bytes(32), gate: OPEN_GATE }, { listen }),
    );
    const hints: string[] = [];
    const addressesOf = (peer: string): string[] => hints.filter((address) => address.endsWith(peer));
    const hint = (addresses: readonly string[]): void => void hints.push(...addresses);
    return { host, lazy: stack.use(new LazyDht({ host, clock, log: SILENT_LOG, addressesOf, hint })), hints };
  }

  async function node(): Promise<Node> {
    const { lazy, ...rest } = await startNode();
    return { ...rest, dht: await lazy.open() };
  }

  /** Asks until somebody is found: what is told to the DHT of a new neighbour takes a moment to arrive there. */
  async function findFirst(dht: Dht, key: Uint8Array): Promise<string | undefined> {
    for (let tries = 0; tries < 50; tries++) {
      for await (const { nodeId } of dht.findProviders(key, never)) return nodeId;
      await clock.sleep(50);
    }
    return undefined;
  }

  /** Announces until so many were told, for the same reason. */
  async function provideTo(count: number, dht: Dht, key: Uint8Array): Promise<void> {
    let told = 0;
    for (let tries = 0; told < count && tries < 50; tries++) told = await dht.provide(key, never);
    assert.ok(told >= count, `${told} were told`);
  }

  it("finds a provider that is a neighbour's neighbour, and how to reach it", async () => {
    const [a, b, c] = [await node(), await node(), await node()];
    await a.host.connect(b.host.addresses(), never);
    await c.host.connect(b.host.addresses(), never);
    const key = random.bytes(32);
    await provideTo(1, a.dht, key);
    assert.equal(await findFirst(c.dht, key), a.host.nodeId);
    assert.ok(c.hints.includes(a.host.addresses()[0] ?? ""));
    assert.ok(c.dht.stats().found >= 1);
    assert.equal(a.dht.stats().provided, 1);
  });

  it("goes through several nodes that only know their own neighbours", async () => {
    const chain = [await node(), await node(), await node(), await node(), await node()];
    for (const [i, { host }] of chain.entries())
      if (i > 0) await host.connect(chain[i - 1]?.host.addresses() ?? [], never);
    const [first, last] = [chain[0], chain.at(-1)];
    assert.ok(first && last);
    const key = random.bytes(32);
    await provideTo(3, first.dht, key);
    assert.equal(await findFirst(last.dht, key), first.host.nodeId);
  });

  it("is started by the first question of a neighbour, and answers it", async () => {
    const [a, hub, c] = [await node(), await startNode(), await node()];
    await a.host.connect(hub.host.addresses(), never);
    await c.host.connect(hub.host.addresses(), never);
    const key = random.bytes(32);
    await provideTo(1, a.dht, key); // the hub keeps the record, though nobody there has opened its DHT
    assert.equal(await findFirst(c.dht, key), a.host.nodeId);
  });

  it("is not started again by a question after it was stopped", async () => {
    const [a, b] = [await node(), await startNode()];
    await a.host.connect(b.host.addresses(), never);
    await b.lazy[Symbol.asyncDispose]();
    for await (const provider of a.dht.findProviders(random.bytes(32), never)) assert.fail(provider.nodeId);
    await assert.rejects(b.lazy.open(), { code: "mesh.stopped" });
  });

  it("finds nobody for what nobody has", async () => {
    const [a, b] = [await node(), await node()];
    await a.host.connect(b.host.addresses(), never);
    for await (const provider of a.dht.findProviders(random.bytes(32), never)) assert.fail(provider.nodeId);
    assert.deepEqual(a.dht.stats(), { lookups: 1, found: 0, provided: 0 });
  });

  it("answers nobody who has not been accepted", async () => {
    const [a, b] = [await node(), await node()];
    const stranger = await a.host.connectStranger(b.host.addresses(), never);
    const stream = await stranger.open("/portolan/kad/1", never);
    await new Promise<void>((resolve) => {
      stream.listen({ data: () => assert.fail("the DHT answered a stranger"), end: () => resolve() });
    });
    stranger.close();
  });
});
