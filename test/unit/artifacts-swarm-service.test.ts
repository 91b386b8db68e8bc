import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ed25519Key, SeededRandom, SILENT_LOG, SystemClock } from "#core";
import { type NodeId, nodeIdOf } from "#identity";
import {
  type BlobRef,
  type Holders,
  SWARM_PROTOCOL,
  startSwarm,
  Store,
  type SwarmService,
  type SwarmServiceOptions,
  MemoryNet,
} from "#artifacts";
import { Link } from "../../src/artifacts/link.ts";
import { OFFER_AHEAD_WAN_S } from "../../src/artifacts/swarm/swarm-limits.ts";

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

  it("goes on without the publisher once one copy is among the others", async () => {
    const [a, b, c, d] = [await start("a"), await start("b"), await start("c"), await start("d")];
    const bytes = content(12 * MIB);
    const ref = await publish(a, bytes);
    const others = [b, c, d];
    const fetches = others.map((node) => node.swarm.fetch(ref, { signal: never }));
    await Promise.race(fetches);
    net.kill(a.id);
    await a[Symbol.asyncDispose]();
    await Promise.all(fetches);
    for (const node of others) assert.equal(Buffer.compare(await bytesAt(node, ref), bytes), 0);
  });

  it("waits for a holder, and takes the blob when one comes", async () => {
    const [a, b] = [await start("a"), await start("b")];
    const bytes = content(MIB);
    await writeFile(join(dir, "source"), bytes);
    await using elsewhere = await Store.open(join(dir, "elsewhere"), { clock, log: SILENT_LOG });
    const ref = await elsewhere.import(join(dir, "source"), { inPlace: false, signal: never });
    const fetching = b.swarm.fetch(ref, { signal: never });
    await publish(a, bytes);
    await fetching;
    assert.equal(Buffer.compare(await bytesAt(b, ref), bytes), 0);
  });

  it("asks again whoever had nothing at first", async () => {
    const [a, b] = [await start("a"), await start("b")];
    const bytes = content(MIB);
    await writeFile(join(dir, "source"), bytes);
    await using elsewhere = await Store.open(join(dir, "elsewhere"), { clock, log: SILENT_LOG });
    const ref = await elsewhere.import(join(dir, "source"), { inPlace: false, signal: never });
    a.holders.announce(ref.root); // it has not, yet
    const refused = Promise.withResolvers<void>();
    const fetching = b.swarm.fetch(ref, {
      signal: never,
      onProgress: () => refused.resolve(), // comes with the first tick, long after the answer
    });
    await refused.promise;
    await publish(a, bytes);
    await fetching;
    assert.equal(Buffer.compare(await bytesAt(b, ref), bytes), 0);
  });

  it("stops when told to, keeps what came, and goes on from there after a restart", async () => {
    const [a, b] = [await start("a", { uploadBps: 8 * MIB }), await start("b")];
    const bytes = content(6 * MIB);
    const ref = await publish(a, bytes);
    const stop = new AbortController();
    const reason = new Error("enough");
    const fetching = b.swarm.fetch(ref, {
      signal: stop.signal,
      onProgress: (progress) => (progress.bytes > MIB ? stop.abort(reason) : undefined),
    });
    await assert.rejects(fetching, reason);
    await b[Symbol.asyncDispose]();
    const again = await start("b");
    const progress = await again.swarm.fetch(ref, { signal: never });
    assert.equal(Buffer.compare(await bytesAt(again, ref), bytes), 0);
    assert.ok(progress.fromSite < bytes.length - MIB / 2, `${progress.fromSite} bytes came again`);
    assert.equal(progress.bytes, bytes.length);
  });

  it("keeps to the limits for upload and download", async () => {
    for (const [up, down] of [
      [2 * MIB, undefined],
      [undefined, 2 * MIB],
    ]) {
      const [a, b] = [await start(`a${up}`, { uploadBps: up }), await start(`b${up}`, { downloadBps: down })];
      const ref = await publish(a, content(3 * MIB, up === undefined ? 2 : 3));
      const startedMs = clock.nowMs();
      await b.swarm.fetch(ref, { signal: never });
      const seconds = (clock.nowMs() - startedMs) / 1_000;
      assert.ok(seconds > 1, `3 MiB in ${seconds} s at 2 MiB/s and a burst of 0.5 MiB`);
    }
  });

  for (const [side, sites] of [
    ["sender", ["here", "here"]],
    ["receiver", ["here", "here"]],
    ["sender over the WAN", ["here", "there"]],
    ["receiver over the WAN", ["here", "there"]],
  ] as const) {
    it(`puts what somebody waits for in front of what nobody does, with a limit at the ${side}`, async () => {
      const [own, other] = sites;
      const atSender = side.startsWith("sender");
      const limit = 4 * MIB;
      const a = await start("a", { site: own, ...(atSender ? { uploadBps: limit } : {}) });
      const b = await start("b", { site: other, ...(atSender ? {} : { downloadBps: limit }) });
      const [behind, ahead] = [await publish(a, content(24 * MIB, 7)), await publish(a, content(8 * MIB, 8))];
      const begun = Promise.withResolvers<void>();
      let bytes = 0;
      const background = b.swarm.fetch(behind, {
        signal: never,
        precedence: { foreground: false },
        onProgress: (progress) => {
          bytes = progress.bytes;
          if (bytes > 2 * MIB) begun.resolve();
        },
      });
      await begun.promise;
      // from the first of it on: until then nothing is in front, and on a busy machine its map alone takes long
      let first: { bytes: number; atMs: number } | undefined;
      await b.swarm.fetch(ahead, {
        signal: never,
        onProgress: (progress) => {
          if (progress.bytes > 0) first ??= { bytes, atMs: clock.nowMs() };
        },
      });
      assert.ok(first);
      const seconds = (clock.nowMs() - first.atMs) / 1_000;
      const meanwhile = (bytes - first.bytes) / MIB;
      console.log(
        `      the rest of 8 MiB at 4 MiB/s in ${seconds.toFixed(2)} s, ${meanwhile.toFixed(2)} MiB of the other meanwhile`,
      );
      // what was accepted before comes still, and the background's share of the limit (docs/spec/swarm.md, rule 21); with equal shares it would be 8 MiB
      const most = OFFER_AHEAD_WAN_S * 4 + (seconds * 4) / 20 + 0.25;
      assert.ok(meanwhile <= most, `at most ${most.toFixed(2)} MiB of the other`);
      await background;
    });
  }

  it("takes nothing from one that sends wrong bytes, names it, and gets the blob from another", async () => {
    const blamed: string[] = [];
    const [a, b] = [
      await start("a"),
      await start("b", { onBlame: (peer, _, blame) => blamed.push(`${blame} ${peer}`) }),
    ];
    const bytes = content(2 * MIB);
    const ref = await publish(a, bytes);
    const liar = nodeIdOf(new Ed25519Key(createHash("sha256").update("liar").digest()).publicKey);
    startLiar(net, liar, ref);
    await b.swarm.fetch(ref, { signal: never });
    assert.equal(Buffer.compare(await bytesAt(b, ref), bytes), 0);
    assert.deepEqual(blamed, [`bad-cell ${liar}`]);
  });

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

/** A peer that says it has all, is quicker to offer than anybody, and sends zeros. */
function startLiar(net: MemoryNet, id: NodeId, ref: BlobRef): void {
  const ports = net.ports(id);
  const chunkCount = Math.ceil(ref.sizeBytes / ref.chunkBytes);
  const status = { wants: false, yields: false, foreground: false, reach: [] };
  ports.net.handle(SWARM_PROTOCOL, (stream, peer) => {
    const link = new Link(stream, peer, peer, {
      end: () => undefined,
      message: (_, message) => {
        if (message.type === "join") {
          link.join(ref, status);
          link.say({ type: "swarm", ref: 0, message: { type: "have", runs: [0, chunkCount] } });
          offerAll();
        }
        if (message.type === "map-want") link.say({ type: "map", ref: 0, first: message.first });
        if (message.type !== "swarm") return;
        if (message.message.type === "ready") offerAll();
        if (message.message.type !== "accept") return;
        const { chunk } = message.message;
        const zeros = new Uint8Array(ref.chunkBytes);
        link.say({ type: "cells", ref: 0, chunk, first: 0, count: 4, hashed: false }, [zeros]);
      },
    });
    const offerAll = (): void => {
      for (let chunk = 0; chunk < chunkCount; chunk++) {
        link.say({ type: "swarm", ref: 0, message: { type: "offer", chunk } });
      }
    };
  });
  ports.holders.announce(ref.root);
}
