import assert from "node:assert/strict";
import type { CircuitView } from "#api";
import { Yard, type YardNode } from "../support/yard.ts";
import { CircuitWorld, throughEcho } from "../support/circuit-world.ts";

const MIB = 1024 * 1024;

describe("circuits", () => {
  it("carry every protocol to a node without a link, through three gateways, byte for byte", async () => {
    await using world = await CircuitWorld.start("a-g g-h h-i i-b");
    world.ways.set("a-b", ["g h i b"]);
    assert.equal(await throughEcho(await world.echo("a", "b"), 8 * MIB), true);
    assert.equal(world.of("b").host.sessions().length, 1);
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
    const claims = "serial,model,key,tenant,labels,expires\ncam,,,,,\npump,,,,,\nspare,,,,,\n";
    await hub.ok("admit", "-f", yard.write("claims.csv", claims));
    const token = await hub.ok("token");
    [cam, pump, spare] = [yard.node("cam"), yard.node("pump"), yard.node("spare")];
    await spare.up("--token", token, "--serial", "spare", "--site", "rome");
    await spare.until("member");
    // neither can be dialled, so that the others are their only neighbours
    for (const node of [cam, pump]) await node.upDialling("--token", token, "--serial", node.name, "--site", "berlin");
    for (const node of [cam, pump]) {
      await node.until("member");
      await node.untilSees("spare", "connected");
    }
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

  it("say what is wrong with what was asked for", async () => {
    assert.match(await cam.fails(4, "ping", "nobody"), /there is no node "nobody"/u);
    assert.match(await cam.fails(2, "ping", "pump", "-c", "0"), /--count 0 is not a whole number from 1 to 1000/u);
  });
});
