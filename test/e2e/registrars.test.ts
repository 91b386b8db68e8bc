import assert from "node:assert/strict";
import { decodeToken, encodeToken } from "#identity";
import { Yard, type YardNode } from "../support/yard.ts";

const HEADER = "serial,model,key,tenant,labels,expires";

describe("two registrars, with real daemons", function () {
  this.timeout(90_000);
  let yard: Yard;
  let hub: YardNode;
  let gate: YardNode;
  /** Leads to the hub only. */
  let token: string;

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    token = await hub.ok("token");
    gate = yard.node("gate");
    await hub.ok("admit", "-f", yard.write("gate.csv", `${HEADER}\nGATE,,,,,\n`));
    await gate.up("--token", token, "--serial", "GATE", "--site", "berlin");
    await gate.until("member");
    await hub.ok("registrar", "add", "gate");
    await gate.until("registrar");
    await hub.untilSees("gate", "connected");
  });
  after(() => yard[Symbol.asyncDispose]());

  async function pass(name: string, home: string): Promise<string> {
    const file = yard.path(`${name}.pass`);
    await hub.ok("pass", "create", name, "--out", file);
    const { nodeId } = await hub.client.call("nodes.get", { name: home });
    const spec = async (): Promise<{ home?: string }> => {
      const { body } = await hub.client.call("documents.get", { name: `Pass/${name}` });
      return body["spec"] as { home?: string };
    };
    const { home: chosen } = await spec();
    assert.ok(chosen !== undefined, "recorded in the document");
    if (chosen !== nodeId) await hub.ok("registrar", "handover", chosen, "--to", home);
    assert.equal((await spec()).home, nodeId);
    await yard.until("the pass to reach the other registrar", async () => {
      const seen = await gate.look(() => gate.client.call("documents.get", { name: `Pass/${name}` }));
      return (seen?.body["spec"] as { home?: string } | undefined)?.home === nodeId;
    });
    return file;
  }

  async function registrarOf(serial: string): Promise<string | undefined> {
    return (await hub.untilSees(serial, "connected")).registrar;
  }

  it("send a device on to the home of its evidence", async () => {
    const cam = yard.node("cam-1");
    await cam.up("--token", token, "--pass-file", await pass("one", "gate"), "--serial", "CAM-1");
    await cam.until("member");
    assert.equal(await registrarOf("CAM-1"), "gate");
    const own = yard.node("cam-2");
    await own.up("--token", token, "--pass-file", await pass("two", (await hub.status()).name), "--serial", "CAM-2");
    await own.until("member");
    assert.equal(await registrarOf("CAM-2"), (await hub.status()).name);
  });

  it("say that the home is not reachable, and let the device in once its pass was handed over", async () => {
    const file = await pass("three", "gate");
    await gate.kill();
    const cam = yard.node("cam-3");
    await cam.up("--token", token, "--pass-file", file, "--serial", "CAM-3");
    const { join } = await cam.until("pending");
    assert.match(
      `${join?.code} ${join?.reason} ${join?.next}`,
      /home-unreachable .*home registrar gate is not reachable, pending.*registrar handover gate/su,
    );
    await hub.ok("registrar", "handover", "gate");
    const { version } = await hub.client.call("documents.get", { name: "Pass/three" });
    await cam.until("member");
    assert.equal(await registrarOf("CAM-3"), (await hub.status()).name);

    await gate.up();
    await gate.until("registrar");
    await yard.until("the old home to hear of it", async () => {
      const seen = await gate.client.call("documents.get", { name: "Pass/three" });
      return seen.version === version;
    });
    const { rendezvous } = await gate.client.call("token", {});
    const { nodeId } = await gate.status();
    const own = rendezvous.filter((address) => address.endsWith(nodeId));
    const real = decodeToken(token, { nowMs: yard.clock.wallMs() });
    const copy = yard.node("cam-copy");
    await copy.up("--token", encodeToken({ ...real, rendezvous: own }), "--pass-file", file);
    const { join: refused } = await copy.until("refused");
    assert.equal(refused?.code, "identity.pass-taken");
  });

  it("make room for another: the old one stays a member, and whom it admitted renews with one that is there", async () => {
    const spare = yard.node("spare");
    await spare.up(
      "--token",
      token,
      "--pass-file",
      await pass("for-spare", (await hub.status()).name),
      "--serial",
      "spare",
    );
    await spare.until("member");
    assert.equal(await registrarOf("CAM-1"), "gate");
    const { code, err } = await hub.run("registrar", "replace", "gate", "spare");
    assert.equal(code, 0, err);
    assert.match(err, /stay members, and renew with another registrar: .*cam-1/u);
    await spare.until("registrar");
    await gate.until("member");
    await yard.until("CAM-1 to have another registrar", async () => (await registrarOf("CAM-1")) !== "gate");
    const cam = yard.node("cam-5");
    await cam.up("--token", token, "--pass-file", await pass("five", "spare"), "--serial", "CAM-5");
    await cam.until("member");
    assert.equal(await registrarOf("CAM-5"), "spare");
    assert.match(await hub.fails(4, "registrar", "replace", "nobody", "spare"), /nobody/u);
  });

  it("let nobody in by the claims of a home that was shut out, until they were handed over", async () => {
    const file = await pass("four", "spare");
    await hub.ok("revoke", "spare");
    const cam = yard.node("cam-4");
    await cam.up("--token", token, "--pass-file", file, "--serial", "CAM-4");
    assert.equal((await cam.until("pending")).join?.code, "identity.home-gone");
    await hub.ok("registrar", "handover", "spare");
    await cam.until("member");
  });
});
