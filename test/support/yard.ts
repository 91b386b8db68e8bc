import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import {
  ControlClient,
  type ArtifactDetail,
  type DocumentDetail,
  type EventView,
  type NodeView,
  type Status,
} from "#api";
import { Fault, faultCode, SystemClock, withDeadline } from "#core";
import { type Child, Children } from "../../demo/children.ts";

export const PORTOLAN = join(import.meta.dirname, "..", "..", "bin", "portolan");

/** What tests wait for happens within a second or two; a machine whose cores are all busy takes many times that. */
const PATIENCE_MS = 40_000;
const POLL_MS = 25;

/** What a command did. */
export type Done = { code: number; out: string; err: string };

/** A folder on this machine in which nodes live. Disposing of it ends all their processes and removes the folder. */
export class Yard implements AsyncDisposable {
  readonly clock = new SystemClock();
  readonly folder = mkdtempSync(join(tmpdir(), "yard-"));
  readonly children = new Children(this.clock, this.folder);
  readonly env: NodeJS.ProcessEnv;

  constructor() {
    const { PORTOLAN_DATA: _data, XDG_RUNTIME_DIR: _runtime, NO_COLOR: _colour, ...env } = process.env;
    this.env = { ...env, HOME: this.folder, XDG_CONFIG_HOME: this.path("config"), TMPDIR: this.folder };
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  /** Writes a file into the folder and returns its path. */
  write(name: string, content: string | Uint8Array, mode = 0o600): string {
    const path = this.path(name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  }

  /** Runs one `portolan` command. */
  async run(...args: readonly string[]): Promise<Done> {
    return this.exec([PORTOLAN, ...args]);
  }

  /** Runs any command. */
  async exec(argv: readonly string[]): Promise<Done> {
    const name = argv.join(" ");
    const child = await this.children.start(name, argv, { env: this.env, stdio: ["ignore", "pipe", "pipe"] });
    const { stdout, stderr } = child.process;
    assert.ok(stdout !== null && stderr !== null);
    const all = Promise.all([child.ended, text(stdout), text(stderr)]);
    try {
      const [how, out, err] = await withDeadline(this.clock, PATIENCE_MS, name, () => all);
      return { code: how.startsWith("exit code ") ? Number(how.slice("exit code ".length)) : 128, out, err };
    } finally {
      child.process.kill("SIGKILL");
    }
  }

  /** Runs a command that must succeed; its standard output without the last line end. */
  async ok(...args: readonly string[]): Promise<string> {
    const { code, out, err } = await this.run(...args);
    assert.equal(code, 0, `portolan ${args.join(" ")}: exit ${code}\n${err}`);
    return out.trimEnd();
  }

  /** Runs a command that must fail with this exit code, say what to try, and print no result; what it said. */
  async fails(code: number, ...args: readonly string[]): Promise<string> {
    const done = await this.run(...args);
    assert.equal(done.code, code, `portolan ${args.join(" ")}: exit ${done.code}\n${done.out}${done.err}`);
    assert.equal(done.out, "", "results only on stdout");
    assert.match(done.err, /^error: \S/mu);
    assert.doesNotMatch(done.err, /mistake in portolan itself|^\s+at /mu);
    return done.err;
  }

  /** A node of this machine; it does nothing before `up`. */
  node(name: string): YardNode {
    return new YardNode(this, name);
  }

  /** A demo fleet of one node, which runs and is its registrar. */
  async demoFleet(name = "hub", ...flags: readonly string[]): Promise<YardNode> {
    const node = this.node(name);
    await node.ok("fleet", "create", `${name}-fleet`, "--demo", "--site", "hq");
    await node.up(...flags);
    return node;
  }

  /** A yard with a demo fleet and its token: what most tests of a join begin with. */
  static async withFleet(): Promise<{ yard: Yard; hub: YardNode; token: string }> {
    const yard = new Yard();
    const hub = await yard.demoFleet();
    return { yard, hub, token: await hub.ok("token") };
  }

  /** A member of a demo fleet, in a site of its own. */
  async member(hub: YardNode, serial: string, site: string): Promise<YardNode> {
    const token = await this.#admit(hub, { [serial]: "" });
    const node = this.node(serial);
    await node.up("--token", token, "--serial", serial, "--site", site);
    await node.until("member");
    return node;
  }

  /**
   * Members of a demo fleet that nobody can dial: what one of them sends another goes over nodes that both can. `tenants` has the serial of each,
   * which becomes its name, and its tenant, empty for the fleet's own.
   */
  async membersBehind<Serial extends string>(
    hub: YardNode,
    tenants: Readonly<Record<Serial, string>>,
    { site = "berlin", flags = [] }: { site?: string; flags?: readonly string[] } = {},
  ): Promise<Record<Serial, YardNode>> {
    const token = await this.#admit(hub, tenants);
    const nodes = Object.keys(tenants).map((serial) => this.node(serial));
    for (const node of nodes) await node.upDialling("--token", token, "--serial", node.name, "--site", site, ...flags);
    for (const node of nodes) await node.until("member");
    return Object.fromEntries(nodes.map((node) => [node.name, node])) as Record<Serial, YardNode>;
  }

  async #admit(hub: YardNode, tenants: Readonly<Record<string, string>>): Promise<string> {
    const rows = Object.entries(tenants).map(([serial, tenant]) => `${serial},,,${tenant},,\n`);
    const claims = this.write("claims.csv", `serial,model,key,tenant,labels,expires\n${rows.join("")}`);
    await hub.ok("admit", "-f", claims);
    return hub.ok("token");
  }

  /** Waits until `look` returns something. Throws Fault `core.deadline` that says what was waited for. */
  async until<T>(what: string, look: () => Promise<T | undefined | false>, ms = PATIENCE_MS): Promise<T> {
    return await withDeadline(this.clock, ms, what, async (signal) => {
      for (;;) {
        const seen = await look();
        if (seen !== undefined && seen !== false) return seen;
        await this.clock.sleep(POLL_MS, signal);
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.children[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

type UpWith = { env?: NodeJS.ProcessEnv; through?: readonly string[]; listen?: readonly string[] };

/** One node: a data directory, perhaps a daemon on it, its log, and commands that are about it. */
export class YardNode {
  readonly yard: Yard;
  readonly name: string;
  readonly data: string;
  readonly client: ControlClient;
  #daemon: Child | undefined;

  constructor(yard: Yard, name: string) {
    this.yard = yard;
    this.name = name;
    this.data = yard.path(name);
    this.client = new ControlClient(yard.clock, this.data);
  }

  get pid(): number {
    assert.ok(this.#daemon !== undefined, `${this.name} does not run`);
    return this.#daemon.pid;
  }

  /** Everything that its daemons wrote, to both outputs. */
  get log(): string {
    const file = this.yard.path(`${this.name}.log`);
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  }

  /** Starts the daemon on loopback, without multicast, and waits until it answers. */
  async up(...flags: readonly string[]): Promise<void> {
    await this.upWith({}, ...flags);
  }

  /** As `up`, but nobody can dial it. */
  async upDialling(...flags: readonly string[]): Promise<void> {
    const config = this.yard.write(`${this.name}.yaml`, "listen: []\n");
    await this.upWith({ listen: [] }, "--config", config, ...flags);
  }

  /** As `up`, with more environment, through another command that ends in executing `portolan`, or with other words on where to listen. */
  async upWith(
    { env = {}, through = [PORTOLAN], listen = ["--listen", "/ip4/127.0.0.1/tcp/0/tls"] }: UpWith,
    ...flags: readonly string[]
  ): Promise<void> {
    const where = flags.includes("--listen") ? [] : listen;
    const names = flags.includes("--names") ? [] : ["--names", "off"]; // nodes of one machine would take each other's ports
    const argv = [...through, "up", "--data", this.data, "--no-mdns", ...names, ...where, ...flags];
    const log = this.yard.path(`${this.name}.log`);
    const all = { ...this.yard.env, ...env };
    const daemon = await this.yard.children.startLogged(this.name, argv, log, all);
    this.#daemon = daemon;
    let ended: string | undefined;
    void daemon.ended.then((how) => {
      ended = how;
    });
    await this.yard.until(`${this.name} to start`, async () => {
      assert.equal(ended, undefined, `${this.name} did not start: ${this.log.slice(-2_000)}`);
      return (await this.tryStatus())?.pid === daemon.pid;
    });
  }

  /** Takes the process away without warning. */
  async kill(): Promise<void> {
    process.kill(this.pid, "SIGKILL");
    await this.#daemon?.ended;
    this.#daemon = undefined;
  }

  /** Ends the daemon as Ctrl-C does; how it ended. */
  async stop(): Promise<string> {
    const daemon = this.#daemon;
    assert.ok(daemon !== undefined);
    daemon.process.kill("SIGINT");
    this.#daemon = undefined;
    return await withDeadline(this.yard.clock, PATIENCE_MS, `${this.name} to stop`, () => daemon.ended);
  }

  /** Waits for the daemon to end by itself; how it did. */
  async ended(): Promise<string> {
    const daemon = this.#daemon;
    assert.ok(daemon !== undefined);
    this.#daemon = undefined;
    return await withDeadline(this.yard.clock, PATIENCE_MS, `${this.name} to end`, () => daemon.ended);
  }

  run(...args: readonly string[]): Promise<Done> {
    return this.yard.run(...args, "--data", this.data);
  }
  ok(...args: readonly string[]): Promise<string> {
    return this.yard.ok(...args, "--data", this.data);
  }
  fails(code: number, ...args: readonly string[]): Promise<string> {
    return this.yard.fails(code, ...args, "--data", this.data);
  }

  status(): Promise<Status> {
    return this.client.call("status", {});
  }

  /** `undefined` while no daemon answers. */
  async tryStatus(): Promise<Status | undefined> {
    try {
      return await this.status();
    } catch (error) {
      if (error instanceof Fault && error.exit === "offline") return undefined;
      throw error;
    }
  }

  /** Waits until the node stands so in its fleet. */
  async until(state: Status["state"]): Promise<Status> {
    let last: Status | undefined;
    try {
      return await this.yard.until(`${this.name} to be ${state}`, async () => {
        last = await this.status();
        return last.state === state && last;
      });
    } catch (error) {
      const { state: is, join } = last ?? {};
      throw new Error(`${this.name} is ${is}, not ${state}: ${JSON.stringify(join)}\n${this.log.slice(-1_500)}`, {
        cause: error,
      });
    }
  }

  /** Waits until this node sees another so; `who` is a name, node id or serial. */
  untilSees(who: string, state: NodeView["state"]): Promise<NodeView> {
    return this.yard.until(`${this.name} to see ${who} ${state}`, async () => {
      const seen = await this.look(() => this.client.call("nodes.get", { name: who }));
      return seen?.state === state && seen;
    });
  }

  /** Waits until an event that fits is on record. */
  untilEvent(fits: (event: EventView) => boolean, what: string): Promise<EventView> {
    return this.yard.until(`${this.name} to record ${what}`, async () => (await this.events()).find(fits));
  }

  async events(): Promise<EventView[]> {
    return (await this.client.call("events.list", {})).items;
  }

  /** An artifact as this node knows it; `undefined` when it knows none of that name. */
  artifact(name: string): Promise<ArtifactDetail | undefined> {
    return this.look(() => this.client.call("artifacts.get", { name }));
  }

  untilArtifact(name: string): Promise<ArtifactDetail> {
    return this.yard.until(`${this.name} to list ${name}`, () => this.artifact(name));
  }

  /** Waits until this node has a document, named as `Kind/NAME`. */
  untilDocument(name: string): Promise<DocumentDetail> {
    return this.yard.until(`${this.name} to have ${name}`, () =>
      this.look(() => this.client.call("documents.get", { name })),
    );
  }

  /** Waits until this node's own copy of an artifact is whole. */
  untilComplete(name: string): Promise<ArtifactDetail> {
    return this.yard.until(`${this.name} to have ${name}`, async () => {
      const detail = await this.artifact(name);
      return detail?.local.state === "complete" && detail;
    });
  }

  /** What a question found, `undefined` where there is no such thing. */
  async look<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (error) {
      if (faultCode(error) === "api.no-such") return undefined;
      throw error;
    }
  }

  /** Publishes content under a name with the demo key, from a file of its own. */
  async publish(name: string, content: Uint8Array | string, ...flags: readonly string[]): Promise<string> {
    const path = this.yard.write(`${name.replaceAll(":", "-")}.source`, content);
    await this.ok("publish", path, "--name", name, ...flags);
    return path;
  }
}
