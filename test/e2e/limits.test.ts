import assert from "node:assert/strict";
import { renameSync } from "node:fs";
import { SystemRandom } from "#core";
import { Yard, type YardNode } from "../support/yard.ts";

const SET_CLOCK = import.meta.resolve("../support/set-clock.mjs");
const MB = 1_000_000;
const MINUTE_MS = 60_000;
/** The window of the test opens so many minutes after it began. */
const OPENS_AFTER = 4;

/** `HH:MM` in UTC. */
function clockTime(ms: number): string {
  return new Date(ms).toISOString().slice(11, 16);
}

describe("limits, with real daemons in two sites", function () {
  this.timeout(90_000);
  let yard: Yard;
  let hub: YardNode;
  let cam: YardNode;
  let opensMs: number;
  let when: string;

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    cam = yard.node("cam");
    await hub.ok("admit", "-f", yard.write("claims.csv", "serial,model,key,tenant,labels,expires\ncam,,,,,\n"));
    opensMs = Math.floor(yard.clock.wallMs() / MINUTE_MS + OPENS_AFTER) * MINUTE_MS;
    when = `${clockTime(opensMs)}-${clockTime(opensMs + 60 * MINUTE_MS)}`;
    const limits = `{ wanBps: 400k, timezone: UTC, windows: [{ when: "${when}", wanDownloadBps: unlimited }] }`;
    const config = yard.write("cam.yaml", `limits: ${limits}\n`);
    const env = { NODE_OPTIONS: `--import ${SET_CLOCK}`, CLOCK_FILE: passTime(0) };
    const token = await hub.ok("token");
    await cam.upWith({ env }, "--token", token, "--serial", "cam", "--site", "berlin", "--config", config);
    await cam.until("member");
    await yard.until("the time to be confirmed", async () => (await cam.status()).time.confirmed);
  });
  after(() => yard[Symbol.asyncDispose]());

  /** For cam, so much more time has gone by than for others. */
  function passTime(ms: number): string {
    const written = yard.write("cam.clock.new", JSON.stringify({ wallOffMs: ms, uptimeOffMs: ms }));
    const file = yard.path("cam.clock");
    renameSync(written, file);
    return file;
  }

  async function publish(name: string, sizeBytes: number): Promise<void> {
    await hub.publish(name, new SystemRandom().bytes(sizeBytes));
    await cam.untilArtifact(name);
  }
  const bytesOf = async (name: string): Promise<number> => (await cam.artifact(name))?.local.bytes ?? 0;
  const untilHas = (name: string, bytes: number): Promise<true> =>
    yard.until(`cam to have ${bytes} bytes of ${name}`, async () => (await bytesOf(name)) >= bytes);

  it("change for what is on its way at the moment that a window opens", async () => {
    await publish("model:1", 30 * MB); // 75 s under the limit
    assert.match(
      await cam.ok("status"),
      new RegExp(`Limits: +WAN 400 kB/s each way, until ${clockTime(opensMs)}\n`, "u"),
    );
    const fetching = cam.run("fetch", "model:1");
    await untilHas("model:1", MB);
    const [beforeBytes, beforeMs] = [await bytesOf("model:1"), yard.clock.nowMs()];
    await untilHas("model:1", 2 * MB);
    const seconds = (yard.clock.nowMs() - beforeMs) / 1_000;
    assert.ok(seconds > ((2 * MB - beforeBytes) / 400_000) * 0.5, `${seconds} s for what takes longer under the limit`);
    passTime(opensMs - yard.clock.wallMs() + MINUTE_MS);
    const { code, err } = await fetching;
    assert.equal(code, 0, err);
    assert.match(await cam.ok("status"), new RegExp(`Limits: +WAN up 400 kB/s, until .*\\(window ${when}\\)`, "u"));
    const { limits } = (await cam.client.call("nodes.get", { name: "cam" })) ?? {};
    assert.deepEqual([limits?.source, limits?.rates], ["window", { wanUploadBps: 400_000 }]);
  });

  it("are set by hand for a while, and taken back", async () => {
    assert.match(await cam.fails(2, "limits", "set"), /say what to limit/u);
    assert.match(await cam.fails(2, "limits", "set", "--wan", "2 Mbit"), /--wan 2 Mbit is not a rate/u);
    const said = await cam.ok("limits", "set", "--wan", "500k", "--upload", "unlimited", "--for", "2h");
    assert.match(said, /Now: +WAN 500 kB\/s each way, until \d\d:\d\d \(set by hand\)/u);
    assert.match(said, /Configured: +WAN 400 kB\/s each way/u);
    assert.match(await cam.ok("limits"), /Set: +up unlimited, WAN 500 kB\/s each way, until \d\d:\d\d/u);
    assert.doesNotMatch(await cam.ok("limits", "reset"), /Set:/u);
    assert.equal((await cam.status()).limits?.source, "window");
  });

  for (const [side, limited] of [
    ["receiver", () => cam],
    ["sender", () => hub],
  ] as const) {
    it(`leave what somebody waits for in front of what nobody does, where the ${side} is limited`, async () => {
      const [behind, ahead] = [`behind-${side}:1`, `ahead-${side}:1`];
      await publish(behind, 16 * MB);
      await publish(ahead, 6 * MB);
      await limited().ok("limits", "set", side === "sender" ? "--upload" : "--download", "2M");
      const fetching = cam.run("fetch", "--background", behind);
      await untilHas(behind, 2 * MB);
      assert.match(await cam.ok("get", "artifacts"), new RegExp(`${behind} .*% \\(background\\)`, "u"));
      let begun: Promise<{ ms: number; bytes: number }> | undefined;
      await cam.client.job("fetch", { name: ahead }, () => {
        begun ??= bytesOf(behind).then((bytes) => ({ ms: yard.clock.nowMs(), bytes }));
      });
      const { ms, bytes } = (await begun) ?? { ms: 0, bytes: 0 };
      const seconds = (yard.clock.nowMs() - ms) / 1_000;
      const meanwhile = (await bytesOf(behind)) - bytes;
      console.log(`      6 MB at 2 MB/s in ${seconds.toFixed(1)} s; ${(meanwhile / MB).toFixed(1)} MB of the other`);
      assert.ok(seconds < 4.2, "about the time that it takes alone");
      assert.ok(meanwhile < 0.2 * 6 * MB, "hardly anything of the other came meanwhile");
      assert.equal((await cam.artifact(behind))?.local.state, "transferring");
      const { code, err } = await fetching;
      assert.equal(code, 0, err);
      await limited().ok("limits", "reset");
    });
  }
});
