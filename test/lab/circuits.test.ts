import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SystemClock, SystemRandom, withDeadline } from "#core";
import { Daemons } from "../../bench/daemons.ts";
import type { Place, StartAt } from "../../bench/fleet.ts";
import { type Lab, labNeeds, onPath, run, startLab } from "../../bench/lab/index.ts";
import { until } from "../../bench/portolan.ts";

const clock = new SystemClock();
const PATIENCE_MS = 120_000;
const MIB = 1024 * 1024;
const FILE_BYTES = 192 * MIB;
const KEYSTROKES = 60;
/** Sites 1 and 2 are behind NAT; the gateways in site 3 are all that their nodes can reach of each other. */
const gate = (index: number): Place & { netns: string } => ({
  netns: `h3-${index}`,
  address: `10.3.0.${10 + index}`,
  port: 4001,
  site: "harbour",
});
const behindNat = (netns: string, site: string): Place & { netns: string } => ({
  netns,
  address: "",
  port: 0,
  site,
  hidden: true,
});
const PLACES = {
  "gate-1": gate(1),
  "gate-2": gate(2),
  cam: behindNat("h1-1", "cam"),
  pump: behindNat("h2-1", "pump"),
};
const LINKED = { cam: 2, pump: 2 };
type Coast = Daemons<keyof typeof PLACES>;

/** Kills the gateway in use, then brings it up again. */
async function shake(coast: Coast): Promise<void> {
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
  let coast: Coast;
  let folder: string;

  before(async function () {
    let missing = await labNeeds();
    for (const tool of ["curl", "python3"]) if (!(await onPath(tool))) missing ??= `${tool} is missing`;
    if (missing !== undefined) {
      console.log(`      skipped: ${missing}`);
      this.skip();
    }
    stack = new AsyncDisposableStack();
    stack.defer(() => stop.abort());
    const wan = { rateBps: 200e6, delayMs: 10, jitterMs: 0, queueBytes: 1024 * 1024, lossRatio: 0 };
    lab = stack.use(await startLab(clock, { sites: 3, hostsPerSite: 2, natSites: [1, 2], wan }));
    folder = mkdtempSync(join(tmpdir(), "coast-"));
    stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    const startAt: StartAt = ({ netns = "" }, argv, options) => lab.start(netns, argv, options);
    coast = stack.use(new Daemons({ clock, startAt }, join(folder, "fleet"), PLACES));
    await coast.fleet();
    await coast.untilLinked(LINKED);
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
    await coast.connect("cam", "web", stop.signal, 8080);
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
    if (!(await onPath("ssh")) || !(await onPath("sshd"))) {
      console.log("      skipped: ssh or sshd is missing: apt-get install openssh-client openssh-server");
      this.skip();
    }
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
    await coast.connect("cam", "shell", stop.signal, 2222);
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
