import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SOCKET_NAME } from "#api";
import { type ByteStream, memoryStreamPair, SILENT_LOG, SystemClock } from "#core";
import type { Instance } from "#routing";
import { tunnelHandlers } from "../../src/daemon/control/tunnels.ts";
import { createMetrics } from "../../src/daemon/metrics.ts";
import { startControlServer } from "../../src/daemon/server.ts";
import { Tunnels, type WantedService } from "../../src/daemon/tunnels.ts";
import { CliHarness } from "../support/cli-harness.ts";
import { memoryHandlers, memoryResources } from "../support/memory-handlers.ts";
import { listening } from "../support/tunnel-path.ts";

const clock = new SystemClock();
const PORTOLAN = fileURLToPath(new URL("../../bin/portolan", import.meta.url));

/** One node that publishes `echo` to itself, under the control API and the real command. */
describe("portolan connect", function () {
  this.timeout(30_000);
  let cli: CliHarness;
  let echo: Server;
  let tunnels: Tunnels;
  let asked: WantedService[];
  let stack: AsyncDisposableStack;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    cli = new CliHarness();
    stack.defer(() => cli.dispose());
    mkdirSync(cli.data, { recursive: true });
    asked = [];
    echo = createServer((socket) => void socket.on("error", () => undefined).pipe(socket));
    const target = { host: "127.0.0.1", port: await listening(echo) };
    stack.defer(() => void echo.close());
    let accept: (stream: ByteStream, peer: string) => void = () => undefined;
    const mesh = {
      clock,
      log: SILENT_LOG,
      handle: (_: string, handler: typeof accept) => void (accept = handler),
      open: async (node: string): Promise<ByteStream> => {
        if (node === "gone") throw new Error("nobody is there");
        const [near, far] = memoryStreamPair();
        accept(far, "self");
        return near;
      },
    };
    const instance = {
      node: "self",
      name: "echo",
      tenant: "default",
      protocol: "http",
      labels: {},
      priority: 0,
      weight: 1,
      healthy: true,
    } satisfies Instance;
    const services = new Map<string, Instance>([
      ["echo", instance],
      ["spare", { ...instance, name: "spare" }],
      ["broken", { ...instance, name: "broken", node: "gone" }],
      ["names", { ...instance, name: "names", protocol: "udp" }],
      ["both", { ...instance, name: "both", protocol: "tcp+udp" }],
    ]);
    tunnels = stack.use(
      new Tunnels(mesh, {
        chooserOf: async (wanted) => {
          asked.push(wanted);
          const found = services.get(wanted.service);
          return { protocol: found?.protocol, choose: () => (found === undefined ? [] : [found]) };
        },
        targetOf: () => target,
        mayReach: () => true,
        mayExpose: () => true,
      }),
    );
    const handlers = memoryHandlers(memoryResources(), tunnelHandlers(clock, tunnels));
    const deps = { handlers, metrics: createMetrics(), log: SILENT_LOG, clock };
    stack.use(await startControlServer(deps, { socketPath: join(cli.data, SOCKET_NAME), version: "1" }));
  });
  afterEach(() => stack.disposeAsync());

  const portOf = async (out: () => string): Promise<number> => {
    for (;;) {
      const port = /^listening on 127\.0\.0\.1:(\d+)\n$/u.exec(out())?.[1];
      if (port !== undefined) return Number(port);
      await clock.sleep(5);
    }
  };
  const echoed = async (port: number, text: string): Promise<string> => {
    const socket = connect(port, "127.0.0.1");
    socket.write(text);
    const [answer] = (await once(socket, "data")) as [Buffer];
    socket.destroy();
    return answer.toString();
  };
  const isRefused = async (port: number): Promise<boolean> => {
    const socket = connect(port, "127.0.0.1");
    try {
      await once(socket, "connect");
      return false;
    } catch {
      return true;
    } finally {
      socket.destroy();
    }
  };

  it("says where it listens, carries connections, and closes the port when it is stopped", async () => {
    const stop = new AbortController();
    const argv = ["connect", "echo", "--strategy", "least-open", "-l", "site=berlin", "-l", "gpu"];
    const running = cli.run(argv, undefined, stop.signal);
    const port = await portOf(() => cli.current.out);
    assert.equal(await echoed(port, "hello"), "hello");
    const { service, strategy, selector } = asked[0] ?? assert.fail();
    assert.deepEqual([service, strategy, selector], ["echo", "least-open", "site=berlin,gpu"]);
    stop.abort();
    assert.equal((await running).code, 130);
    while (!(await isRefused(port))) await clock.sleep(5);
    assert.equal(cli.current.err, "");
  });

  it("goes to another service where the one that is wanted takes nothing, or is not there", async () => {
    const stop = new AbortController();
    const argv = ["connect", "broken", "--failover", "later", "--failover", "spare", "-l", "site=berlin"];
    const running = cli.run(argv, undefined, stop.signal);
    const port = await portOf(() => cli.current.out);
    assert.equal(cli.current.err, 'there is no service "later" just now; connections go there once there is\n');
    assert.equal(await echoed(port, "hello"), "hello");
    const selectors = asked.map(({ service, selector }) => [service, selector]);
    assert.deepEqual(selectors, [
      ["broken", "site=berlin"],
      ["later", undefined],
      ["spare", undefined],
    ]);
    stop.abort();
    assert.equal((await running).code, 130);
  });

  it("listens for TCP and UDP at one port where the service speaks both, and for what it has in common with another", async () => {
    const datagrams = stack.adopt(createSocket("udp4"), (socket) => void socket.close());
    datagrams.on("message", (said, { port, address }) => datagrams.send(said, port, address));
    datagrams.bind((echo.address() as AddressInfo).port, "127.0.0.1");
    await once(datagrams, "listening");
    const ask = async (port: number, text: string): Promise<string> => {
      const socket = createSocket("udp4");
      const answer = once(socket, "message");
      socket.send(text, port, "127.0.0.1");
      const [said] = (await answer) as [Buffer];
      socket.close();
      return said.toString();
    };
    const stop = new AbortController();
    const running = cli.run(["connect", "both"], undefined, stop.signal);
    const port = await portOf(() => cli.current.out);
    assert.equal(await echoed(port, "hello"), "hello");
    assert.equal(await ask(port, "hello"), "hello");
    stop.abort();
    await running;
    const again = new AbortController();
    const common = cli.run(
      ["connect", "both", "--failover", "names", "--listen", `127.0.0.1:${port}`],
      undefined,
      again.signal,
    );
    await portOf(() => cli.current.out);
    assert.equal(await ask(port, "again"), "again");
    assert.equal(await isRefused(port), true);
    again.abort();
    await common;
  });

  it("shows on a terminal what goes on", async () => {
    cli.columns = 100;
    const stop = new AbortController();
    const running = cli.run(["connect", "echo"], undefined, stop.signal);
    await echoed(await portOf(() => cli.current.out), "hello");
    while (!cli.current.err.includes("echo: 0 connections open, 1 in all; 5 B sent, 5 B received"))
      await clock.sleep(5);
    stop.abort();
    await running;
  });

  it("closes the port when the command is killed with -9", async () => {
    const command = spawn(PORTOLAN, ["connect", "echo", "--data", cli.data], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let out = "";
    command.stdout.on("data", (piece: Buffer) => (out += piece.toString()));
    const port = await portOf(() => out);
    assert.equal(await echoed(port, "hello"), "hello");
    const open = connect(port, "127.0.0.1");
    await once(open, "connect");
    const cut = once(open, "error");
    command.kill("SIGKILL");
    await cut;
    while (!(await isRefused(port))) await clock.sleep(5);
    while (tunnels.host.open > 0) await clock.sleep(5);
  });

  it("says what is wrong: no such service 4, port in use 5, bad words 2", async () => {
    const busy = createServer();
    const port = await listening(busy);
    const cases: [string[], number, RegExp][] = [
      [["nothing"], 4, /there is no service "nothing"\ntry: .*portolan get services/u],
      [["nothing", "--failover", "nowhere"], 4, /there is no service "nothing", and none "nowhere"/u],
      [["echo", "--failover", "names"], 2, /echo speaks http, names speaks udp: no port leads to all of them/u],
      [["echo", "--failover", "Not A Name"], 2, /failover/u],
      [["echo", "--listen", `127.0.0.1:${port}`], 5, /127\.0\.0\.1 port \d+ is in use\ntry: /u],
      [["echo", "--listen", "somewhere"], 2, /is not an IP address and a port/u],
      [["echo", "--listen", "127.0.0.1:99999"], 2, /listen/u],
      [["echo", "--strategy", "luck"], 2, /luck/u],
      [["Not A Name"], 2, /lower-case letters/u],
    ];
    for (const [argv, code, message] of cases) {
      const result = await cli.run(["connect", ...argv]);
      assert.equal(result.code, code, `${argv.join(" ")}: ${result.err}`);
      assert.match(result.err, message);
      assert.equal(result.out, "");
    }
    busy.close();
  });
});
