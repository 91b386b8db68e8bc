import { strict as assert } from "node:assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { SystemClock } from "#core";
import { Child, outsideOf, run, startLab } from "../../bench/lab/index.ts";
import { skipWithoutLab } from "./skip-without.ts";

const clock = new SystemClock();
const REPLY_MS = 10_000;
const TRIES = 4;
const TRAFFIC = [process.execPath, fileURLToPath(new URL("./traffic.ts", import.meta.url))];

describe("lab", function () {
  this.timeout(60_000);

  before(async function () {
    await skipWithoutLab(this);
  });

  it("delays packets between sites by four access links a round trip", async () => {
    await using lab = await startLab(clock, { sites: 2, hostsPerSite: 1 });
    const connect = [...TRAFFIC, "connect", "10.2.0.11", "5000"];
    await lab.run("h1-1", connect, REPLY_MS); // ARP costs round trips of its own
    const roundTripMs = await least(async () => Number(await lab.run("h1-1", connect, REPLY_MS)));
    assert.ok(roundTripMs >= 60 && roundTripMs < 90, `${roundTripMs} ms`);
  });

  it("shapes a host's uplink to its rate, and counts the bytes", async () => {
    await using lab = await startLab(clock, { hostUpBps: 80e6 });
    const bytes = 10_000_000;
    const transfer = async (): Promise<number> => {
      await using receiver = lab.start("h1-2", [...TRAFFIC, "receive", String(bytes)]);
      await receiver.line("the receiver", REPLY_MS, (line) => line === "ready");
      const before = await lab.counters("h1-1", "eth0");
      await lab.run("h1-1", [...TRAFFIC, "send", "10.1.0.12", String(bytes)], REPLY_MS);
      const ms = Number(await receiver.line("the result", REPLY_MS, () => true));
      const sent = (await lab.counters("h1-1", "eth0")).txBytes - before.txBytes;
      assert.ok(sent > bytes && sent < bytes * 1.1, `${sent} bytes on the wire`);
      return ms;
    };
    const ms = await least(transfer);
    assert.ok(ms > 950 && ms < 1_300, `${ms} ms for one second of bytes`);
  });

  it("carries no more than the WAN's rate and drops at its queue", async () => {
    const wan = { rateBps: 8e6, delayMs: 5, jitterMs: 0, queueBytes: 16 * 1024, lossRatio: 0 };
    await using lab = await startLab(clock, { sites: 2, hostsPerSite: 1, wan });
    await lab.run("h1-1", [...TRAFFIC, "flood", "10.2.0.11", "16000000"], REPLY_MS);
    const { up } = await lab.wanCounters(1);
    assert.ok(up.queueDrops > 0, "a flood must overflow the queue");
    assert.ok(up.bytes > 0.9e6 && up.bytes < 1.2e6, `${up.bytes} bytes of 1 MB a second`);
  });

  it("loses frames at the rate asked for", async () => {
    const wan = { rateBps: 0, delayMs: 1, jitterMs: 0, queueBytes: 1e6, lossRatio: 0.1 };
    await using lab = await startLab(clock, { sites: 2, hostsPerSite: 1, wan });
    await lab.run("h1-1", [...TRAFFIC, "connect", "10.2.0.11", "9000"], REPLY_MS); // ARP has its own retries
    await lab.run("h1-1", [...TRAFFIC, "flood", "10.2.0.11", "16000000"], REPLY_MS);
    const { up } = await lab.wanCounters(1);
    const lossRatio = up.losses / (up.losses + up.packets);
    assert.ok(lossRatio > 0.06 && lossRatio < 0.14, `${lossRatio} of ${up.packets} frames`);
  });

  it("hides a site behind NAT from the outside, and lets it out", async () => {
    await using lab = await startLab(clock, { sites: 2, hostsPerSite: 1, natSites: [2] });
    await lab.run("h2-1", [...TRAFFIC, "connect", "10.1.0.11", "5000"], REPLY_MS);
    const inward = lab.run("h1-1", [...TRAFFIC, "connect", "10.2.0.11", "1000"], REPLY_MS);
    await assert.rejects(inward, { code: "lab.command" });
  });

  it("leads a forwarded port to a host behind NAT", async () => {
    const forwards = [{ site: 2, index: 1, port: 9000 }]; // where the traffic's receiver listens
    await using lab = await startLab(clock, { sites: 2, hostsPerSite: 1, natSites: [2], forwards });
    const receiver = lab.start("h2-1", [...TRAFFIC, "receive", "100000"]);
    await receiver.line("the receiver", REPLY_MS, (line) => line === "ready");
    await lab.run("h1-1", [...TRAFFIC, "send", outsideOf(2), "100000"], REPLY_MS);
    await receiver.line("the result", REPLY_MS, () => true);
  });

  it("leaves no process and no namespace behind after kill -9", async () => {
    const program = `
      import { SystemClock } from "#core";
      import { startLab } from "${join(import.meta.dirname, "../../bench/lab/index.ts")}";
      const clock = new SystemClock();
      await using lab = await startLab(clock, { sites: 2, hostsPerSite: 1 });
      const pids = [lab.start("h1-1", ["sleep", "1000"]).pid, lab.start("gw1", ["sleep", "1000"]).pid];
      console.log(JSON.stringify(pids));
      await clock.sleep(1e6);`;
    const namespacesBefore = await networkNamespaces();
    const node = [process.execPath, "--input-type=module-typescript", "-e", program];
    await using victim = new Child(clock, node, { cwd: import.meta.dirname });
    const line = await victim.line("the lab", REPLY_MS, (text) => text.startsWith("["));
    const pids = z.array(z.number()).length(2).parse(JSON.parse(line));
    assert.ok((await networkNamespaces()) > namespacesBefore);
    victim.signal("SIGKILL");
    await victim.ended;
    await Promise.all(pids.map((pid) => run(clock, REPLY_MS, ["tail", `--pid=${pid}`, "-f", "/dev/null"])));
    assert.equal(await networkNamespaces(), namespacesBefore);
  });
});

/** The shortest of some times that a thing took: a busy machine makes one longer, and none shorter. */
async function least(measure: () => Promise<number>): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < TRIES; i++) times.push(await measure());
  return Math.min(...times);
}

/** How many network namespaces some process of this machine lives in. */
async function networkNamespaces(): Promise<number> {
  return (await run(clock, REPLY_MS, ["lsns", "-t", "net", "-n", "-o", "NS"])).split("\n").length;
}
