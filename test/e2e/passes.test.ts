import assert from "node:assert/strict";
import { copyFileSync, readFileSync, statSync } from "node:fs";
import { PORTOLAN, Yard, type YardNode } from "../support/yard.ts";

describe("one-time passes, with real daemons", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let token: string;

  before(async () => {
    ({ yard, hub, token } = await Yard.withFleet());
  });
  after(() => yard[Symbol.asyncDispose]());

  it("lets the first device in, with site and labels, and tells the second why not", async () => {
    const file = yard.path("cam.pass");
    const name = await hub.ok("pass", "create", "--out", file, "--site", "berlin", "--label", "rack=r1");
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const copy = yard.path("copy.pass");
    copyFileSync(file, copy);
    const cam = yard.node("cam");
    await cam.up("--token", token, "--pass-file", file, "--serial", "CAM-1");
    await cam.until("member");
    const seen = await hub.untilSees("CAM-1", "connected");
    assert.deepEqual([seen.site, seen.labels, seen.evidence], ["berlin", { rack: "r1" }, "pass"]);

    const thief = yard.node("thief");
    await thief.up("--token", token, "--pass-file", copy);
    const { join } = await thief.until("refused");
    assert.equal(join?.code, "identity.pass-taken");
    const { nodeId } = await thief.status();
    assert.equal((await hub.untilSees(nodeId, "refused")).reason, "identity.pass-taken");
    const secret = readFileSync(file, "utf8").trim();
    for (const node of [hub, cam, thief]) assert.ok(!node.log.includes(secret), `${node.name} logs no secret`);
    assert.match(await hub.ok("get", "passes"), new RegExp(name, "u"));
  });

  it("reads a pass from standard input, and keeps it until it is used up", async () => {
    const file = yard.path("in.pass");
    await hub.ok("pass", "create", "--out", file);
    const real = await hub.stop();
    assert.equal(real, "exit code 0");
    const cam = yard.node("stdin");
    await cam.upWith(
      { through: ["/bin/sh", "-c", `exec "${PORTOLAN}" "$@" < "${file}"`, "sh"] },
      "--token",
      token,
      "--pass-file",
      "-",
    );
    await cam.until("joining"); // nobody is there yet
    await cam.kill();
    await hub.up();
    await cam.up(); // with neither token nor pass
    await cam.until("member");
  });

  it("opens nothing once it was deleted, has ended, or is no pass", async () => {
    const file = yard.path("gone.pass");
    const name = await hub.ok("pass", "create", "line-3", "--out", file);
    assert.equal(name, "line-3");
    assert.match(await hub.fails(5, "pass", "create", "--out", file), /gone\.pass/u);
    assert.match(await hub.fails(5, "pass", "create", "line-3", "--out", yard.path("other.pass")), /line-3/u);
    await hub.ok("delete", "pass", name);
    const cam = yard.node("late");
    await cam.up("--token", token, "--pass-file", file);
    const { join } = await cam.until("pending");
    assert.equal(join?.code, "identity.pass-unknown");
    const junk = yard.write("junk.pass", "ptp1.abc\n");
    assert.match(await yard.fails(2, "up", "--data", yard.path("junk"), "--pass-file", junk), /no pass/u);
    const open = yard.write("open.pass", readFileSync(file), 0o644);
    assert.match(await yard.fails(3, "up", "--data", yard.path("open"), "--pass-file", open), /chmod 600/u);
  });
});
