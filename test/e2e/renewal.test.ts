import assert from "node:assert/strict";
import { Yard, type YardNode } from "../support/yard.ts";

describe("a registrar that nobody can dial", () => {
  let yard: Yard;
  let hub: YardNode;
  let gate: YardNode;
  let cam: YardNode;
  let pump: YardNode;

  const registrarOf = async (name: string): Promise<string | undefined> =>
    (await gate.client.call("nodes.get", { name })).registrar;

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    gate = await yard.member(hub, "gate", "rome");
    ({ cam, pump } = await yard.membersBehind(hub, { cam: "", pump: "" }));
    for (const node of [cam, pump]) await gate.untilSees(node.name, "connected");
    await hub.ok("registrar", "add", "pump");
    await pump.until("registrar");
  });
  after(() => yard[Symbol.asyncDispose]());

  it("renews memberships over the link that it has made itself, and over circuits", async () => {
    const { name } = await hub.status();
    for (const node of ["gate", "cam", "pump"]) assert.equal(await registrarOf(node), name);
    const { err } = await hub.run("registrar", "remove", name); // whom it admitted has to find another
    assert.match(err, /stay members.*: .*cam.*\n.* has left the fleet: portolan approve/u);
    await yard.until("the gate to be renewed", async () => (await registrarOf("gate")) === "pump");
    await yard.until("the camera to be renewed", async () => (await registrarOf("cam")) === "pump");
  });
});
