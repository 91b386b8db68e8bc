import assert from "node:assert/strict";
import { Yard, type YardNode } from "../support/yard.ts";

const HEADER = "serial,model,key,tenant,labels,expires";

describe("joining a fleet, with real daemons", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let token: string;

  before(async () => {
    ({ yard, hub, token } = await Yard.withFleet());
  });
  after(() => yard[Symbol.asyncDispose]());

  /** A device that was started with the published token. */
  async function device(name: string, ...flags: string[]): Promise<YardNode> {
    const node = yard.node(name);
    await node.up("--token", token, "--site", "berlin", ...flags);
    return node;
  }

  async function admit(name: string, ...rows: string[]): Promise<void> {
    await hub.ok("admit", "-f", yard.write(`${name}.csv`, `${[HEADER, ...rows].join("\n")}\n`));
  }

  it("waits for an approval that compares six words, then is a member", async () => {
    const cam = await device("cam-approve", "--serial", "CAM-A", "--model", "Eye 3");
    const { join } = await cam.until("pending");
    assert.match(`${join?.code} ${join?.reason} ${join?.next}`, /identity\.unclaimed .*CAM-A.*portolan approve/su);
    const seen = await hub.untilSees("CAM-A", "pending");
    assert.deepEqual([seen.model, seen.site, seen.address], ["Eye 3", "berlin", "127.0.0.1"]);
    const { words, keyHash } = await cam.client.call("identity", {});
    const unknown = await cam.run("id");
    assert.match(unknown.out, new RegExp(keyHash, "u"));
    assert.match(await hub.fails(2, "approve", "CAM-A"), /--yes/u); // nobody is there to compare
    const { code, err } = await hub.run("approve", "CAM-A", "--yes");
    assert.equal(code, 0, err);
    assert.match(err, new RegExp(seen.words?.join(" ") ?? "no words", "u"));
    if (words !== undefined) assert.deepEqual(words, seen.words);
    const { memberExpires } = await cam.until("member");
    assert.ok(memberExpires !== undefined);
    const member = await hub.untilSees("CAM-A", "connected");
    assert.deepEqual([member.site, member.evidence], ["berlin", "approve"]);
  });

  it("is a member at once by a claim of its serial and key", async () => {
    const cam = yard.node("cam-key");
    const { keyHash } = JSON.parse(await cam.ok("id", "-o", "json")) as { keyHash: string };
    await admit("keyed", `CAM-K,Eye 3,${keyHash},,rack=r1;gpu=yes,`, `CAM-L,,${"cd".repeat(32)},,,`);
    await cam.up("--token", token, "--serial", "CAM-K", "--site", "berlin");
    await cam.until("member");
    const { labels, evidence, serial } = await hub.untilSees("CAM-K", "connected");
    assert.deepEqual(
      { labels, evidence, serial },
      { labels: { rack: "r1", gpu: "yes" }, evidence: "claim", serial: "CAM-K" },
    );
  });

  it("refuses a device whose serial is claimed for another key, and says so at both ends", async () => {
    await admit("other", `CAM-O,,${"ab".repeat(32)},,,`);
    const cam = await device("cam-other", "--serial", "CAM-O");
    const { join } = await cam.until("refused");
    assert.equal(join?.code, "identity.claim-other-key");
    const seen = await hub.untilSees("CAM-O", "refused");
    assert.match(seen.reason ?? "", /claim-other-key/u);
  });

  it("gives a serial to the first key that comes with it, and refuses the second, named at both ends", async () => {
    await admit("open", "CAM-S,,,,,");
    const first = await device("cam-first", "--serial", "CAM-S");
    await first.until("member");
    const second = await device("cam-second", "--serial", "CAM-S");
    const { join } = await second.until("refused");
    assert.equal(join?.code, "identity.claim-taken");
    assert.match(join.reason, /CAM-S/u);
    const { nodeId } = await second.status();
    const seen = await hub.untilSees(nodeId, "refused");
    assert.deepEqual([seen.serial, seen.reason], ["CAM-S", "identity.claim-taken"]);
    await hub.untilEvent(
      (event) => event.type === "node.refused" && event.message.includes("claim-taken"),
      "the clone",
    );
    assert.equal((await first.status()).state, "member", "the first is not harmed");
    assert.match((await second.run("doctor")).out, /ERROR +joining: .*CAM-S[\s\S]*try: \S/u);
  });

  it("takes devices by a batch: as many as it may, from where it may, as fast as it may", async () => {
    await hub.ok("batch", "open", "elsewhere", "--max", "5", "--until", "1h", "--cidr", "192.0.2.0/24");
    const one = await device("cam-one");
    const { join: address } = await one.until("pending");
    assert.equal(address?.code, "identity.batch-address");
    await hub.ok("batch", "open", "few", "--max", "2", "--until", "1h", "--site", "munich", "--rate", "1/min");
    await one.until("member");
    const { nodeId } = await one.status();
    const { site, evidence } = await hub.untilSees(nodeId, "connected");
    assert.deepEqual({ site, evidence }, { site: "munich", evidence: "batch" });

    await hub.ok("batch", "close", "elsewhere");
    const two = await device("cam-two");
    await yard.until("the rate to hold the second back", async () => {
      const { state, join } = await two.status();
      return state === "pending" && join?.code === "identity.batch-rate";
    });
    await hub.ok("batch", "open", "few", "--max", "1", "--until", "1h");
    await yard.until("the batch to be full", async () => (await two.status()).join?.code === "identity.batch-full");
    await hub.ok("batch", "close", "few");
    await yard.until("the batch to be closed", async () => (await two.status()).join?.code === "identity.batch-closed");
    const { opens } = await hub.client.call("token", {});
    assert.deepEqual(
      opens.filter(({ document }) => document.startsWith("Batch/")),
      [],
    );
  });

  it("grants nothing for the token alone, and lists a published artifact soon after a claimed device starts", async () => {
    await hub.publish("first:v1", "hello\n");
    const bare = await device("cam-bare");
    await bare.until("pending");
    assert.deepEqual((await bare.client.call("artifacts.list", {})).items, []);
    assert.equal((await bare.status()).links, 0);
    assert.match(await bare.fails(4, "fetch", "first:v1"), /first:v1/u);

    await admit("timed", "CAM-T,,,,,");
    const startedMs = yard.clock.nowMs();
    const timed = await device("cam-timed", "--serial", "CAM-T");
    const readyMs = yard.clock.nowMs();
    await timed.until("member");
    await timed.untilArtifact("first:v1");
    const ms = Math.round(yard.clock.nowMs() - readyMs);
    console.log(`      token to first artifact listed: ${ms} ms, and ${Math.round(readyMs - startedMs)} ms to start`);
    assert.ok(ms < 15_000, `${ms} ms`); // 3 s on an idle machine
  });
});
