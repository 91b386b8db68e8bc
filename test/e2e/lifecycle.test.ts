import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Yard, type YardNode } from "../support/yard.ts";

describe("nodes that come and go", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let cam: YardNode;
  let token: string;

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    await hub.ok("admit", "-f", yard.write("claims.csv", "serial,model,key,tenant,labels,expires\ncam,,,,,\n"));
    token = await hub.ok("token");
    cam = yard.node("cam");
    await cam.up("--token", token, "--serial", "cam", "--site", "berlin");
    await cam.until("member");
    await hub.untilSees("cam", "connected");
  });
  after(() => yard[Symbol.asyncDispose]());

  it("a node that was killed is back as the same member, without a flag", async () => {
    const { nodeId, memberExpires } = await cam.status();
    await cam.kill();
    await hub.untilSees("cam", "known");
    await cam.up();
    const again = await cam.until("member");
    assert.deepEqual([again.nodeId, again.memberExpires, again.site], [nodeId, memberExpires, "berlin"]);
    await hub.untilSees("cam", "connected");
  });

  it("the registrar is killed and comes back: members find it again, and newcomers join with the same token", async () => {
    await hub.kill();
    await yard.until("the link to end", async () => (await cam.status()).links === 0);
    assert.equal((await cam.status()).state, "member", "a node alone stays a member");
    assert.match((await cam.run("doctor")).out, /ERROR +links: No neighbour/u);
    await hub.up();
    await hub.untilSees("cam", "connected");
    const next = yard.node("next");
    await next.up("--token", token, "--serial", "next");
    await next.until("pending");
    await hub.untilSees("next", "pending");
    await hub.ok("approve", "--all-pending", "--yes");
    await next.until("member");
  });

  it("finds its neighbours again when all were down at once, whoever starts first", async () => {
    await Promise.all([hub.kill(), cam.kill()]);
    await cam.up();
    await hub.up();
    await hub.untilSees("cam", "connected");
  });

  it("a node that leaves forgets the fleet, keeps its key, and can come back by its claim", async () => {
    const { nodeId } = await cam.status();
    assert.match(await cam.fails(2, "leave"), /--yes/u);
    await cam.ok("leave", "--yes");
    assert.equal(await cam.ended(), "exit code 0");
    const offline = JSON.parse(await cam.ok("status", "-o", "json")) as {
      state: string;
      fleet?: string;
      offline: boolean;
    };
    assert.deepEqual([offline.state, offline.fleet, offline.offline], ["no-fleet", undefined, true]);
    await hub.untilSees("cam", "known");
    await cam.up();
    await cam.until("no-fleet");
    assert.equal((await cam.status()).links, 0);
    await cam.stop();
    await cam.up("--token", token);
    await cam.until("member");
    const again = await cam.status();
    assert.deepEqual([again.nodeId, again.site], [nodeId, "berlin"], "it still knows where it stands");
  });

  it("stops in good order at Ctrl-C, and a second daemon on the same directory is refused", async () => {
    const said = await yard.fails(5, "up", "--data", cam.data, "--no-mdns");
    assert.match(said, /another portolan process is using .*cam/u);
    assert.equal((await cam.status()).pid, cam.pid, "the first is not harmed");
    const before = cam.log.length;
    assert.equal(await cam.stop(), "exit code 0");
    assert.match(cam.log.slice(before), /^stopping$/mu);
    assert.ok(!readdirSync(cam.data).includes("daemon.sock"));
    await cam.up();
  });

  it("keeps its files to its owner, and its secrets out of logs and command lines", async () => {
    for (const node of [hub, cam]) {
      assert.equal(statSync(node.data).mode & 0o777, 0o700);
      for (const name of ["node.key", "daemon.sock", "state.db", "lock", "format"]) {
        assert.equal(statSync(join(node.data, name)).mode & 0o077, 0, `${name} is open to others`);
      }
      const { seed, sealing } = JSON.parse(readFileSync(join(node.data, "node.key"), "utf8")) as Record<string, string>;
      const demo = readFileSync(join(hub.data, "demo-keys", "demo.key"), "utf8");
      const secrets = [seed, sealing, (JSON.parse(demo) as { seed: string }).seed].map((secret) => secret ?? "");
      const written = [
        node.log,
        readFileSync(`/proc/${node.pid}/cmdline`, "utf8"),
        readFileSync(`/proc/${node.pid}/environ`, "utf8"),
      ];
      for (const secret of secrets) {
        assert.ok(secret.length > 40);
        const forms = [secret, Buffer.from(secret, secret.length === 64 ? "hex" : "base64").toString("base64url")];
        for (const form of forms) assert.ok(!written.some((text) => text.includes(form.slice(0, 40))));
      }
    }
  });
});
