import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SystemRandom } from "#core";
import { Yard } from "../support/yard.ts";

const STORM = join(import.meta.dirname, "..", "..", "bench", "storm.ts");
const CONNECTIONS = 10_000;
const SIZE_BYTES = 32 * 2 ** 20;
/** Generous: a daemon that serves takes about 200 MiB. */
const MAX_RSS_BYTES = 400 * 2 ** 20;
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe("strangers", function () {
  this.timeout(90_000);

  it("10,000 connections, half-open joins, slow hellos and a flood of probes: members go on, and newcomers get in after", async () => {
    await using yard = new Yard();
    // for as long as the storm lasts: 32 MiB in about 6 s
    const hub = await yard.demoFleet("hub", "--config", yard.write("slow.yaml", "limits: { uploadBps: 5M }\n"));
    const rows = ["cam", "late"].map((name) => `${name},,,,,`);
    await hub.ok(
      "admit",
      "-f",
      yard.write("claims.csv", ["serial,model,key,tenant,labels,expires", ...rows].join("\n")),
    );
    const token = await hub.ok("token");
    const cam = yard.node("cam");
    await cam.up("--token", token, "--serial", "cam");
    await cam.until("member");
    await hub.untilSees("cam", "connected");
    const content = new SystemRandom().bytes(SIZE_BYTES);
    await hub.publish("m:v1", content);
    await cam.untilArtifact("m:v1");
    const { pid, addresses } = await hub.status();

    const storm = yard.exec([process.execPath, STORM, addresses[0] ?? "", String(CONNECTIONS), "6"]);
    const copy = yard.path("copy");
    await cam.ok("fetch", "m:v1", "-o", copy);
    assert.equal(sha256(readFileSync(copy)), sha256(content));
    const { code, out, err } = await storm;
    assert.equal(code, 0, err);
    const { connections } = JSON.parse(out) as { connections: number };
    assert.ok(connections > CONNECTIONS * 0.9, `${connections} connections got through`);

    assert.equal((await hub.status()).pid, pid, "the daemon that was stormed still runs");
    const peak = /^VmHWM:\s+(\d+) kB$/mu.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    assert.ok(Number(peak) * 1024 < MAX_RSS_BYTES, `${peak} KiB at its peak`);
    const late = yard.node("late");
    await late.up("--token", token, "--serial", "late");
    await late.until("member");
  });
});
