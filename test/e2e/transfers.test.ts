import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ArtifactDetail } from "#api";
import { SystemRandom } from "#core";
import { PORTOLAN, Yard, type YardNode } from "../support/yard.ts";

const MIB = 1024 ** 2;
const SIZE_BYTES = 24 * MIB;
/** Slow enough to kill somebody in the middle, fast enough for a test: 24 MiB in about 4 s. */
const UPLOAD_BPS = 5_000_000;
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe("transfers that are disturbed", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let first: YardNode;
  let slow: YardNode;
  let other: YardNode;
  let token: string;
  let config: string;

  before(async () => {
    yard = new Yard();
    config = yard.write("slow.yaml", `limits: { uploadBps: ${UPLOAD_BPS} }\n`);
    hub = await yard.demoFleet("hub", "--config", config);
    const names = ["first", "slow", "other", "small"];
    const claims = ["serial,model,key,tenant,labels,expires", ...names.map((name) => `${name},,,,,`)];
    await hub.ok("admit", "-f", yard.write("claims.csv", claims.join("\n")));
    token = await hub.ok("token");
    [first, slow, other] = ["first", "slow", "other"].map((name) => yard.node(name)) as [YardNode, YardNode, YardNode];
    const all = [first, slow, other];
    await Promise.all(
      all.map((node) => node.up("--token", token, "--serial", node.name, "--site", "berlin", "--config", config)),
    );
    await Promise.all(all.map((node) => node.until("member")));
    await Promise.all([slow, other].map((node) => node.untilSees("first", "connected")));
  });
  after(() => yard[Symbol.asyncDispose]());

  const untilHas = (node: YardNode, name: string, bytes: number): Promise<ArtifactDetail> =>
    yard.until(`${node.name} to have ${bytes} bytes of ${name}`, async () => {
      const detail = await node.artifact(name);
      return (detail?.local.bytes ?? 0) >= bytes && detail;
    });

  async function assertHas(node: YardNode, name: string, content: Uint8Array): Promise<void> {
    const out = yard.path(`${node.name}.${name.replace(":", "-")}`);
    await node.ok("fetch", name, "-o", out);
    assert.equal(sha256(readFileSync(out)), sha256(content), `${node.name} has every byte`);
  }

  it("end well although the publisher is killed as soon as one whole copy is elsewhere", async () => {
    const content = new SystemRandom().bytes(SIZE_BYTES);
    await hub.publish("a:v1", content);
    await hub.ok("stage", "a:v1", "-l", "name=first", "--wait", "--timeout", "40s");
    await hub.ok("stage", "a:v1", "-l", "name in (slow,other)");
    const { local } = await untilHas(slow, "a:v1", SIZE_BYTES / 4);
    await hub.kill();
    assert.equal(local.state, "transferring", "it was killed in the middle");
    for (const node of [slow, other]) {
      const { sources } = await node.untilComplete("a:v1");
      assert.ok(sources.some((source) => source.node === "first"));
      await assertHas(node, "a:v1", content);
    }
    await hub.up("--config", config);
    await hub.untilSees("slow", "connected");
  });

  it("go on where they were after the receiver is killed", async () => {
    const content = new SystemRandom().bytes(SIZE_BYTES);
    await hub.publish("b:v1", content);
    await hub.ok("stage", "b:v1", "-l", "name=slow");
    const { local } = await untilHas(slow, "b:v1", SIZE_BYTES / 2);
    assert.equal(local.state, "transferring", "it was killed in the middle");
    await slow.kill();
    await slow.up("--config", config);
    const { local: after } = await slow.untilComplete("b:v1");
    const again = after.bytesFromSite + after.bytesFromWan;
    console.log(`      ${local.bytes} bytes before, ${again} of ${SIZE_BYTES} after`);
    // the last second before the kill may not have been durable yet
    assert.ok(again > 0 && again <= SIZE_BYTES - local.bytes + 2 * UPLOAD_BPS, "what was there did not come again");
    await assertHas(slow, "b:v1", content);
  });

  it("say what a full disk lacks, wait with what has arrived, and go on by themselves once there is room", async function () {
    const small = yard.node("small");
    const store = join(small.data, "store");
    mkdirSync(store, { recursive: true, mode: 0o700 });
    const mount = `mount -t tmpfs -o size=96m,mode=700 tmpfs ${store}`;
    if (spawnSync("unshare", ["-rm", "sh", "-c", mount]).status !== 0) {
      console.log("      skipped: a small disk needs user namespaces, which this system does not allow");
      return this.skip();
    }
    const through = ["unshare", "-rm", "sh", "-c", `${mount} && exec "$0" "$@"`, PORTOLAN];
    await small.upWith({ through }, "--token", token, "--serial", "small", "--config", config);
    await small.until("member");
    const content = new SystemRandom().bytes(SIZE_BYTES);
    await hub.publish("c:v1", content);
    await hub.publish("huge:v1", new Uint8Array(40 * MIB));
    await Promise.all(["c:v1", "huge:v1"].map((name) => small.untilArtifact(name)));
    assert.match(await small.fails(5, "fetch", "huge:v1"), /needs 40 MiB, and .* \d+ MiB left .*\n.*room/u);

    const inside = (name: string): string => join(`/proc/${small.pid}/root`, store, name);
    const fetching = small.run("fetch", "c:v1");
    await untilHas(small, "c:v1", SIZE_BYTES / 4);
    assert.throws(() => writeFileSync(inside("ballast"), Buffer.alloc(96 * MIB)), /ENOSPC/u);
    const full = await yard.until("the fetch to wait for room", async () => {
      const { local } = (await small.artifact("c:v1")) ?? {};
      return local?.state === "waiting" && local;
    });
    assert.match(full.reason ?? "", /MiB in .*are free/u);
    assert.equal((await small.status()).state, "member", "the daemon goes on");
    rmSync(inside("ballast"));
    const { code, err } = await fetching;
    assert.equal(code, 0, err);
    await assertHas(small, "c:v1", content);
  });
});
