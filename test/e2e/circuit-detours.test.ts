import assert from "node:assert/strict";
import { encodeFrame, HeadedStream } from "#core";
import type { Session } from "#mesh";
import {
  CIRCUIT_PROTOCOL,
  FROM_SOURCE,
  headOf,
  type Open,
  signOpen,
  type Via,
} from "../../src/routing/circuit/circuit-open.ts";
import { CircuitWorld, never, throughEcho } from "../support/circuit-world.ts";

const MIB = 1024 * 1024;

/** Who carries a circuit, and between whom. */
function carriers(world: CircuitWorld, names: string): string[] {
  return names.split(" ").flatMap((name) =>
    world
      .of(name)
      .circuits.gateway.carried()
      .map(({ from, to }) => `${world.nameOf(from)}-${name}-${world.nameOf(to)}`),
  );
}

/** Until so many bytes have come back to `a`. */
async function untilCame(world: CircuitWorld, bytes: number): Promise<void> {
  while ((world.of("a").circuits.list()[0]?.bytesIn ?? 0) < bytes) await world.clock.sleep(1);
}

/** What a node answers when another opens a circuit with it along `path`, as the `source` has signed it, and with such a detour. */
function asker(world: CircuitWorld) {
  let circuits = 0;
  return async (from: string, to: string, source: string, path: string, via?: { to: number; nodes: string }) => {
    const ids = (names: string): string[] => names.split(" ").map((name) => world.of(name).host.nodeId);
    circuits += 1;
    const open: Open = {
      fleet: "fleet",
      circuit: new Uint8Array(16).fill(circuits),
      source: world.of(source).host.nodeId,
      path: ids(path),
      expires: world.clock.wallMs() + 60_000,
      epoch: 0,
      received: 0,
    };
    const detour: Via | undefined = via && { to: via.to, nodes: ids(via.nodes) };
    const stream = await world.of(from).host.open(world.of(to).host.nodeId, CIRCUIT_PROTOCOL, never);
    const headed = new HeadedStream(stream, FROM_SOURCE);
    headed.send(...encodeFrame(headOf(signOpen(world.of(source).key, open), detour)));
    const { code, reason = "accepted", at } = (await headed.head) as { code?: string; reason?: string; at?: string };
    headed.abort(new Error("asked"));
    return { code, reason, at: at && world.nameOf(at) };
  };
}

describe("detours of circuits", () => {
  it("join a gateway and the target inside a site, and carry bytes both ways", async () => {
    await using world = await CircuitWorld.start("a-g g-d d-e e-b");
    world.distant.add("a");
    world.ways.set("a-b", ["g b"]);
    world.detours.set("g-b", "d e");
    assert.equal(await throughEcho(await world.echo("a", "b"), 8 * MIB), true);
    assert.deepEqual(carriers(world, "g d e"), ["a-g-d", "g-d-e", "d-e-b"]);
    assert.equal(world.of("a").circuits.list()[0]?.path?.length, 2, "the source knows nothing of it");
  });

  it("join the source and its first gateway, two gateways, and the last one and the target, one after another", async () => {
    await using world = await CircuitWorld.start("a-c c-g g-d d-h h-e e-b");
    world.ways.set("a-b", ["g h b"]);
    world.detours.set("a-g", "c").set("g-h", "d").set("h-b", "e");
    assert.equal(await throughEcho(await world.echo("a", "b"), MIB), true);
    assert.deepEqual(carriers(world, "c g d h e"), ["a-c-g", "c-g-d", "g-d-h", "d-h-e", "h-e-b"]);
  });

  it("are left for another when a node of theirs dies, and nothing is lost", async () => {
    await using world = await CircuitWorld.start("a-g g-d d-b g-e e-b");
    world.ways.set("a-b", ["g b"]);
    world.detours.set("g-b", "d");
    const whole = throughEcho(await world.echo("a", "b"), 32 * MIB);
    await untilCame(world, 2 * MIB);
    assert.deepEqual(carriers(world, "d e"), ["g-d-b"]);
    world.detours.set("g-b", "e");
    await world.kill("d");
    assert.equal(await whole, true);
    assert.equal(world.of("a").circuits.list()[0]?.moves, 1);
    assert.deepEqual(carriers(world, "e"), ["g-e-b"]);
  });

  it("are left for another way when a node of theirs dies, and nothing is lost", async () => {
    await using world = await CircuitWorld.start("a-g g-d d-e e-b a-h h-b");
    world.ways.set("a-b", ["g b", "h b"]);
    world.detours.set("g-b", "d e");
    const whole = throughEcho(await world.echo("a", "b"), 32 * MIB);
    await untilCame(world, 2 * MIB);
    assert.deepEqual(carriers(world, "d e h"), ["g-d-e", "d-e-b"]);
    await world.kill("e");
    assert.equal(await whole, true);
    assert.equal(world.of("a").circuits.list()[0]?.moves, 1);
    assert.deepEqual(carriers(world, "g d h"), ["a-h-b"]);
  });

  it("lead around a first link that falls silent, soon and on the same path", async () => {
    await using world = await CircuitWorld.start("a-g g-b a-d d-g");
    world.ways.set("a-b", ["g b"]);
    world.detours.set("a-g", "d");
    const stream = await world.echo("a", "b");
    assert.deepEqual(carriers(world, "g d"), ["a-g-b"]);
    const link = world.of("a").host.session(world.of("g").host.nodeId) as Session;
    link.suspect = () => true;
    const sinceMs = world.clock.nowMs();
    while (world.of("a").circuits.list()[0]?.moves !== 1) await world.clock.sleep(10);
    assert.ok(world.clock.nowMs() - sinceMs < 4_000, "before a silent path is opened once more");
    assert.equal(await throughEcho(stream, MIB), true);
    assert.ok(carriers(world, "g d").includes("a-d-g"));
  });

  it("are no longer than they were made: a node in one that has no link refuses, though it knows a detour", async () => {
    await using world = await CircuitWorld.start("a-g g-d d-e e-b");
    world.ways.set("a-b", ["g b"]);
    world.detours.set("g-b", "d").set("d-b", "e");
    await assert.rejects(world.echo("a", "b"), { code: "routing.circuit-refused", message: /no link to the next/u });
    while (carriers(world, "g d e").length > 0) await world.clock.sleep(10);
  });

  it("go over nobody who does not carry, and for nobody who is no member", async () => {
    await using world = await CircuitWorld.start("a-g g-d d-b", { idle: "d" });
    const ask = asker(world);
    const via = { to: 1, nodes: "d" };
    assert.deepEqual(await ask("g", "d", "a", "g b", via), {
      code: "routing.no-transit",
      reason: "this node carries nothing for others",
      at: "d",
    });
    await using other = await CircuitWorld.start("a-g g-d d-b");
    other.revoked.add("a");
    assert.equal((await asker(other)("g", "d", "a", "g b", via)).code, "routing.not-member");
  });

  it("are taken part in only in their turn, from the node before, and once", async () => {
    await using world = await CircuitWorld.start("g-d d-e e-b g-e d-b a-d a-b b-g");
    const ask = asker(world);
    const via = { to: 1, nodes: "d e" };
    const notNext = { code: "routing.circuit-open", reason: "this node is not next on the path" };
    const asked: [from: string, to: string][] = [
      ["a", "d"], // the source, which is not the node before
      ["g", "e"], // leaves out d
      ["b", "e"], // the node behind
      ["d", "b"], // leaves out e
      ["g", "b"], // the node before it on the path
      ["a", "b"],
      ["d", "g"], // back to the node before the detour
    ];
    for (const [from, to] of asked)
      assert.deepEqual(await ask(from, to, "a", "g b", via), { ...notNext, at: to }, `${from} to ${to}`);
    assert.equal((await ask("d", "b", "a", "g b")).reason, notNext.reason, "the detour left out");
    assert.equal((await ask("e", "b", "a", "g b", via)).reason, "accepted");
    assert.equal((await ask("g", "d", "a", "g b", via)).reason, "accepted");
  });

  it("do not leave a site", async () => {
    for (const far of ["g", "e", "b"]) {
      await using world = await CircuitWorld.start("g-d d-e e-b a-g");
      world.distant.add(far);
      const { code, reason } = await asker(world)("g", "d", "a", "g b", { to: 1, nodes: "d e" });
      assert.deepEqual([code, reason], ["routing.circuit-open", "a detour that leaves this node's site"], far);
    }
  });
});
