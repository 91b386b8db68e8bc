import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import type { CircuitView } from "#api";
import { Yard, type YardNode } from "../support/yard.ts";
import { type Clock, encodeFrame, HeadedStream, SystemRandom } from "#core";
import { CIRCUIT_PROTOCOL, FROM_SOURCE, type Open, signOpen } from "../../src/routing/circuit/circuit-open.ts";
import { Reach } from "#routing";
import { CircuitWorld, ECHO, never, type Node, throughEcho } from "../support/circuit-world.ts";
import { FastClock } from "../support/fast-clock.ts";

const MIB = 1024 * 1024;

/** A megabyte every 20 ms. */
async function* slowly(clock: Clock, bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += MIB) {
    await clock.sleep(20);
    yield bytes.subarray(at, at + MIB);
  }
}

async function untilTrue({ clock }: CircuitWorld, isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await clock.sleep(10);
}

describe("circuits", () => {
  it("carry every protocol to a node without a link, through three gateways, byte for byte", async () => {
    await using world = await CircuitWorld.start("a-g g-h h-i i-b");
    world.ways.set("a-b", ["g h i b"]);
    assert.equal(await throughEcho(await world.echo("a", "b"), 8 * MIB), true);
    assert.equal(world.of("b").host.sessions().length, 1);
  });

  it("are used while a connection that would make them needless fails", async () => {
    await using world = await CircuitWorld.start("a-g g-b");
    world.ways.set("a-b", ["g b"]);
    const [near, far] = [world.of("a"), world.of("b")];
    const closed = `/ip4/127.0.0.1/tcp/1/tls/p2p/${far.host.nodeId}`;
    const reach = new Reach({
      host: near.host,
      clock: world.clock,
      addressesOf: () => [closed],
      mayUse: () => true,
      circuit: (peer, signal) => near.circuits.connect(peer, signal),
    });
    await near.circuits.connect(far.host.nodeId, never);
    assert.equal(await throughEcho(await reach.open(far.host.nodeId, ECHO, never), MIB), true);
    await world.clock.sleep(200); // the connection has failed by now, and nobody waited for it
    assert.equal(await throughEcho(await reach.open(far.host.nodeId, ECHO, never), MIB), true);
  });

  it("go another way when a gateway dies, and lose nothing", async () => {
    await using world = await CircuitWorld.start("a-g g-b a-h h-b");
    world.ways.set("a-b", ["g b", "h b"]);
    const stream = await world.echo("a", "b");
    const whole = throughEcho(stream, 64 * MIB);
    await world.clock.sleep(200);
    await world.kill("g");
    assert.equal(await whole, true);
    assert.equal(world.of("a").circuits.list()[0]?.moves, 1);
  });

  it("go another way when a gateway changes a byte, and lose nothing", async () => {
    let changed = 0;
    const rogues = {
      g: (piece: Uint8Array, passed: number) => {
        if (passed < 3 * MIB || changed > 0) return piece;
        changed += 1;
        const other = Buffer.from(piece);
        other[other.length >> 1] = (other[other.length >> 1] as number) ^ 1;
        return other;
      },
    };
    await using world = await CircuitWorld.start("a-g g-b a-h h-b", { rogues });
    world.ways.set("a-b", ["g b", "h b"]);
    assert.equal(await throughEcho(await world.echo("a", "b"), 8 * MIB), true);
    assert.equal(changed, 1);
    assert.equal(world.of("a").circuits.list()[0]?.moves, 1);
  });

  it("go another way when a gateway passes nothing on any more, though all its links stand", async () => {
    const rogues = { g: (piece: Uint8Array, passed: number) => (passed < 3 * MIB ? piece : undefined) };
    await using world = await CircuitWorld.start("a-g g-b a-h h-b", { rogues });
    world.ways.set("a-b", ["g b", "h b"]);
    assert.equal(await throughEcho(await world.echo("a", "b"), 8 * MIB), true);
    assert.equal(world.of("a").circuits.list()[0]?.moves, 1);
    assert.equal(world.of("a").host.sessions().length, 2);
  });

  it("end when no way is found for as long as they are held", async () => {
    await using world = await CircuitWorld.start("a-g g-b", { clock: new FastClock(20) });
    world.ways.set("a-b", ["g b"]);
    const stream = await world.echo("a", "b");
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    stream.listen({ data: () => undefined, end: resolve });
    await world.kill("g");
    assert.match(String(await promise), /connection|stream/u);
    assert.equal(world.of("a").circuits.list().length, 0);
    await untilTrue(world, () => world.of("b").circuits.list().length === 0);
  });

  it("go over nobody who does not carry, and to nobody who is no member", async () => {
    await using world = await CircuitWorld.start("a-g g-b a-h", { idle: "h" });
    world.ways.set("a-b", ["h b"]);
    await assert.rejects(world.echo("a", "b"), { code: "routing.circuit-refused", message: /carries nothing/u });
    world.ways.set("a-b", ["g b"]);
    world.revoked.add("b");
    await assert.rejects(world.echo("a", "b"), { code: "routing.circuit-refused", message: /no member/u });
    world.ways.delete("a-b");
    await assert.rejects(world.echo("a", "b"), { code: "routing.no-route" });
  });

  it("end when one of the two ends is no member any more, also at gateways", async () => {
    await using world = await CircuitWorld.start("a-g g-b");
    world.ways.set("a-b", ["g b"]);
    await world.echo("a", "b");
    assert.equal(world.of("g").circuits.gateway.carried().length, 1);
    world.revoked.add("a");
    world.of("g").circuits.endRevoked();
    await untilTrue(world, () => world.of("g").circuits.gateway.carried().length === 0);
    await untilTrue(world, () => world.of("b").circuits.list()[0]?.isAttached === false); // it waits for another way
    world.of("b").circuits.endRevoked();
    assert.equal(world.of("b").circuits.list().length, 0);
    await untilTrue(world, () => world.of("b").host.carriedSession(world.of("a").host.nodeId) === undefined);
  });

  it("are opened and moved only by who signed for it, in its turn, and once", async () => {
    await using world = await CircuitWorld.start("a-g g-b a-b");
    const [a, g, b] = ["a", "g", "b"].map((name) => world.of(name)) as [Node, Node, Node];
    const open: Open = {
      fleet: "fleet",
      circuit: new Uint8Array(16).fill(9),
      source: a.host.nodeId,
      path: [b.host.nodeId],
      expires: world.clock.wallMs() + 60_000,
      epoch: 0,
      received: 0,
    };
    const ask = async (head: unknown, from = a, to = b): Promise<string> => {
      const stream = new HeadedStream(await from.host.open(to.host.nodeId, CIRCUIT_PROTOCOL, never), FROM_SOURCE);
      stream.send(...encodeFrame(head));
      const answer = (await stream.head) as { reason?: string };
      return answer.reason ?? "accepted";
    };
    const through = { ...open, path: [g.host.nodeId, b.host.nodeId] };
    assert.match(await ask(signOpen(g.key, open)), /source has not signed/u);
    assert.match(await ask(signOpen(a.key, { ...open, fleet: "other" })), /another fleet/u);
    assert.match(await ask(signOpen(a.key, { ...open, expires: world.clock.wallMs() - 1 })), /clocks differ/u);
    assert.match(await ask(signOpen(a.key, { ...open, expires: world.clock.wallMs() + 1e9 })), /clocks differ/u);
    assert.match(await ask(signOpen(a.key, { ...open, path: [b.host.nodeId, b.host.nodeId] })), /malformed/u);
    assert.match(await ask(signOpen(a.key, through)), /not next on the path/u, "it did not come over the gateway");
    assert.match(await ask(signOpen(a.key, open), g), /not next on the path/u, "it came over a gateway");
    assert.match(await ask(signOpen(a.key, { ...open, epoch: 2 })), /does not have that circuit/u);
    assert.match(await ask("hello"), /malformed/u);
    assert.equal(await ask(signOpen(a.key, open)), "accepted");
    assert.match(await ask(signOpen(a.key, open)), /used before/u);
  });

  it("go a better way when there has been one for a while, under a transfer that runs", async () => {
    await using world = await CircuitWorld.start("a-g g-b a-h h-b");
    world.ways.set("a-b", ["g b"]);
    world.costs.set("g b", 700);
    const stream = await world.echo("a", "b");
    const whole = throughEcho(stream, 16 * MIB);
    world.costs.set("h b", 690);
    world.ways.set("a-b", ["h b", "g b"]);
    await world.clock.sleep(3_000);
    assert.equal(world.of("a").circuits.list()[0]?.moves, 0, "it is not worth it");
    world.costs.delete("g b");
    await untilTrue(world, () => world.of("a").circuits.list()[0]?.moves === 1);
    assert.equal(await whole, true);
    assert.equal(await throughEcho(await world.echo("a", "b"), MIB), true);
  });

  it("leave a way that must not be used any more all at once, however few may go a better way at a time", async () => {
    const ends = ["b", "c", "d"];
    await using world = await CircuitWorld.start("a-g g-b g-c g-d a-h h-b h-c h-d");
    for (const end of ends) {
      world.ways.set(`a-${end}`, [`g ${end}`]);
      world.costs.set(`g ${end}`, 10);
      await world.echo("a", end);
    }
    const moved = (): number =>
      world
        .of("a")
        .circuits.list()
        .filter(({ moves }) => moves === 1).length;
    for (const end of ends) {
      world.costs.delete(`g ${end}`);
      world.costs.set(`h ${end}`, 690);
      world.ways.set(`a-${end}`, [`h ${end}`]);
    }
    await untilTrue(world, () => moved() > 0);
    const firstMs = world.clock.nowMs();
    await untilTrue(world, () => moved() === ends.length);
    assert.ok(world.clock.nowMs() - firstMs < 1_900, "sooner than the next look");
  });

  it("do not go back to an epoch that is over", async () => {
    await using world = await CircuitWorld.start("a-g g-b a-h h-b");
    world.ways.set("a-b", ["g b", "h b"]);
    const stream = await world.echo("a", "b");
    const [a, b] = [world.of("a"), world.of("b")];
    await world.kill("g");
    await untilTrue(world, () => a.circuits.list()[0]?.moves === 1);
    assert.equal(b.circuits.list()[0]?.moves, 1);
    assert.equal(await throughEcho(stream, MIB), true);
  });
});

describe("circuits between daemons", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let spare: YardNode;
  let cam: YardNode;
  let pump: YardNode;

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    spare = await yard.member(hub, "spare", "rome");
    ({ cam, pump } = await yard.membersBehind(hub, { cam: "", pump: "" }));
    for (const node of [cam, pump]) await node.untilSees("spare", "connected");
  });
  after(() => yard[Symbol.asyncDispose]());

  const circuits = async (node: YardNode): Promise<CircuitView[]> =>
    (JSON.parse(await node.ok("get", "circuits", "-o", "json")) as { items: CircuitView[] }).items;

  it("reach a node that cannot be dialled, through others", async () => {
    await yard.until("cam to know a way to pump", async () => (await cam.run("route", "pump")).code === 0);
    assert.match(await cam.ok("ping", "pump", "-c", "2"), /^pump: [\d.]+ ms via \S+\npump: [\d.]+ ms via \S+$/u);
    assert.match(await cam.ok("ping", "spare", "-c", "1"), /^spare: [\d.]+ ms over a link$/u);
    const [circuit] = await circuits(cam);
    assert.deepEqual([circuit?.name, circuit?.role, circuit?.state, circuit?.moves], ["pump", "source", "up", 0]);
    assert.deepEqual(
      (await circuits(pump)).map(({ name, role }) => [name, role]),
      [["cam", "target"]],
    );
    const carried = [...(await circuits(hub)), ...(await circuits(spare))];
    assert.deepEqual(
      carried.map(({ name, role }) => [name, role]),
      [["cam/pump", "gateway"]],
    );
  });

  it("go another way when the node that carries them is killed", async () => {
    const { name } = await hub.status();
    const [before] = await circuits(cam);
    const [dying, other] = before?.via?.[0] === name ? [hub, "spare"] : [spare, name];
    await dying.kill();
    const [after] = await yard.until("the circuit to move", async () => {
      const now = await circuits(cam);
      return now[0]?.moves === 1 && now[0].state === "up" ? now : undefined;
    });
    assert.deepEqual(after?.via, [other]);
    assert.match(await cam.ok("ping", "pump", "-c", "1"), new RegExp(`ms via ${other}$`, "u"));
  });

  it("carry a user's connection to a service, which a dying node on the way does not break", async () => {
    for (const node of [hub, spare]) if ((await node.tryStatus()) === undefined) await node.up();
    for (const node of [hub, spare]) await node.untilSees("pump", "connected");
    const served = Buffer.from(new SystemRandom().bytes(48 * MIB));
    const server = createServer((_, response) => void Readable.from(slowly(yard.clock, served)).pipe(response));
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as AddressInfo;
    await pump.ok("service", "publish", "film", "--to", `127.0.0.1:${port}`, "--protocol", "http");
    await yard.until("cam to know the service", async () => (await cam.run("describe", "service", "film")).code === 0);
    const listening = Promise.withResolvers<number>();
    const wanted = { service: "film", listen: { host: "127.0.0.1", port: 0 } };
    cam.client.job("connect", wanted, (now) => listening.resolve(now.port)).catch(listening.reject); // for as long as cam runs
    const hash = createHash("sha256");
    let [bytes, killed] = [0, false];
    const response = await fetch(`http://127.0.0.1:${await listening.promise}/`);
    for await (const piece of response.body ?? []) {
      hash.update(piece as Uint8Array);
      bytes += (piece as Uint8Array).length;
      if (bytes < 16 * MIB || killed) continue;
      killed = true;
      const [circuit] = await circuits(cam);
      const { name } = await hub.status();
      await (circuit?.via?.[0] === name ? hub : spare).kill();
    }
    assert.equal(hash.digest("hex"), createHash("sha256").update(served).digest("hex"));
    assert.equal(killed, true);
    server.close();
  });

  it("say what is wrong with what was asked for", async () => {
    assert.match(await cam.fails(4, "ping", "nobody"), /there is no node "nobody"/u);
    assert.match(await cam.fails(2, "ping", "pump", "-c", "0"), /--count 0 is not a whole number from 1 to 1000/u);
  });
});
