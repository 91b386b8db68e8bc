import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ed25519Key, SeededRandom, SILENT_LOG, SystemClock } from "#core";
import { type NodeId, nodeIdOf } from "#identity";
import { type BlobRef, type Holders, startSwarm, Store, type SwarmService, type SwarmServiceOptions } from "#artifacts";
import { MemoryNet } from "../sim/memory-net.ts";

const MIB = 1024 * 1024;
const clock = new SystemClock();
const never = new AbortController().signal;

type Node = AsyncDisposable & { id: NodeId; dir: string; store: Store; swarm: SwarmService; holders: Holders };

describe("artifacts: swarm service", () => {
  let dir: string;
  let net: MemoryNet;
  let started: Node[];

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "portolan-swarm-"));
    net = new MemoryNet();
    started = [];
  });

  afterEach(async () => {
    for (const node of started) await node[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  async function start(name: string, options: SwarmServiceOptions & { site?: string } = {}): Promise<Node> {
    const seed = createHash("sha256").update(name).digest();
    const id = nodeIdOf(new Ed25519Key(seed).publicKey);
    const store = await Store.open(join(dir, name), { clock, log: SILENT_LOG });
    const ports = net.ports(id, options.site);
    const random = new SeededRandom(started.length);
    const swarm = await startSwarm({ clock, random, log: SILENT_LOG, store, ...ports }, options);
    let open = true;
    const node: Node = {
      id,
      dir: join(dir, name),
      store,
      swarm,
      holders: ports.holders,
      async [Symbol.asyncDispose]() {
        if (!open) return;
        open = false;
        await swarm[Symbol.asyncDispose]();
        await store[Symbol.asyncDispose]();
      },
    };
    started.push(node);
    return node;
  }

  function content(sizeBytes: number, seed = 1): Buffer {
    const bytes = Buffer.alloc(sizeBytes);
    let block = Buffer.from([seed]);
    for (let at = 0; at < sizeBytes; at += block.length) {
      block = createHash("sha512").update(block).digest();
      block.copy(bytes, at);
    }
    return bytes;
  }

  async function publish(node: Node, bytes: Uint8Array): Promise<BlobRef> {
    const path = join(dir, "source");
    await writeFile(path, bytes);
    const ref = await node.store.import(path, { inPlace: false, signal: never });
    node.holders.announce(ref.root);
    return ref;
  }

  async function bytesAt(node: Node, ref: BlobRef): Promise<Buffer> {
    assert.equal(node.store.stateOf(ref.root), "whole");
    const blob = await node.store.get(ref.root);
    assert.ok(blob);
    return readFile(blob.path);
  }

  it("brings a file from one store to another, and says from whom it came", async () => {
    const [a, b] = [await start("a"), await start("b")];
    const bytes = content(5 * MIB + 12_345);
    const ref = await publish(a, bytes);
    const progress = await b.swarm.fetch(ref, { signal: never });
    assert.equal(Buffer.compare(await bytesAt(b, ref), bytes), 0);
    assert.equal(progress.bytes, bytes.length);
    assert.deepEqual([...progress.sources], [[a.id, bytes.length]]);
    assert.equal(progress.fromSite, bytes.length);
    assert.equal(progress.fromWan, 0);
  });

  for (const sizeBytes of [0, 1, 64 * 1024, 256 * 1024, 256 * 1024 + 1]) {
    it(`brings a file of ${sizeBytes} bytes`, async () => {
      const [a, b] = [await start("a"), await start("b")];
      const bytes = content(sizeBytes);
      const ref = await publish(a, bytes);
      await b.swarm.fetch(ref, { signal: never });
      assert.equal(Buffer.compare(await bytesAt(b, ref), bytes), 0);
    });
  }

  it("brings one copy over the WAN to each other site", async () => {
    const names = ["a1", "a2", "b1", "b2", "b3", "c1", "c2", "c3"];
    const nodes = await Promise.all(names.map((name) => start(name, { site: name.slice(0, 1) })));
    const [origin, ...others] = nodes;
    assert.ok(origin);
    const bytes = content(8 * MIB);
    const ref = await publish(origin, bytes);
    const all = await Promise.all(others.map((node) => node.swarm.fetch(ref, { signal: never })));
    for (const node of others) assert.equal(Buffer.compare(await bytesAt(node, ref), bytes), 0);
    const wanOf = (site: string): number =>
      all.reduce((sum, progress, at) => sum + (names[at + 1]?.startsWith(site) ? progress.fromWan : 0), 0);
    assert.ok(wanOf("b") <= 1.3 * bytes.length, `${wanOf("b") / bytes.length} copies into site b`);
    assert.ok(wanOf("c") <= 1.3 * bytes.length, `${wanOf("c") / bytes.length} copies into site c`);
    assert.equal(wanOf("a"), 0);
  });
});
