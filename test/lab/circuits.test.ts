import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ControlClient } from "#api";
import { Fault, SystemClock, SystemRandom, withDeadline } from "#core";
import { type Child, type Lab, labNeeds, onPath, run, startLab } from "../../bench/lab/index.ts";
import { PORTOLAN } from "../support/yard.ts";

const clock = new SystemClock();
const PATIENCE_MS = 120_000;
const MIB = 1024 * 1024;
const FILE_BYTES = 192 * MIB;
const KEYSTROKES = 60;
const GATEWAYS = ["gate-1", "gate-2"] as const;
/** Where each node is. Sites 1 and 2 are behind NAT; the gateways in site 3 are all that their nodes can reach of each other. */
const NETNS = { cam: "h1-1", pump: "h2-1", "gate-1": "h3-1", "gate-2": "h3-2" } as const;
type Name = keyof typeof NETNS;

/** Two nodes behind NAT and two gateways, 40 ms from each other, and what stock programs do over them. */
class Coast implements AsyncDisposable {
  readonly lab: Lab;
  readonly folder = mkdtempSync(join(tmpdir(), "coast-"));
  readonly #running = new Map<Name, Child>();

  constructor(lab: Lab) {
    this.lab = lab;
  }

  client(name: Name): ControlClient {
    return new ControlClient(clock, join(this.folder, name));
  }

  cli(name: Name, ...argv: readonly string[]): Promise<string> {
    return run(clock, PATIENCE_MS, [PORTOLAN, ...argv, "--data", join(this.folder, name)]);
  }

  async up(name: Name, ...flags: readonly string[]): Promise<void> {
    const where = name.startsWith("gate") ? ["--listen", "/ip4/0.0.0.0/tcp/4001/tls"] : ["--config", this.#hiding()];
    const argv = [PORTOLAN, "up", "--data", join(this.folder, name), "--no-mdns", ...where, ...flags];
    this.#running.set(name, this.lab.start(NETNS[name], argv));
    await until(`${name} to run`, async () => !(await this.client(name).call("status", {})).offline);
  }

  kill(name: Name): void {
    this.#running.get(name)?.signal("SIGKILL");
  }

  async fleet(): Promise<void> {
    await this.cli("gate-1", "fleet", "create", "coast", "--demo", "--site", "harbour");
    await this.up("gate-1");
    const others = ["gate-2", "cam", "pump"] as const;
    const claims = join(this.folder, "claims.csv");
    writeFileSync(claims, `serial,model,key,tenant,labels,expires\n${others.map((name) => `${name},,,,,\n`).join("")}`);
    await this.cli("gate-1", "admit", "-f", claims);
    const { token } = await this.client("gate-1").call("token", {});
    for (const name of others) await this.up(name, "--token", token, "--serial", name, "--site", name);
    for (const name of ["cam", "pump"] as const) await this.#untilLinked(name);
  }

  /** The gateway that the circuit from cam goes over. */
  async gatewayInUse(): Promise<Name> {
    const { items } = await this.client("cam").call("circuits.list", {});
    const via = items.find(({ role }) => role === "source")?.via?.[0];
    for (const name of GATEWAYS) {
      const isUp = this.#running.get(name) !== undefined;
      if (isUp && (await this.client(name).call("status", {})).name === via) return name;
    }
    throw new Error(`the circuit goes over ${via}: ${JSON.stringify(items)}`);
  }

  /** Kills the gateway in use, then brings it up again. */
  async shake(): Promise<void> {
    const name = await this.gatewayInUse();
    this.kill(name);
    await clock.sleep(2_000);
    await this.up(name);
    for (const end of ["cam", "pump"] as const) await this.#untilLinked(end);
  }

  async #untilLinked(name: Name): Promise<void> {
    await until(`${name} to see both gateways`, async () => {
      const { items } = await this.client(name).call("links.list", {});
      return items.filter(({ state }) => state === "up").length === 2;
    });
    await clock.sleep(3_000); // a new link is told of within 2 s
  }

  #hiding(): string {
    const file = join(this.folder, "hidden.yaml");
    writeFileSync(file, "listen: []\n");
    return file;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#running.values()) await child.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  await withDeadline(clock, PATIENCE_MS, what, async (signal) => {
    const isDown = (error: unknown): boolean => {
      if (error instanceof Fault && error.exit === "offline") return false;
      throw error;
    };
    while (!(await holds().catch(isDown))) await clock.sleep(50, signal);
  });
}

describe("circuits in the lab", function () {
  this.timeout(400_000);
  let stack: AsyncDisposableStack;
  let coast: Coast;

  before(async function () {
    let missing = await labNeeds();
    for (const tool of ["curl", "python3"]) if (!(await onPath(tool))) missing ??= `${tool} is missing`;
    if (missing !== undefined) {
      console.log(`      skipped: ${missing}`);
      this.skip();
    }
    stack = new AsyncDisposableStack();
    const wan = { rateBps: 200e6, delayMs: 10, jitterMs: 0, queueBytes: 1024 * 1024, lossRatio: 0 };
    coast = stack.use(
      new Coast(stack.use(await startLab(clock, { sites: 3, hostsPerSite: 2, natSites: [1, 2], wan }))),
    );
    await coast.fleet();
  });
  after(() => stack?.disposeAsync());

  it("a stock curl has its whole file though the gateways that carry it die under it", async () => {
    const { lab, folder } = coast;
    const web = join(folder, "web");
    mkdirSync(web);
    const content = new SystemRandom().bytes(FILE_BYTES);
    writeFileSync(join(web, "film"), content);
    lab.start(NETNS.pump, ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", web]);
    await coast.cli("pump", "service", "publish", "web", "--to", "127.0.0.1:8000", "--check", "tcp");
    await until("cam to know a healthy web", async () => {
      const { items } = await coast.client("cam").call("services.list", {});
      return items.some(({ name, healthy }) => name === "web" && healthy === 1);
    });
    const port = lab.start(NETNS.cam, [
      PORTOLAN,
      ...["connect", "web", "--listen", "127.0.0.1:8080", "--data", join(folder, "cam")],
    ]);
    await port.line("the port", PATIENCE_MS, (line) => line === "listening on 127.0.0.1:8080");
    const copy = join(folder, "copy");
    const curl = lab.start(NETNS.cam, ["curl", "-sS", "-o", copy, "http://127.0.0.1:8080/film"]);
    await until("the first bytes", async () => (await coast.client("cam").call("circuits.list", {})).items.length > 0);
    await clock.sleep(1_500);
    await coast.shake();
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
    const { lab, folder } = coast;
    const file = (name: string): string => join(folder, name);
    for (const key of ["host", "user"]) {
      await run(clock, PATIENCE_MS, ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file(`${key}.key`)]);
    }
    writeFileSync(file("keys"), readFileSync(file("user.key.pub")));
    chmodSync(file("keys"), 0o600);
    mkdirSync("/run/sshd", { recursive: true });
    const options = ["StrictModes=no", `AuthorizedKeysFile=${file("keys")}`, "ListenAddress=127.0.0.1", "UsePAM=no"];
    lab.start(NETNS.pump, [
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
    await until("cam to know a healthy shell", async () => {
      const { items } = await coast.client("cam").call("services.list", {});
      return items.some(({ name, healthy }) => name === "shell" && healthy === 1);
    });
    const port = lab.start(NETNS.cam, [
      PORTOLAN,
      ...["connect", "shell", "--listen", "127.0.0.1:2222", "--data", join(folder, "cam")],
    ]);
    await port.line("the port", PATIENCE_MS, (line) => line === "listening on 127.0.0.1:2222");
    const trust = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"];
    const ssh = lab.start(NETNS.cam, ["ssh", "-T", "-i", file("user.key"), ...trust, "-p", "2222", "127.0.0.1", "cat"]);
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
        shaking = coast.shake();
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
