import { execFileSync, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { z } from "zod";
import type { Clock } from "#core";
import { atLeast, atMost, type BenchContext, defineBench, median, numberFlag, type Sample } from "./bench.ts";
import { COUNT_BYTES, type Ports, type TunnelPart } from "./tunnel-part.ts";

const Ready = z.object({
  ports: z.object({ sink: z.int(), echo: z.int() }).optional(),
  addresses: z.array(z.string()).optional(),
});
const PIECE = Buffer.alloc(256 * 1024, 7);
/** Nodes run as bin/portolan starts daemons. */
const DAEMON_FLAGS = ["--max-semi-space-size=4", "--initial-old-space-size=48"];
const ECHO_ROUNDS = 2_000;
const WARM_ROUNDS = 200;
const CLIENTS = 16;
const FLOWS = 8;

/** A service of another node through a tunnel, beside a pair of stunnel processes between the same two programs in the same run. */
export const tunnel = defineBench({
  name: "tunnel",
  claim: "A tunnel to a service carries 0.8 × what a stunnel pair does, and takes 2,000 new connections a second.",
  options: z.object({
    mib: numberFlag(1024, 16, 65_536, "MiB per throughput sample"),
    seconds: numberFlag(3, 1, 60, "how long new connections are made, per sample"),
    samples: numberFlag(3, 1, 99, "samples of each kind"),
  }),
  missing: async () => missing(),
  run: async (context, { mib, seconds, samples }) => {
    const { clock, progress } = context;
    await using parts = new AsyncDisposableStack();
    const paths = await startPaths(context, parts);
    const results: Sample[] = [];
    for (let round = 0; round < samples; round++) {
      for (const [kind, ports] of Object.entries(paths)) {
        progress(`round ${round + 1} of ${samples}: ${kind}`);
        results.push({ kind, round, ...(await measure(clock, ports, { bytes: mib * 2 ** 20, seconds })) });
      }
    }
    const of = (kind: string, key: string): number =>
      median(results.filter((sample) => sample["kind"] === kind).map((sample) => Number(sample[key])));
    return {
      conditions: { mib, seconds, clients: CLIENTS, flows: FLOWS, echoRounds: ECHO_ROUNDS },
      setupSeconds: {},
      samples: results,
      bars: [
        atLeast(
          "one flow ÷ stunnel's",
          0.8,
          of("portolan", "oneFlowMbPerSecond") / of("stunnel", "oneFlowMbPerSecond"),
        ),
        atLeast(
          "8 flows ÷ one flow",
          0.9,
          of("portolan", "manyFlowsMbPerSecond") / of("portolan", "oneFlowMbPerSecond"),
        ),
        atLeast("new connections a second, 16 clients", 2_000, of("portolan", "connectionsPerSecond")),
        atMost("added latency p50, ms", 1, of("portolan", "echoP50Ms") - of("direct", "echoP50Ms")),
      ],
    };
  },
});

function missing(): string | undefined {
  for (const program of ["stunnel4", "openssl"]) {
    try {
      execFileSync("which", [program]);
    } catch {
      return `${program} is not installed (Debian: apt-get install stunnel4 openssl)`;
    }
  }
  return undefined;
}

/** The same services: directly, through two nodes, and through two stunnel processes. */
async function startPaths({ directory }: BenchContext, parts: AsyncDisposableStack): Promise<Record<string, Ports>> {
  const start = async (part: TunnelPart): Promise<z.output<typeof Ready>> => {
    const child = fork(new URL("./tunnel-part.ts", import.meta.url), {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      execArgv: part.role === "target" ? [] : DAEMON_FLAGS,
      env: { ...process.env, MALLOC_ARENA_MAX: "2" },
    });
    parts.defer(() => child.disconnect());
    child.send(part);
    const [message] = await once(child, "message");
    return Ready.parse(message);
  };
  const { ports: direct = NOWHERE } = await start({ role: "target" });
  const { addresses = [] } = await start({ role: "far", ports: direct });
  const { ports: portolan = NOWHERE } = await start({ role: "near", addresses });
  return { direct, portolan, stunnel: await startStunnel(directory, parts, direct) };
}

const NOWHERE: Ports = { sink: 0, echo: 0 };

async function startStunnel(directory: string, parts: AsyncDisposableStack, target: Ports): Promise<Ports> {
  const pem = join(directory, "stunnel.pem");
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", pem];
  execFileSync("openssl", ["req", "-x509", ...newKey, "-out", `${pem}.crt`, "-days", "30", "-subj", "/CN=bench"], {
    stdio: "ignore",
  });
  const [middle, near] = [await freePorts(), await freePorts()];
  const common = ["foreground = yes", "pid =", "debug = 3", "sslVersionMin = TLSv1.3"];
  const nodelay = ["socket = l:TCP_NODELAY=1", "socket = r:TCP_NODELAY=1"];
  const services = (from: Ports, to: Ports, extra: string[]): string[] =>
    (["sink", "echo"] as const).flatMap((name) => [
      `[${name}]`,
      `accept = 127.0.0.1:${from[name]}`,
      `connect = 127.0.0.1:${to[name]}`,
      ...extra,
    ]);
  const server = [...common, ...nodelay, ...services(middle, target, [`cert = ${pem}.crt`, `key = ${pem}`])];
  const client = [...common, ...nodelay, ...services(near, middle, ["client = yes"])];
  for (const [name, lines] of Object.entries({ server, client })) {
    const path = join(directory, `stunnel-${name}.conf`);
    writeFileSync(path, `${lines.join("\n")}\n`);
    const child = spawn("stunnel4", [path], { stdio: ["ignore", "ignore", "ignore"] });
    parts.defer(() => void child.kill());
  }
  for (const port of [middle.sink, near.echo]) await untilListening(port);
  return near;
}

async function freePorts(): Promise<Ports> {
  const servers = [createServer().listen(0, "127.0.0.1"), createServer().listen(0, "127.0.0.1")];
  await Promise.all(servers.map((server) => once(server, "listening")));
  const [sink = 0, echo = 0] = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return { sink, echo };
}

async function untilListening(port: number): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      (await open(port)).destroy();
      return;
    } catch (error) {
      if (tries === 1_000) throw error;
      await new Promise(setImmediate);
    }
  }
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port, noDelay: true, allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}

async function measure(clock: Clock, ports: Ports, work: { bytes: number; seconds: number }): Promise<Sample> {
  const rate = async (flows: number): Promise<number> => {
    const startMs = clock.nowMs();
    await Promise.all(Array.from({ length: flows }, () => fill(ports.sink, work.bytes / flows)));
    return work.bytes / 1e6 / ((clock.nowMs() - startMs) / 1_000);
  };
  const oneFlowMbPerSecond = await rate(1);
  const manyFlowsMbPerSecond = await rate(FLOWS);
  const latency = await echoTimes(clock, ports.echo);
  const at = (share: number): number => latency[Math.floor(latency.length * share)] ?? Number.NaN;
  return {
    oneFlowMbPerSecond,
    manyFlowsMbPerSecond,
    echoP50Ms: at(0.5),
    echoP99Ms: at(0.99),
    connectionsPerSecond: await connectionRate(clock, ports.echo, work.seconds),
  };
}

/** Sends so much, and waits until the service has said that it got all. */
async function fill(port: number, bytes: number): Promise<void> {
  const socket = await open(port);
  const taken = once(socket, "data");
  const count = Buffer.alloc(COUNT_BYTES);
  count.writeBigUInt64BE(BigInt(bytes));
  socket.write(count);
  for (let left = bytes; left > 0; left -= PIECE.length) {
    if (!socket.write(PIECE.subarray(0, Math.min(left, PIECE.length)))) await once(socket, "drain");
  }
  await taken;
  socket.destroy();
}

/** Milliseconds that one byte takes there and back on an open connection, sorted. */
async function echoTimes(clock: Clock, port: number): Promise<number[]> {
  const socket = await open(port);
  const times: number[] = [];
  for (let round = 0; round < ECHO_ROUNDS + WARM_ROUNDS; round++) {
    const startMs = clock.nowMs();
    socket.write("x");
    await once(socket, "data");
    if (round >= WARM_ROUNDS) times.push(clock.nowMs() - startMs);
  }
  socket.destroy();
  return times.toSorted((a, b) => a - b);
}

/** Connections a second, each opened, used for one byte there and back, and closed. */
async function connectionRate(clock: Clock, port: number, seconds: number): Promise<number> {
  const startMs = clock.nowMs();
  const untilMs = startMs + seconds * 1_000;
  let made = 0;
  const client = async (): Promise<void> => {
    while (clock.nowMs() < untilMs) {
      const socket = await open(port);
      socket.write("x");
      await once(socket, "data");
      socket.end();
      await once(socket, "close");
      made += 1;
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return made / ((clock.nowMs() - startMs) / 1_000);
}
