import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { CopyView } from "#api";
import { SystemRandom } from "#core";
import { Yard, type YardNode } from "../support/yard.ts";

const MIB = 1024 ** 2;
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
type Fetched = { bytesFromSite: number; bytesFromWan: number; bytes: number; sha256?: string };

describe("artifacts, with real daemons", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let nodes: YardNode[];
  let cam: YardNode;
  let eye: YardNode;

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    const claims = ["serial,model,key,tenant,labels,expires", "cam,,,,gpu=yes,", "eye,,,,,", "far,,,,,"];
    await hub.ok("admit", "-f", yard.write("claims.csv", claims.join("\n")));
    const token = await hub.ok("token");
    nodes = ["cam", "eye", "far"].map((name) => yard.node(name));
    await Promise.all(
      nodes.map((node) =>
        node.up("--token", token, "--serial", node.name, "--site", node.name === "far" ? "oslo" : "berlin"),
      ),
    );
    await Promise.all(nodes.map((node) => node.until("member")));
    [cam, eye] = nodes as [YardNode, YardNode];
  });
  after(() => yard[Symbol.asyncDispose]());

  const random = (bytes: number): Uint8Array => new SystemRandom().bytes(bytes);
  const copies = async (name: string): Promise<Map<string, CopyView>> =>
    new Map((await hub.artifact(name))?.nodes.map((copy) => [copy.node, copy]));

  it("brings a file to the nodes that a selector picks, and to all", async () => {
    const content = random(3 * MIB + 17);
    await hub.publish("model:v1", content, "--label", "tier=a");
    assert.match(await hub.fails(2, "stage", "model:v1"), /--all/u);
    await hub.ok("stage", "model:v1", "-l", "site=berlin,gpu=yes", "--wait", "--timeout", "40s");
    assert.deepEqual(
      [...(await copies("model:v1"))].filter(([, copy]) => copy.wanted).map(([name]) => name),
      ["cam"],
    );
    assert.notEqual((await eye.artifact("model:v1"))?.local.state, "complete");

    const staged = await hub.ok("stage", "model:v1", "--all", "--wait", "--timeout", "40s", "--json");
    const listed = (JSON.parse(staged) as { copies: CopyView[] }).copies;
    assert.deepEqual(
      listed.map(({ state }) => state),
      ["complete", "complete", "complete", "complete"],
    );
    for (const node of nodes) {
      const out = yard.path(`${node.name}.bin`);
      const fetched = JSON.parse(await node.ok("fetch", "model:v1", "-o", out, "--json")) as Fetched;
      assert.equal(fetched.sha256, sha256(content));
      assert.equal(sha256(readFileSync(out)), sha256(content));
      assert.ok(fetched.bytesFromSite + fetched.bytesFromWan >= content.length);
    }
  });

  it("writes where nothing is, and replaces only when told to", async () => {
    const out = yard.write("there", "mine");
    await hub.publish("small:v1", "yours");
    await cam.untilArtifact("small:v1");
    assert.match(await cam.fails(5, "fetch", "small:v1", "-o", out), /there exists/u);
    assert.equal(readFileSync(out, "utf8"), "mine");
    await cam.ok("fetch", "small:v1", "-o", out, "--force");
    assert.equal(readFileSync(out, "utf8"), "yours");
    assert.match(await cam.fails(4, "fetch", "none:v1", "-o", out, "--force"), /none:v1/u);
    assert.match(await cam.fails(4, "fetch", "small:v1", "-o", yard.path("no", "folder")), /Make the folder/u);
    assert.equal(readFileSync(out, "utf8"), "yours");
    assert.deepEqual(
      readdirSync(yard.folder).filter((name) => name.includes("part")),
      [],
    );
  });

  it("brings an empty file, and a directory with all that can be in one", async () => {
    await hub.publish("empty:v1", "");
    const folder = yard.path("tree");
    mkdirSync(join(folder, "deep", "er"), { recursive: true });
    mkdirSync(join(folder, "hollow"));
    yard.write("tree/deep/er/large.bin", random(2 * MIB), 0o640);
    yard.write("tree/deep/run.sh", "#!/bin/sh\n", 0o755);
    yard.write("tree/empty", "", 0o644);
    yard.write("tree/ä b", "umlaut", 0o644);
    symlinkSync("deep/run.sh", join(folder, "link"));
    await hub.ok("publish", folder, "--name", "tree:v1");
    await Promise.all(["empty:v1", "tree:v1"].map((name) => cam.untilArtifact(name)));
    await cam.ok("fetch", "empty:v1", "-o", yard.path("empty"));
    assert.equal(statSync(yard.path("empty")).size, 0);
    const copy = yard.path("copy");
    await cam.ok("fetch", "tree:v1", "-o", copy);
    assert.deepEqual(listTree(copy), listTree(folder));
    assert.match(await cam.fails(5, "fetch", "tree:v1", "-o", copy), /exists/u);
  });

  it("serves a file in place, and refuses it once it was changed, saying which", async () => {
    const content = random(2 * MIB);
    const path = await hub.publish("inplace:v1", content, "--in-place");
    await eye.untilArtifact("inplace:v1");
    await eye.ok("fetch", "inplace:v1", "-o", yard.path("inplace.eye"));
    assert.equal(sha256(readFileSync(yard.path("inplace.eye"))), sha256(content));

    const other = await hub.publish(
      "changed:v1",
      content.map((byte) => byte ^ 1),
      "--in-place",
    );
    yard.write("changed-v1.source", random(2 * MIB));
    assert.match(await hub.fails(5, "fetch", "changed:v1", "-o", yard.path("changed")), new RegExp(other, "u"));
    assert.ok(statSync(path).size > 0);
  });

  it("takes a deleted artifact away everywhere", async () => {
    const used = async (): Promise<number[]> =>
      Promise.all([hub, ...nodes].map(async (node) => (await node.status()).store.usedBytes));
    const before = await used();
    await hub.publish("gone:v1", random(MIB));
    await hub.ok("stage", "gone:v1", "--all", "--wait", "--timeout", "40s");
    assert.deepEqual(
      await used(),
      before.map((bytes) => bytes + MIB),
    );
    await hub.ok("delete", "artifact", "gone:v1");
    await Promise.all(
      [hub, ...nodes].map((node) =>
        yard.until("it to be gone", async () => (await node.artifact("gone:v1")) === undefined),
      ),
    );
    await yard.until("its space to be free again", async () => (await used()).join() === before.join());
    await cam.fails(4, "fetch", "gone:v1");
    await hub.fails(4, "describe", "artifact", "gone:v1");
  });

  it("brings a new version of the same name, instead of the old one", async () => {
    const [old, fresh] = [random(MIB), random(MIB)];
    await hub.publish("moving", old);
    await hub.ok("stage", "moving", "--all", "--wait", "--timeout", "40s");
    const before = (await cam.status()).store.usedBytes;
    await hub.publish("moving", fresh);
    for (const node of nodes) {
      await yard.until(`${node.name} to have the new one`, async () => {
        const detail = await node.artifact("moving");
        return detail?.local.state === "complete" && detail.root === (await hub.artifact("moving"))?.root;
      });
    }
    await cam.ok("fetch", "moving", "-o", yard.path("moving"));
    assert.equal(sha256(readFileSync(yard.path("moving"))), sha256(fresh));
    assert.equal((await cam.status()).store.usedBytes, before);
    await hub.ok("delete", "artifact", "moving");
    await yard.until("it to be gone", async () => (await cam.artifact("moving")) === undefined);
    await hub.publish("moving", fresh);
    await cam.untilArtifact("moving");
    await cam.ok("fetch", "moving", "-o", yard.path("again"));
    assert.equal(
      sha256(readFileSync(yard.path("again"))),
      sha256(fresh),
      "the same content comes back under the same name",
    );
  });

  it("refuses paths and names that cannot be published, each with its cause", async () => {
    const file = yard.write("file", "x");
    const cases: [number, string, string, RegExp][] = [
      [4, yard.path("none"), "a:v1", /there is no .*none/u],
      [2, join(hub.data, "daemon.sock"), "a:v1", /is a socket/u],
      [2, "/dev/null", "a:v1", /is a device/u],
      [2, file, "a/b", /name: .*lower-case letters/u],
      [2, file, "a b", /name: .*lower-case letters/u],
      [2, file, "a".repeat(300), /at most 128 characters/u],
      [2, file, "", /name/u],
    ];
    for (const [code, path, name, said] of cases)
      assert.match(await hub.fails(code, "publish", path, "--name", name), said);
    symlinkSync("/etc/passwd", join(yard.path("tree"), "out"));
    assert.match(await hub.fails(2, "publish", yard.path("tree"), "--name", "out:v1"), /leads outside/u);
  });
});

function listTree(folder: string): string[] {
  return readdirSync(folder, { recursive: true })
    .map(String)
    .toSorted()
    .map((name) => {
      const path = join(folder, name);
      const stat = lstatSync(path);
      if (stat.isSymbolicLink()) return `${name} -> ${readlinkSync(path)}`;
      if (stat.isDirectory()) return `${name}/`;
      return `${name} ${(stat.mode & 0o777).toString(8)} ${sha256(readFileSync(path))}`;
    });
}
