import { strict as assert } from "node:assert";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ControlClient, type LinkView } from "#api";
import { Fault, SystemClock, withDeadline } from "#core";
import { type Child, type Lab, run, startLab } from "../../bench/lab/index.ts";
import { PORTOLAN } from "../support/yard.ts";
import { skipWithoutLab } from "./skip-without.ts";

const clock = new SystemClock();
const PATIENCE_MS = 150_000;

/** Daemons on hosts of a lab, and what they say. */
class Plant implements AsyncDisposable {
  readonly #lab: Lab;
  readonly #folder = mkdtempSync(join(tmpdir(), "plant-"));
  readonly #running = new Map<string, Child>();

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  client(name: string): ControlClient {
    return new ControlClient(clock, join(this.#folder, name));
  }

  /** Starts a node on all addresses of a host, with mDNS. */
  async up(name: string, netns: string, port: number, ...flags: readonly string[]): Promise<void> {
    const listen = `/ip4/0.0.0.0/tcp/${port}/tls`;
    const argv = [PORTOLAN, "up", "--data", join(this.#folder, name), "--listen", listen, ...flags];
    this.#running.set(name, this.#lab.start(netns, argv));
    await until(`${name} to run`, async () => !(await this.client(name).call("status", {})).offline);
  }

  async stop(name: string): Promise<void> {
    await this.#running.get(name)?.stop();
  }

  cli(name: string, ...argv: readonly string[]): Promise<string> {
    return run(clock, PATIENCE_MS, [PORTOLAN, ...argv, "--data", join(this.#folder, name)]);
  }

  /** Makes a fleet on one node, and lets the other join by a claim. */
  async fleet(hub: [string, string], member: [string, string]): Promise<void> {
    await this.cli(hub[0], "fleet", "create", `${hub[0]}-fleet`, "--demo");
    await this.up(...hub, 4001);
    const claims = join(this.#folder, "claims.csv");
    writeFileSync(claims, `serial,model,key,tenant,labels,expires\n${member[0]},,,,,\n`);
    await this.cli(hub[0], "admit", "-f", claims);
    const { token } = await this.client(hub[0]).call("token", {});
    await this.up(...member, 4001, "--token", token, "--serial", member[0]);
    await this.untilLinked(member[0]);
  }

  async untilLinked(name: string): Promise<void> {
    await until(`${name} to have a neighbour`, async () => (await this.client(name).call("status", {})).links === 1);
  }

  async link(name: string): Promise<LinkView | undefined> {
    return (await this.client(name).call("links.list", {})).items[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#running.keys()) await this.stop(name);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Waits until this holds; a daemon that does not answer yet is a no. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  await withDeadline(clock, PATIENCE_MS, what, async (signal) => {
    const isDown = (error: unknown): boolean => {
      if (error instanceof Fault && error.exit === "offline") return false;
      throw error;
    };
    while (!(await holds().catch(isDown))) await clock.sleep(20, signal);
  });
}

describe("mesh in the lab", function () {
  this.timeout(400_000);

  before(async function () {
    await skipWithoutLab(this);
  });

  it("two fleets on one LAN find their own by mDNS, never mix, and say that the other is there", async () => {
    await using lab = await startLab(clock, { hostsPerSite: 3 });
    await using plant = new Plant(lab);
    await plant.cli("other", "fleet", "create", "other-fleet", "--demo");
    await plant.up("other", "h1-3", 4001);
    await plant.fleet(["hub", "h1-1"], ["cam", "h1-2"]);
    await plant.stop("hub");
    await plant.stop("cam");
    await plant.up("hub", "h1-1", 4002); // no address that anybody remembers is good any more
    await plant.up("cam", "h1-2", 4002);
    await plant.untilLinked("hub");
    for (const name of ["hub", "other"]) {
      const seen = async (): Promise<boolean> =>
        (await plant.client(name).call("doctor", {})).findings.some(({ subject }) => subject === "other fleet");
      await until(`${name} to notice the other fleet`, seen);
    }
    const { items } = await plant.client("hub").call("events.list", {});
    const recorded = items.filter(({ type }) => type === "node.other-fleet").length;
    assert.ok(recorded >= 1 && recorded <= 2, `${recorded} times on record in two runs`);
    assert.deepEqual(
      items.filter(({ type }) => type === "security.refused-peer"),
      [],
      "nobody even tried",
    );
    assert.equal((await plant.client("other").call("status", {})).links, 0);
  });

  it("a link is probed on its stream where UDP is dropped, and is suspect, then gone, when all is", async () => {
    await using lab = await startLab(clock, { hostsPerSite: 2 });
    await using plant = new Plant(lab);
    await plant.fleet(["hub", "h1-1"], ["cam", "h1-2"]);
    const measured = (by: string) => async (): Promise<boolean> => (await plant.link("cam"))?.measuredBy === by;
    await until("probes by UDP", measured("udp"));
    const drop = (chain: string, ...match: string[]): Promise<string> =>
      lab.run("h1-2", ["iptables", "-A", chain, ...match, "-j", "DROP"], PATIENCE_MS);
    await drop("INPUT", "-p", "udp");
    await until("probes on the stream", measured("stream"));
    assert.equal((await plant.link("cam"))?.lossRatio, undefined);
    await lab.run("h1-2", ["iptables", "-F", "INPUT"], PATIENCE_MS);
    await until("probes by UDP again", measured("udp"));
    await drop("OUTPUT", "-o", "eth0");
    await drop("INPUT", "-i", "eth0");
    const startMs = clock.nowMs();
    await until("a suspect link", async () => (await plant.link("hub"))?.state === "suspect");
    const suspectMs = clock.nowMs() - startMs;
    await until("no link", async () => (await plant.link("hub")) === undefined);
    const deadMs = clock.nowMs() - startMs;
    console.log(`      suspect after ${Math.round(suspectMs)} ms, dead after ${Math.round(deadMs)} ms`);
    assert.ok(suspectMs < 3_500, `suspect after ${suspectMs} ms`);
    assert.ok(deadMs < 6_500, `dead after ${deadMs} ms`);
  });
});
