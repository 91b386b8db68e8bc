import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { type Clock, Fault } from "#core";
import type { Child } from "./lab/index.ts";
import type { PartReady, Ports, TunnelPart } from "./tunnel-part.ts";

/** Nodes run as bin/portolan starts daemons. */
const DAEMON_FLAGS = ["--max-semi-space-size=4", "--initial-old-space-size=48"];
const READY_MS = 20_000;
/** The last client of a throughput sample may take so long. */
const DONE_MS = 300_000;
/** Between two looks whether stunnel listens. */
const LOOK_MS = 20;

const Ready = z.object({
  ports: z.object({ sink: z.int(), echo: z.int() }).optional(),
  addresses: z.array(z.string()).optional(),
  mbPerSecond: z.number().optional(),
});

/** One machine: how processes are started there, and its address. */
export type Machine = { ip: string; start: (argv: readonly string[], env?: Record<string, string>) => Child };

/** The service's machine, those of the gateways from there on, and the client's. */
export type Machines = { far: Machine; gateways: readonly Machine[]; near: Machine };

/** Starts one process of the benchmark; resolves with what it says when it is ready, or done. */
async function startPart(machine: Machine, part: TunnelPart): Promise<PartReady> {
  const flags = part.role === "target" || part.role === "client" ? [] : DAEMON_FLAGS;
  const file = join(import.meta.dirname, "tunnel-part.ts");
  const child = machine.start([process.execPath, ...flags, file], { MALLOC_ARENA_MAX: "2" });
  child.send(JSON.stringify(part));
  const isAnswer = (line: string): boolean => line.startsWith("{");
  const line = await child.line(part.role, part.role === "client" ? DONE_MS : READY_MS, isAnswer);
  return Ready.parse(JSON.parse(line));
}

/** The services themselves. */
export async function startTarget(far: Machine): Promise<Ports> {
  return portsOf(await startPart(far, { role: "target", ip: far.ip }));
}

/** MB/s of one flow from a machine to a sink. */
export async function oneFlow(machine: Machine, ip: string, ports: Ports, bytes: number): Promise<number> {
  const { mbPerSecond = Number.NaN } = await startPart(machine, { role: "client", ip, ports, bytes });
  return mbPerSecond;
}

/** From a connection until the sink has answered to a kilobyte, ms: the first one over a path has all of it to open. */
export async function firstAnswerMs(machine: Machine, ip: string, ports: Ports): Promise<number> {
  return 1 / (await oneFlow(machine, ip, ports, 1_000));
}

/** Two nodes with so many gateways between them; resolves with the near one's ports. */
export async function startPortolan({ far, gateways, near }: Machines, target: Ports): Promise<Ports> {
  const { addresses = [] } = await startPart(far, { role: "far", ip: far.ip, ports: target });
  let next = addresses;
  const path = [nodeOf(addresses)];
  for (const gateway of gateways) {
    ({ addresses: next = [] } = await startPart(gateway, { role: "gateway", ip: gateway.ip, next }));
    path.unshift(nodeOf(next));
  }
  return portsOf(await startPart(near, { role: "near", ip: near.ip, next, path }));
}

function nodeOf([address = ""]: readonly string[]): string {
  return address.split("/").at(-1) ?? "";
}

function portsOf({ ports }: PartReady): Ports {
  if (ports === undefined) throw new Fault("bench.no-ports", "a part of the benchmark does not say where it listens");
  return ports;
}

/** The same over stunnel, one process on each machine: a TLS 1.3 connection for each link. `firstPort`: of its own, with ten more. */
export class StunnelChain {
  readonly #clock: Clock;
  readonly #directory: string;
  readonly #pem: string;

  constructor(clock: Clock, directory: string) {
    this.#clock = clock;
    this.#directory = directory;
    this.#pem = join(directory, "stunnel.pem");
    const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", this.#pem];
    const certificate = ["-x509", "-out", `${this.#pem}.crt`, "-days", "30", "-subj", "/CN=bench"];
    execFileSync("openssl", ["req", ...newKey, ...certificate], { stdio: "ignore" });
  }

  /** Resolves with the near one's ports. */
  async start({ far, gateways, near }: Machines, target: Ports, firstPort: number): Promise<Ports> {
    let [next, nextIp, port] = [target, far.ip, firstPort];
    const take = (): Ports => ({ sink: port++, echo: port++ });
    for (const [index, machine] of [far, ...gateways].entries()) {
      const [from, inside] = [take(), take()];
      const out = index === 0 ? [] : services("out", machine.ip, inside, nextIp, next, ["client = yes"]);
      const keys = [`cert = ${this.#pem}.crt`, `key = ${this.#pem}`];
      const into = services("in", machine.ip, from, machine.ip, index === 0 ? next : inside, keys);
      await this.#run(machine, from.sink, [...into, ...out]);
      [next, nextIp] = [from, machine.ip];
    }
    const from = take();
    await this.#run(near, from.sink, services("out", near.ip, from, nextIp, next, ["client = yes"]));
    return from;
  }

  async #run(machine: Machine, port: number, lines: string[]): Promise<void> {
    const path = join(this.#directory, `stunnel-${port}.conf`);
    const common = ["foreground = yes", "pid =", "debug = 3", "sslVersionMin = TLSv1.3"];
    const noDelay = ["socket = l:TCP_NODELAY=1", "socket = r:TCP_NODELAY=1"];
    writeFileSync(path, `${[...common, ...noDelay, ...lines].join("\n")}\n`);
    const child = machine.start(["stunnel4", path]);
    while (!(await listensAt(child.pid, port))) {
      const ended = await Promise.race([child.ended, this.#clock.sleep(LOOK_MS)]);
      if (ended !== undefined) throw new Fault("bench.stunnel", `stunnel: ${ended}\n${child.stderr}`);
    }
  }
}

function services(name: string, ip: string, from: Ports, toIp: string, to: Ports, extra: readonly string[]): string[] {
  return (["sink", "echo"] as const).flatMap((service) => [
    `[${name}-${service}]`,
    `accept = ${ip}:${from[service]}`,
    `connect = ${toIp}:${to[service]}`,
    ...extra,
  ]);
}

/** Whether somebody listens at a port in the network namespace of a process (proc(5): state 0A). */
async function listensAt(pid: number, port: number): Promise<boolean> {
  const sockets = await readFile(`/proc/${pid}/net/tcp`, "utf8").catch(() => "");
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return sockets.split("\n").some((line) => {
    const [, address, , state] = line.trim().split(" ");
    return state === "0A" && address?.endsWith(local) === true;
  });
}
