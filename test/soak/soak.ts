import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { errorMessage, type Random, SeededRandom } from "#core";
import { pick } from "../fuzz/target.ts";
import { Yard, type YardNode } from "../support/yard.ts";
import { complaintsOf, errorsIn, orphansIn, type Vitals, vitalsOf } from "./vitals.ts";

const MIB = 1024 ** 2;
/** Nodes beside the registrar; a revoked one is replaced. */
const NODES = 4;
/** Artifacts at once; before one more the oldest is deleted. */
const MAX_ARTIFACTS = 6;
const MAX_SIZE_BYTES = 8 * MIB;
/** A frozen process is a cut cable: suspect at once, dead after 5 s. */
const FREEZE_MS = [1_000, 9_000] as const;
const LOOK_EVERY_MS = 5_000;
/** In the end all have so long to come to rest. */
const REST_MS = 120_000;

export type SoakOptions = { seed: number; minutes: number; say: (line: string) => void };

/** What went wrong, in words; and the highest figures seen. */
export type SoakVerdict = { failures: string[]; actions: number; worst: Omit<Vitals, "name"> };

/** A fleet of real daemons at random work and under random faults for some minutes; then whether all is well. */
export async function soak(options: SoakOptions): Promise<SoakVerdict> {
  await using yard = new Yard();
  const run = new Soak(yard, options);
  await run.start();
  await run.work();
  await run.end();
  return run.verdict;
}

type Artifact = { name: string; sha256: string };

class Soak {
  readonly #yard: Yard;
  readonly #options: SoakOptions;
  readonly #random: Random;
  readonly #artifacts: Artifact[] = [];
  readonly #nodes: YardNode[] = [];
  readonly #frozen = new Set<YardNode>();
  #hub: YardNode | undefined;
  #token = "";
  #born = 0;
  #published = 0;
  readonly verdict: SoakVerdict = { failures: [], actions: 0, worst: { rssMib: 0, fds: 0, answerMs: 0 } };

  constructor(yard: Yard, options: SoakOptions) {
    this.#yard = yard;
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
  }

  get #registrar(): YardNode {
    assert.ok(this.#hub !== undefined);
    return this.#hub;
  }

  async start(): Promise<void> {
    this.#hub = await this.#yard.demoFleet("hub");
    await this.#hub.ok("batch", "open", "--max", "1000", "--until", "24h");
    this.#token = await this.#hub.ok("token");
    for (let at = 0; at < NODES; at++) await this.#birth();
  }

  /** Does one thing after the other until the time is up. A thing that fails is noted, and the next is done. */
  async work(): Promise<void> {
    const { clock } = this.#yard;
    const endMs = clock.nowMs() + this.#options.minutes * 60_000;
    const watching = this.#watch(endMs);
    const actions = [
      () => this.#publish(),
      () => this.#publish(),
      () => this.#kill(),
      () => this.#restart(),
      () => this.#freeze(),
      () => this.#replace(),
      () => this.#delete(),
    ];
    while (clock.nowMs() < endMs) {
      const action = pick(this.#random, actions);
      try {
        const what = await action();
        this.verdict.actions += 1;
        this.#options.say(`${this.verdict.actions}: ${what}`);
      } catch (error) {
        this.verdict.failures.push(`action ${this.verdict.actions + 1}: ${errorMessage(error)}`);
        this.#options.say(`FAILED ${errorMessage(error)}`);
      }
      await clock.sleep(this.#random.below(3_000));
    }
    await watching;
  }

  /** All come to rest: every node has every artifact, to the byte, and nothing else; logs are clean. */
  async end(): Promise<void> {
    for (const node of [this.#registrar, ...this.#nodes]) {
      await this.#check(`${node.name} at the end`, () => this.#settled(node));
    }
    for (const node of [this.#registrar, ...this.#nodes]) {
      await this.#check(`stopping ${node.name}`, async () => assert.equal(await node.stop(), "exit code 0"));
      for (const file of orphansIn(join(node.data, "store")))
        this.verdict.failures.push(`${node.name}: orphan ${file}`);
      for (const line of errorsIn(node.log)) this.verdict.failures.push(`${node.name} logged: ${line.slice(0, 300)}`);
    }
  }

  async #settled(node: YardNode): Promise<void> {
    for (const { name, sha256 } of this.#artifacts) {
      await this.#yard.until(
        `${node.name} to have ${name}`,
        async () => {
          return (await node.artifact(name))?.local.state === "complete";
        },
        REST_MS,
      );
      const out = this.#yard.path("out");
      await node.ok("fetch", name, "-o", out, "--force");
      assert.equal(createHash("sha256").update(readFileSync(out)).digest("hex"), sha256, `${name} has a wrong byte`);
    }
  }

  async #check(what: string, holds: () => Promise<void>): Promise<void> {
    try {
      await holds();
    } catch (error) {
      this.verdict.failures.push(`${what}: ${errorMessage(error)}`);
    }
  }

  async #watch(endMs: number): Promise<void> {
    const { clock } = this.#yard;
    const { worst, failures } = this.verdict;
    while (clock.nowMs() < endMs) {
      await clock.sleep(LOOK_EVERY_MS);
      for (const node of [this.#registrar, ...this.#nodes]) {
        if (this.#frozen.has(node)) continue;
        const vitals = await vitalsOf(clock, node);
        if (vitals === undefined) continue;
        for (const figure of ["rssMib", "fds", "answerMs"] as const)
          worst[figure] = Math.max(worst[figure], vitals[figure]);
        failures.push(...complaintsOf(vitals));
      }
    }
  }
  async #birth(): Promise<string> {
    const node = this.#yard.node(`n${++this.#born}`);
    const site = pick(this.#random, ["hq", "berlin"]);
    await node.up("--token", this.#token, "--serial", node.name, "--site", site);
    await node.until("member");
    this.#nodes.push(node);
    return `${node.name} joined in ${site}`;
  }

  async #publish(): Promise<string> {
    if (this.#artifacts.length >= MAX_ARTIFACTS) await this.#delete();
    const content = this.#random.bytes(1 + this.#random.below(MAX_SIZE_BYTES));
    const name = `a${++this.#published}:v1`;
    rmSync(await this.#registrar.publish(name, content));
    this.#artifacts.push({ name, sha256: createHash("sha256").update(content).digest("hex") });
    await this.#registrar.ok("stage", name, "-l", "");
    return `published ${name} of ${content.length} bytes for all`;
  }

  async #delete(): Promise<string> {
    const artifact = this.#artifacts.shift();
    if (artifact === undefined) return "nothing to delete";
    await this.#registrar.ok("delete", "artifact", artifact.name);
    return `deleted ${artifact.name}`;
  }

  async #kill(): Promise<string> {
    const node = pick(this.#random, [this.#registrar, ...this.#nodes]);
    await node.kill();
    await this.#yard.clock.sleep(this.#random.below(3_000));
    await node.up();
    return `killed ${node.name}`;
  }

  async #restart(): Promise<string> {
    const node = pick(this.#random, this.#nodes);
    const how = await node.stop();
    assert.equal(how, "exit code 0", `${node.name} stopped with ${how}`);
    await node.up();
    return `restarted ${node.name}`;
  }

  async #freeze(): Promise<string> {
    const node = pick(this.#random, [this.#registrar, ...this.#nodes]);
    const ms = FREEZE_MS[0] + this.#random.below(FREEZE_MS[1] - FREEZE_MS[0]);
    this.#frozen.add(node);
    process.kill(node.pid, "SIGSTOP");
    try {
      await this.#yard.clock.sleep(ms);
    } finally {
      process.kill(node.pid, "SIGCONT");
      this.#frozen.delete(node);
    }
    return `froze ${node.name} for ${ms} ms`;
  }

  /** Revokes a node, and brings a new one in its place. */
  async #replace(): Promise<string> {
    const node = pick(this.#random, this.#nodes);
    this.#nodes.splice(this.#nodes.indexOf(node), 1);
    await this.#registrar.ok("revoke", node.name);
    await node.stop();
    return `revoked ${node.name}, ${await this.#birth()}`;
  }
}
