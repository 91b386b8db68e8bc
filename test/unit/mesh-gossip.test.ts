import assert from "node:assert/strict";
import { decodeCbor, encodeCbor, Ed25519Key, SeededRandom, VirtualClock } from "#core";
import { nodeIdOf } from "#identity";
import { Gossip } from "#mesh";
import { isLater, readStatement, signStatement, statementId, tagOf } from "../../src/mesh/statement.ts";
import { BUCKET_BYTES, BUCKETS } from "../../src/mesh/statement-table.ts";
import { NOW_MS, testKey } from "../support/fleet.ts";
import { MemoryHost } from "../support/memory-mesh.ts";

const FLEET = "fleet";
const KIB = 1024;
const TAG = "A".repeat(11);
const NOTHING = { buckets: new Uint8Array(BUCKETS * BUCKET_BYTES) };
const ALL_BUCKETS = Array.from({ length: BUCKETS }, (_, i) => i);

/** What came from the honest node, by kind of message. */
type Inbox = Map<string, unknown[]>;
type Scene = {
  clock: VirtualClock;
  honest: MemoryHost;
  gossip: Gossip;
  peer: MemoryHost;
  inbox: Inbox;
  members: Set<string>;
};

const KINDS = ["gossip", "gossip-digest", "gossip-versions", "gossip-want", "gossip-statements", "gossip-unfeed"];
const peerKey = testKey(201);
const PEER = nodeIdOf(peerKey.publicKey);

/** A node of ours, and one that says what the test says. Others that it speaks for are members, too. */
function scene(): Scene {
  const clock = new VirtualClock(NOW_MS);
  const key = testKey(200);
  const honest = new MemoryHost(nodeIdOf(key.publicKey));
  const peer = new MemoryHost(PEER);
  const members = new Set([honest.nodeId, PEER]);
  const isMember = (node: string): boolean => members.has(node);
  const random = new SeededRandom(1);
  const deps = { host: honest, key, boot: 5, fleet: () => FLEET, site: () => "one", isMember, clock, random };
  const gossip = new Gossip(deps);
  const inbox: Inbox = new Map();
  for (const kind of KINDS) peer.onMessage(kind, (_, body) => inbox.set(kind, [...(inbox.get(kind) ?? []), body]));
  return { clock, honest, gossip, peer, inbox, members };
}

/** With one neighbour more, and what it is asked to compare; the comparison with the peer comes first. */
function sceneWithAnother(): { world: Scene; asked: unknown[] } {
  const world = scene();
  const other = new MemoryHost(nodeIdOf(testKey(202).publicKey));
  const asked: unknown[] = [];
  other.onMessage("gossip-digest", (_, body) => asked.push(body));
  MemoryHost.link(world.honest, world.peer);
  MemoryHost.link(world.honest, other);
  return { world, asked };
}

/** A statement of a member of its own. */
function statement(members: Set<string>, seed: number, bytes = 100): { origin: string; encoded: Uint8Array } {
  const key = new Ed25519Key(Buffer.alloc(32, `statement ${seed}`));
  const origin = nodeIdOf(key.publicKey);
  members.add(origin);
  const content = { topic: "copies", origin, boot: 1, seq: 1, value: encodeCbor("x".repeat(bytes)) };
  return { origin, encoded: signStatement(key, FLEET, content) };
}

async function said({ clock, peer, honest }: Scene, kind: string, body: unknown): Promise<void> {
  peer.session(honest.nodeId)?.send(kind, body);
  await turn(clock);
}

async function turn(clock: VirtualClock): Promise<void> {
  for (let i = 0; i < 6; i++) await new Promise(setImmediate);
  await clock.advanceMs(1);
}

function wordOf(encoded: Uint8Array = new Uint8Array()) {
  return { ...readStatement(encoded), tag: tagOf(statementId(encoded)) };
}

const latest = ({ gossip }: Scene): string[] => gossip.latest("copies").map(({ origin }) => origin);

describe("gossip with a neighbour that", () => {
  const malformed: readonly [string, unknown][] = [
    ["gossip", { topic: "copies" }],
    ["gossip", encodeCbor({ topic: "copies" })],
    ["gossip-digest", { buckets: new Uint8Array(3) }],
    ["gossip-versions", { buckets: [BUCKETS], versions: [] }],
    ["gossip-want", { keys: [["copies"]] }],
    ["gossip-statements", { statements: [new Uint8Array(40 * KIB)] }],
    ["gossip-statements", { statements: [Uint8Array.of(1)] }],
  ];
  for (const [kind, body] of malformed) {
    it(`sends a malformed ${kind} ends its session (${JSON.stringify(body).slice(0, 40)})`, async () => {
      const world = scene();
      MemoryHost.link(world.honest, world.peer);
      await said(world, kind, body);
      assert.ok(world.honest.disconnected.has(PEER));
    });
  }

  it("brings news of somebody who is not known to be a member yet is asked again 2 s later", async () => {
    const world = scene();
    MemoryHost.link(world.honest, world.peer);
    for (let time = 0; time < 2; time++) await said(world, "gossip-versions", { buckets: [], versions: [] }); // it compares twice at first
    const asked = (): number => world.inbox.get("gossip-digest")?.length ?? 0;
    const before = asked();
    const { origin, encoded } = statement(world.members, 1);
    world.members.delete(origin);
    for (let i = 0; i < 5; i++) await said(world, "gossip", encoded);
    assert.deepEqual(latest(world), []);
    world.members.add(origin);
    await world.clock.advanceMs(2_000);
    await turn(world.clock);
    assert.equal(asked(), before + 1);
    await said(world, "gossip-versions", { buckets: ALL_BUCKETS, versions: [["copies", origin, 1, 1, TAG]] });
    await said(world, "gossip-statements", { statements: [encoded] });
    assert.deepEqual(latest(world), [origin]);
  });

  it("compares again and again is answered 8 times, and once a second after", async () => {
    const world = scene();
    MemoryHost.link(world.honest, world.peer);
    for (let i = 0; i < 50; i++) await said(world, "gossip-digest", NOTHING);
    assert.equal(world.inbox.get("gossip-versions")?.length, 8);
    await world.clock.advanceMs(1_000);
    for (let i = 0; i < 50; i++) await said(world, "gossip-digest", NOTHING);
    assert.equal(world.inbox.get("gossip-versions")?.length, 9);
  });

  it("wants everything again and again gets 8 MiB, and 256 KiB a second after", async () => {
    const world = scene();
    MemoryHost.link(world.honest, world.peer);
    await said(world, "gossip-versions", { buckets: [], versions: [] });
    const many = Array.from({ length: 20 }, (_, i) => statement(world.members, i, 30 * KIB));
    for (const { encoded } of many) await said(world, "gossip", encoded);
    assert.equal(latest(world).length, 20);
    const keys = many.map(({ origin }) => ["copies", origin]);
    const gotBytes = (): number =>
      (world.inbox.get("gossip-statements") as { statements: Uint8Array[] }[])
        .flatMap(({ statements }) => statements)
        .reduce((sum, { length }) => sum + length, 0);
    for (let i = 0; i < 100; i++) await said(world, "gossip-want", { keys });
    const firstBytes = gotBytes();
    assert.ok(firstBytes > 7.5 * KIB * KIB && firstBytes < 8.5 * KIB * KIB, `${firstBytes} bytes`);
    await world.clock.advanceMs(1_000);
    for (let i = 0; i < 100; i++) await said(world, "gossip-want", { keys });
    assert.ok(gotBytes() - firstBytes < 400 * KIB, `${gotBytes() - firstBytes} bytes a second later`);
  });

  it("claims to have nothing is sent one message, of at most 256 KiB", async () => {
    const world = scene();
    MemoryHost.link(world.honest, world.peer);
    await said(world, "gossip-versions", { buckets: [], versions: [] });
    for (let i = 0; i < 20; i++) await said(world, "gossip", statement(world.members, i, 30 * KIB).encoded);
    const compared = (): number => world.inbox.get("gossip-digest")?.length ?? 0;
    for (let step = 0; step < 80 && compared() < 2; step++) {
      await world.clock.advanceMs(500);
      await turn(world.clock);
    }
    for (let i = 0; i < 5; i++) await said(world, "gossip-versions", { buckets: ALL_BUCKETS, versions: [] });
    const told = world.inbox.get("gossip-statements") as { statements: Uint8Array[] }[];
    assert.equal(told.length, 1);
    assert.ok(told[0] !== undefined && told[0].statements.length === 8);
  });

  it("claims to have what it does not is asked for it once, and the others' turn comes", async () => {
    const { world, asked } = sceneWithAnother();
    await turn(world.clock);
    assert.equal(asked.length, 0, "one comparison at a time");
    const versions = Array.from({ length: 2_000 }, (_, i) => [`t${i}`, PEER, 9, 9, TAG]);
    await said(world, "gossip-versions", { buckets: ALL_BUCKETS, versions });
    assert.equal(world.inbox.get("gossip-want")?.length, 1);
    await said(world, "gossip-statements", { statements: [] });
    assert.deepEqual([world.inbox.get("gossip-want")?.length, asked.length], [1, 1]);
  });

  it("compared with it before it had compared with anybody is compared with after that, though it was not picked", async () => {
    const { clock, honest } = scene();
    const [asked, dropped]: [MemoryHost[], MemoryHost[]] = [[], []];
    let isAnswering = false;
    const none = { buckets: [], versions: [] };
    const others = Array.from({ length: 8 }, (_, i) => new MemoryHost(nodeIdOf(testKey(210 + i).publicKey)));
    for (const other of others) {
      other.onMessage("gossip-digest", (session) => {
        asked.push(other);
        if (isAnswering) session.send("gossip-versions", none);
      });
      other.onMessage("gossip-unfeed", () => dropped.push(other));
      MemoryHost.link(honest, other);
    }
    await turn(clock);
    assert.equal(asked.length, 1);
    for (const other of others) other.session(honest.nodeId)?.send("gossip-digest", { buckets: new Uint8Array(512) });
    await turn(clock);
    isAnswering = true;
    dropped.length = 0; // as the eighth came, some were given up
    asked[0]?.session(honest.nodeId)?.send("gossip-versions", none);
    for (let i = 0; i < 10; i++) await turn(clock);
    assert.deepEqual(new Set(asked), new Set(others));
    assert.deepEqual([asked.length, dropped.length, new Set(dropped).size], [9, 5, 5]);
  });

  it("never answers a comparison keeps the others waiting for 5 s", async () => {
    const { world, asked } = sceneWithAnother();
    await world.clock.advanceMs(4_900);
    assert.equal(asked.length, 0);
    await world.clock.advanceMs(200);
    await turn(world.clock);
    assert.equal(asked.length, 1);
  });

  it("still has a revoked node's word does not bring it back", async () => {
    const world = scene();
    MemoryHost.link(world.honest, world.peer);
    const { origin, encoded } = statement(world.members, 1);
    await said(world, "gossip-versions", { buckets: [], versions: [] });
    await said(world, "gossip", encoded);
    assert.deepEqual(latest(world), [origin]);
    world.members.delete(origin);
    await world.clock.advanceMs(40_000);
    await turn(world.clock);
    assert.deepEqual(latest(world), []);
    const wanted = world.inbox.get("gossip-want")?.length ?? 0;
    await said(world, "gossip-versions", { buckets: ALL_BUCKETS, versions: [["copies", origin, 1, 1, TAG]] });
    await said(world, "gossip-statements", { statements: [encoded] });
    assert.deepEqual([latest(world), world.inbox.get("gossip-want")?.length ?? 0], [[], wanted]);
  });

  it("has what a node said before it started lets the node know, where it wants to and until it says something", async () => {
    const world = scene();
    let told = 0;
    world.gossip.onPast("borders", () => (told += 1));
    MemoryHost.link(world.honest, world.peer);
    const origin = world.honest.nodeId;
    const old = (topic: string): Uint8Array =>
      signStatement(testKey(200), FLEET, { topic, origin, boot: 4, seq: 9, value: encodeCbor("old") });
    await said(world, "gossip", old("copies"));
    assert.equal(told, 0);
    await said(world, "gossip", old("borders"));
    assert.equal(told, 1);
    assert.deepEqual(world.gossip.latest("borders"), []);
    world.gossip.publish("borders", "new");
    await said(world, "gossip", old("borders"));
    assert.equal(told, 1);
  });

  it("tells a node of its own newer word makes it go above that", async () => {
    const world = scene();
    world.gossip.publish("copies", ["now"]);
    MemoryHost.link(world.honest, world.peer);
    await turn(world.clock);
    const { nodeId } = world.honest;
    await said(world, "gossip-versions", { buckets: ALL_BUCKETS, versions: [["copies", nodeId, 9, 1, TAG]] });
    assert.deepEqual(world.inbox.get("gossip-want"), [{ keys: [["copies", nodeId]] }]);
    const content = { topic: "copies", origin: nodeId, boot: 9, seq: 1, value: encodeCbor(["then"]) };
    await said(world, "gossip-statements", { statements: [signStatement(testKey(200), FLEET, content)] });
    const [word] = world.inbox.get("gossip") ?? [];
    assert.ok(word instanceof Uint8Array, "it says everything again");
    assert.deepEqual(world.gossip.latest("copies")[0]?.value, ["now"]);
  });

  for (const [what, seq] of [
    ["another word of its own with the number of one that it said", 1],
    ["a word of its own with a number that it used on another topic", 2],
  ] as const) {
    it(`tells a node of ${what} makes it go above that`, async () => {
      const world = scene();
      world.gossip.publish("copies", ["now"]);
      world.gossip.publish("links", []);
      world.gossip.publish("links", [1]);
      MemoryHost.link(world.honest, world.peer);
      await turn(world.clock);
      const mine = wordOf(world.gossip.said("copies", world.honest.nodeId));
      const others = Array.from({ length: 64 }, (_, i) =>
        signStatement(testKey(200), FLEET, { ...mine, seq, value: encodeCbor([`then ${i}`]) }),
      );
      const winner = others.find((encoded) => isLater(wordOf(encoded), mine)) ?? assert.fail();
      await said(world, "gossip", winner);
      const now = wordOf(world.gossip.said("copies", world.honest.nodeId));
      assert.ok(isLater(now, wordOf(winner)));
      assert.deepEqual(decodeCbor(now.value, KIB), ["now"]);
    });
  }

  it("says another thing under the number of what is here replaces it where everybody would", async () => {
    const world = scene();
    MemoryHost.link(world.honest, world.peer);
    await said(world, "gossip-versions", { buckets: [], versions: [] });
    const { origin, encoded } = statement(world.members, 1);
    const key = new Ed25519Key(Buffer.alloc(32, "statement 1"));
    const another = Array.from({ length: 64 }, (_, i) =>
      signStatement(key, FLEET, { topic: "copies", origin, boot: 1, seq: 1, value: encodeCbor(i) }),
    );
    for (const one of [encoded, ...another]) await said(world, "gossip", one);
    const [last] = [encoded, ...another].toSorted((a, b) => (isLater(wordOf(a), wordOf(b)) ? -1 : 1));
    assert.deepEqual(world.gossip.said("copies", origin), last);
  });
});
