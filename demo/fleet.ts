import type { StdioOptions } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { ControlClient, type Status } from "#api";
import { type Clock, Fault, faultCode, withDeadline } from "#core";
import { linkHost } from "./address.ts";
import { type Child, Children, tailOf } from "./children.ts";
import { type LinkOptions, LinkReady } from "./link-contract.ts";
import { type Namespaces, SYSTEM_PATH } from "./namespaces.ts";
import { claimsCsv, type FleetPlan, NODE_LABEL, type NodePlan, type SitePlan } from "./plan.ts";
import type { Resident } from "./socket-watch.ts";

const ROOT = path.join(import.meta.dirname, "..");
const PORTOLAN = path.join(ROOT, "bin", "portolan");

/** A daemon needs under a second of CPU to start; forty of them share two cores. */
const START_MS = 60_000;
/** For a command of the CLI, beside reading a file. */
export const COMMAND_MS = 60_000;
/** Between two looks at a state. */
const POLL_MS = 100;
/** In namespaces the ports are each site's own; elsewhere free ones are taken. */
const OWN_PORTS = { node: 4001, link: 8080 };

/** A running daemon. */
export type DemoNode = { plan: NodePlan; data: string; log: string; child: Child; client: ControlClient };
/** A running link; where its site's daemons reach it. */
export type DemoLink = { site: SitePlan; child: Child; proxy: string };

export type FleetDeps = { clock: Clock; children: Children; namespaces: Namespaces | undefined; signal: AbortSignal };
export type FleetFolders = {
  /** Data directories, logs and copies. */
  work: string;
  /** The links' sockets: short, because a unix socket's path is. */
  links: string;
};

/** The demo's processes, and the CLI against any of its daemons. */
export class Fleet {
  readonly links: DemoLink[] = [];
  readonly nodes: DemoNode[] = [];
  /** The daemon that is not claimed. */
  stranger: DemoNode | undefined;
  /** Those that were killed, until they run again. */
  readonly #killed = new Set<DemoNode>();
  /** Programs on the nodes' machines. */
  readonly #beside: Resident[] = [];
  /** What the daemons call themselves, by which others know them, and the plan's name for each. */
  readonly #serials = new Map<string, string>();
  readonly #deps: FleetDeps;
  readonly #folders: FleetFolders;
  readonly #plan: FleetPlan;

  constructor(deps: FleetDeps, folders: FleetFolders, plan: FleetPlan) {
    this.#deps = deps;
    this.#folders = folders;
    this.#plan = plan;
  }

  /** The processes that may talk to each other, by site. */
  residents(): Resident[] {
    const daemons = [...this.nodes, ...(this.stranger === undefined ? [] : [this.stranger])];
    return [
      ...this.links.map(({ site, child }) => ({ pid: child.pid, site: site.number })),
      ...daemons.map(({ plan, child }) => ({ pid: child.pid, site: plan.site.number })),
      ...this.#beside,
    ];
  }

  /** Starts a link process per site. */
  async startLinks({ rateBps, delayMs }: Pick<LinkOptions, "rateBps" | "delayMs">): Promise<void> {
    for (const site of this.#plan.sites) {
      const port = this.#deps.namespaces === undefined ? 0 : OWN_PORTS.link;
      const options: LinkOptions = { site: site.number, port, dir: this.#folders.links, rateBps, delayMs };
      const argv = [process.execPath, path.join(import.meta.dirname, "link-main.ts"), JSON.stringify(options)];
      const child = await this.#deps.children.start(
        `the WAN link of ${site.name}`,
        this.#deps.namespaces?.create(argv) ?? argv,
        { stdio: ["pipe", "pipe", "inherit"], env: this.#environment() },
      );
      const ready = await this.#firstLine(child);
      const { port: taken } = LinkReady.parse(JSON.parse(ready));
      this.links.push({ site, child, proxy: `http://${linkHost(site.number)}:${taken}` });
    }
  }

  /** Starts the first daemon, which makes the fleet, and admits all others by their serials. Returns the token. */
  async found(name: string): Promise<string> {
    const first = await this.#startDaemon(this.#plan.nodes[0]);
    this.nodes.push(first);
    await this.until(first, "running", () => true);
    await this.cli(first, ["fleet", "create", name, "--demo"]);
    await this.until(first, "the registrar", ({ state }) => state === "registrar");
    const claims = path.join(this.#folders.work, "claims.csv");
    await writeFile(claims, claimsCsv(this.#plan));
    await this.cli(first, ["admit", "-f", claims]);
    return (await first.client.call("token", {})).token;
  }

  /** Starts all other daemons with the token, the stranger among them; resolves when all are in and it is not. */
  async join(token: string): Promise<void> {
    for (const plan of this.#plan.nodes.slice(1)) this.nodes.push(await this.#startDaemon(plan, token));
    const stranger = await this.#startDaemon(this.#plan.stranger, token);
    this.stranger = stranger;
    await Promise.all([
      ...this.nodes.slice(1).map((node) => this.until(node, "a member", ({ state }) => state === "member")),
      this.until(stranger, "refused", ({ state, join }) => state !== "member" && join !== undefined),
    ]);
  }

  /** The plan's name of the node that calls itself `name`. */
  serialOf(name: string): string {
    return this.#serials.get(name) ?? name;
  }

  /** The members whose daemons run. */
  living(): DemoNode[] {
    return this.nodes.filter((node) => !this.#killed.has(node));
  }

  /** Ends a daemon with kill -9. */
  async kill(node: DemoNode): Promise<void> {
    this.#killed.add(node);
    node.child.process.kill("SIGKILL");
    await node.child.ended;
  }

  /** Starts the daemons again that were killed; resolves when they are members again. */
  async revive(): Promise<void> {
    const revived = [...this.#killed].map(async (killed) => {
      const node = await this.#startDaemon(killed.plan);
      this.nodes[this.nodes.indexOf(killed)] = node;
      this.#killed.delete(killed);
      await this.until(node, "a member again", ({ state }) => state === "member");
    });
    await Promise.all(revived);
  }

  /** Starts a program on a node's machine: in its site's namespace, where there are namespaces. */
  async beside(
    { plan: { site } }: DemoNode,
    name: string,
    argv: readonly string[],
    stdio: StdioOptions,
  ): Promise<Child> {
    const { namespaces, children } = this.#deps;
    const link = this.links.find((one) => one.site.number === site.number);
    const placed = link === undefined ? argv : (namespaces?.join(link.child.pid, argv) ?? argv);
    const child = await children.start(name, placed, { stdio, env: this.#environment() });
    this.#beside.push({ pid: child.pid, site: site.number });
    return child;
  }

  /** Where a program of this machine is; `undefined`: nowhere. */
  async programAt(name: string): Promise<string | undefined> {
    const { children, signal } = this.#deps;
    const argv = ["sh", "-c", 'command -v "$1" || true', "sh", name];
    const found = (await children.run(argv, COMMAND_MS, signal, this.#environment())).trim();
    return found === "" ? undefined : found;
  }

  /** Who was not let in, and why. */
  async refusals(): Promise<{ node: string; code: string }[]> {
    const daemons = [...this.nodes, ...(this.stranger === undefined ? [] : [this.stranger])];
    const states = await Promise.all(
      daemons.map(async ({ plan, client }) => ({ node: plan.serial, status: await client.call("status", {}) })),
    );
    return states.flatMap(({ node, status: { state, join } }) =>
      state === "member" || state === "registrar" ? [] : [{ node, code: join?.code ?? state }],
    );
  }

  /** Runs a command of the CLI against a daemon; returns what it printed. Throws Fault `demo.command`. */
  cli(node: DemoNode, args: readonly string[], ms = COMMAND_MS): Promise<string> {
    const { children, signal } = this.#deps;
    return children.run([PORTOLAN, ...args, "--data", node.data], ms, signal, this.#environment());
  }

  /** Waits until a daemon's status is as it should be. Throws Fault `demo.daemon-ended`, `core.deadline`. */
  async until(node: DemoNode, what: string, holds: (status: Status) => boolean): Promise<Status> {
    const { clock, signal } = this.#deps;
    const died = node.child.ended.then((how) => {
      throw new Fault("demo.daemon-ended", `the daemon of ${node.plan.serial} ended with ${how}\n${tailOf(node.log)}`);
    });
    const poll = async (inner: AbortSignal): Promise<Status> => {
      for (;;) {
        const status = await node.client.call("status", {}, { signal: inner }).catch(onlyDown);
        if (status !== undefined && holds(status)) {
          this.#serials.set(status.name, node.plan.serial);
          return status;
        }
        await clock.sleep(POLL_MS, inner);
      }
    };
    const reached = (inner: AbortSignal): Promise<Status> => Promise.race([poll(inner), died]);
    return withDeadline(clock, START_MS, `waiting for ${node.plan.serial} to be ${what}`, reached, signal).catch(
      (error: unknown) => {
        if (faultCode(error) !== "core.deadline" || !existsSync(node.log)) throw error;
        throw new Fault("demo.not-reached", `${node.plan.serial} is not ${what}\n${tailOf(node.log)}`, {
          cause: error,
        });
      },
    );
  }

  async #startDaemon(plan: NodePlan, token?: string): Promise<DemoNode> {
    const link = this.links.find(({ site }) => site.number === plan.site.number);
    if (link === undefined) throw new RangeError(`site ${plan.site.number} has no link`);
    const { namespaces, children, clock } = this.#deps;
    const data = path.join(this.#folders.work, "nodes", plan.serial);
    const log = path.join(this.#folders.work, "logs", `${plan.serial}.log`);
    await mkdir(data, { recursive: true, mode: 0o700 });
    await mkdir(path.dirname(log), { recursive: true, mode: 0o700 });
    const port = namespaces === undefined ? 0 : OWN_PORTS.node;
    const listen = `/ip4/${plan.host}/tcp/${port}/tls`;
    const place = ["--data", data, "--site", plan.site.name, "--label", NODE_LABEL, "--listen", listen];
    const way = ["--lan", plan.site.cidr, "--proxy", link.proxy, "--no-mdns"]; // the token alone has to do, as across networks
    const names = ["--names", "off"]; // nodes of one machine would take each other's ports
    const who = ["--serial", plan.serial, ...(token === undefined ? [] : ["--token", token])];
    const argv = [PORTOLAN, "up", ...place, ...way, ...names, ...who];
    const placed = namespaces?.join(link.child.pid, argv) ?? argv;
    const child = await children.startLogged(plan.serial, placed, log, this.#environment());
    return { plan, data, log, child, client: new ControlClient(clock, data) };
  }

  /** Contexts and other settings of whoever runs the demo stay out of it. */
  #environment(): NodeJS.ProcessEnv {
    const { PATH, LANG, TMPDIR } = process.env;
    const { work } = this.#folders;
    return { PATH: `${PATH}:${SYSTEM_PATH}`, LANG, TMPDIR, HOME: work, XDG_CONFIG_HOME: path.join(work, "config") };
  }

  async #firstLine(child: Child): Promise<string> {
    const { clock, signal } = this.#deps;
    const ended = child.ended.then((how) => {
      throw new Fault("demo.link-ended", `${child.name} ended with ${how}`);
    });
    const line = async (): Promise<string> => {
      const input = child.process.stdout ?? Readable.from([]);
      for await (const text of createInterface({ input })) return text;
      return await ended;
    };
    return withDeadline(clock, START_MS, `starting ${child.name}`, () => Promise.race([line(), ended]), signal);
  }
}

function onlyDown(error: unknown): undefined {
  if (faultCode(error) !== "api.daemon-down" && faultCode(error) !== "api.hung-up") throw error;
}
