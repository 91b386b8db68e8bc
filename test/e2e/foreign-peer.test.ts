import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { SystemClock } from "#core";
import { type RunningDaemon, startDaemon, startOffline } from "#daemon";
import { type Document, ForeignFleet, membershipOffer, pullDocuments } from "../support/foreign-documents.ts";
import { type Admission, join } from "../support/foreign-join.ts";
import { ForeignPeer } from "../support/foreign-peer.ts";
import { fetchBlob, type ForeignBlob } from "../support/foreign-swarm.ts";
import { CliHarness } from "../support/cli-harness.ts";

/** Over a MiB, so that the map has several chunks, and neither a whole chunk nor a whole cell at the end. */
const CONTENT = Buffer.alloc(5 * 1024 * 1024 + 70_001, "a portolan chart shows sailors the ports ");

const clock = new SystemClock();

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await clock.sleep(50);
}

describe("a fleet with a plain js-libp2p peer", function () {
  this.timeout(60_000);
  let cli: CliHarness;
  let daemon: RunningDaemon;
  let address: string;
  let token: string;

  const run = async (...argv: string[]): Promise<string> => {
    const { code, out, err } = await cli.run(argv);
    assert.equal(code, 0, `portolan ${argv.join(" ")}: ${err}`);
    return out;
  };

  before(async () => {
    cli = new CliHarness();
    cli.deps = { ...cli.deps, startDaemon, startOffline };
    await run("fleet", "create", "plant", "--demo", "--site", "hamburg");
    const listen = ["/ip4/127.0.0.1/tcp/0/tls"];
    daemon = await startDaemon(
      { options: { data: cli.data, listen, mdns: false, logLevel: "error" } },
      new AbortController().signal,
    );
    ({
      addresses: [address = ""],
    } = JSON.parse(await run("status", "-o", "json")) as { addresses: string[] });
    token = (await run("token")).trim();
    writeFileSync(
      cli.path("claims.csv"),
      "serial,model,key,tenant,labels,expires\nforeign-1,,,,kind=other,\nforeign-2,,,,,\n",
    );
    await run("admit", "-f", cli.path("claims.csv"));
    writeFileSync(cli.path("chart.bin"), CONTENT);
    await run("publish", cli.path("chart.bin"), "--name", "chart:v1");
  });

  after(async () => {
    await daemon[Symbol.asyncDispose]();
    cli.dispose();
  });

  /** Joins with a serial and comes to believe what the registrar showed. */
  async function admitted(peer: ForeignPeer, serial: string): Promise<{ admission: Admission; fleet: ForeignFleet }> {
    const { admission, answer } = await join(peer, token, { serial });
    assert.ok(admission, JSON.stringify(answer));
    const fleet = new ForeignFleet(admission.fleet);
    for (const envelope of [...admission.charters, ...admission.documents]) assert.ok(await fleet.judge(envelope));
    return { admission, fleet };
  }

  const linkTo = async (name: string): Promise<{ rttMs?: number } | undefined> => {
    const { items } = JSON.parse(await run("get", "links", "-o", "json")) as {
      items: { name: string; rttMs?: number }[];
    };
    return items.find((link) => link.name === name);
  };

  it("admits it by a claim, greets it, and gives it documents and a file, every cell of which it verifies", async () => {
    await using peer = await ForeignPeer.start();
    const { admission, fleet } = await admitted(peer, "foreign-1");
    const member = await fleet.judge(admission.member);
    assert.equal(member?.spec["node"], peer.libp2p.peerId.toString());
    assert.deepEqual(member?.metadata.labels, { kind: "other" });

    const { connection, answer } = await peer.hello(address, membershipOffer(admission));
    assert.partialDeepStrictEqual(answer, { t: "hello", v: 1 });
    assert.ok(connection.encryption?.includes("noise"));

    const documents = await Promise.all((await pullDocuments(connection)).map((one) => fleet.judge(one)));
    const artifact = documents.find((one): one is Document => one?.metadata.name === "chart:v1");
    assert.ok(artifact);
    const { content, cells, frames } = await fetchBlob(connection, artifact.spec as ForeignBlob);
    assert.equal(cells, Math.ceil(CONTENT.length / (32 * 1024)));
    assert.ok(frames <= cells);
    assert.equal(
      createHash("sha256").update(content).digest("hex"),
      createHash("sha256").update(CONTENT).digest("hex"),
    );

    const node = JSON.parse(await run("get", "node", "foreign-1", "-o", "json")) as { state: string };
    assert.equal(node.state, "connected");
    await until(async () => (await linkTo("foreign-1"))?.rttMs !== undefined); // it answers probes, so it stays
  });

  it("does not admit it with a serial that nobody claimed, nor greet it for another's membership", async () => {
    await using member = await ForeignPeer.start();
    const { admission } = await admitted(member, "foreign-2");
    await using peer = await ForeignPeer.start();
    const refused = await join(peer, token, { serial: "nobody-1" });
    assert.partialDeepStrictEqual(refused.answer, { t: "pending" });

    const { connection, answer } = await peer.hello(address, membershipOffer(admission));
    assert.partialDeepStrictEqual(answer, { t: "refuse", code: "mesh.not-a-member" });
    await assert.rejects(pullDocuments(connection));
  });
});
