import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SystemClock, SystemRandom, withDeadline } from "#core";
import { type Lab, run } from "../../bench/lab/index.ts";
import { until } from "../../bench/portolan.ts";
import { type Coast, LINKED, PLACES, startCoast } from "./coast.ts";
import { skipWithout, skipWithoutLab } from "./skip-without.ts";

const clock = new SystemClock();
const PATIENCE_MS = 120_000;
const MIB = 1024 * 1024;
const FILE_BYTES = 192 * MIB;
const KEYSTROKES = 60;
/** Kills the gateway in use, then brings it up again. */
async function shake(coast: Coast["fleet"]): Promise<void> {
  const [gateway] = await coast.gateways("cam");
  assert.ok(gateway !== undefined, "a way over a gateway");
  coast.signal(gateway, "SIGKILL");
  await clock.sleep(2_000);
  await coast.up(gateway);
  await coast.untilLinked(LINKED);
}

describe("circuits in the lab", function () {
  this.timeout(400_000);
  const stop = new AbortController();
  let stack: AsyncDisposableStack;
  let lab: Lab;
  let coast: Coast["fleet"];
  let folder: string;

  before(async function () {
    await skipWithoutLab(this, "curl", "python3");
    stack = new AsyncDisposableStack();
    stack.defer(() => stop.abort());
    ({ lab, fleet: coast, folder } = await startCoast(clock, stack));
  });
  after(() => stack?.disposeAsync());

  it("a stock curl has its whole file though the gateways that carry it die under it", async () => {
    const web = join(folder, "web");
    mkdirSync(web);
    const content = new SystemRandom().bytes(FILE_BYTES);
    writeFileSync(join(web, "film"), content);
    lab.start(PLACES.pump.netns, ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", web]);
    await coast.cli("pump", "service", "publish", "web", "--to", "127.0.0.1:8000", "--check", "tcp");
    await coast.untilServed("cam", "web");
    await coast.connect("cam", "web", stop.signal, { port: 8080 });
    const copy = join(folder, "copy");
    const curl = lab.start(PLACES.cam.netns, ["curl", "-sS", "-o", copy, "http://127.0.0.1:8080/film"]);
    await until(
      clock,
      "the first bytes",
      async () => (await coast.client("cam").call("circuits.list", {})).items.length > 0,
    );
    await clock.sleep(1_500);
    await shake(coast);
    assert.equal(await withDeadline(clock, PATIENCE_MS, "curl", () => curl.ended), "exit 0", curl.stderr);
    const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
    assert.equal(digest(readFileSync(copy)), digest(content));
    const [circuit] = (await coast.client("cam").call("circuits.list", {})).items;
    assert.ok((circuit?.moves ?? 0) >= 1, JSON.stringify(circuit));
  });

  it("a stock ssh session answers each keystroke though the gateway that carries it dies twice", async function () {
    const sshd = "/usr/sbin/sshd";
    await skipWithout(this, "ssh", sshd);
    const file = (name: string): string => join(folder, name);
    for (const key of ["host", "user"]) {
      await run(clock, PATIENCE_MS, ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file(`${key}.key`)]);
    }
    writeFileSync(file("keys"), readFileSync(file("user.key.pub")));
    chmodSync(file("keys"), 0o600);
    mkdirSync("/run/sshd", { recursive: true });
    const options = ["StrictModes=no", `AuthorizedKeysFile=${file("keys")}`, "ListenAddress=127.0.0.1", "UsePAM=no"];
    lab.start(PLACES.pump.netns, [
      sshd,
      "-D",
      "-e",
      "-p",
      "2200",
      "-h",
      file("host.key"),
      ...options.flatMap((o) => ["-o", o]),
    ]);
    await coast.cli("pump", "service", "publish", "shell", "--to", "127.0.0.1:2200", "--check", "tcp");
    await coast.untilServed("cam", "shell");
    await coast.connect("cam", "shell", stop.signal, { port: 2222 });
    const trust = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"];
    const ssh = lab.start(PLACES.cam.netns, [
      "ssh",
      "-T",
      "-i",
      file("user.key"),
      ...trust,
      "-p",
      "2222",
      "127.0.0.1",
      "cat",
    ]);
    const waits: number[] = [];
    let shaking = Promise.resolve();
    for (let key = 0; key < KEYSTROKES; key++) {
      const startMs = clock.nowMs();
      const answer = ssh.line("an answer", PATIENCE_MS, (line) => line === `key ${key}`);
      ssh.send(`key ${key}`);
      await answer;
      waits.push(clock.nowMs() - startMs);
      if (key === 15 || key === 40) {
        await shaking;
        shaking = shake(coast);
      }
      await clock.sleep(100);
    }
    await shaking;
    waits.shift(); // the first one waits for the session to begin
    const [median, worst] = [waits.toSorted((a, b) => a - b)[KEYSTROKES >> 1] ?? 0, Math.max(...waits)];
    console.log(
      `      ${KEYSTROKES} keystrokes: ${Math.round(median)} ms in the median, ${Math.round(worst)} ms at most`,
    );
  });
});
