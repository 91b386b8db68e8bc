import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { faultCode, SystemClock, withDeadline } from "#core";
import { Children } from "../../demo/children.ts";
import { listening } from "../../demo/link.ts";
import { findNamespaces } from "../../demo/namespaces.ts";
import { SocketWatch } from "../../demo/socket-watch.ts";

const clock = new SystemClock();
const { signal } = new AbortController();
const env = { PATH: process.env["PATH"] };
/** A server in a process of its own, on a free port of 127.0.0.1, which it prints. It greets, so that one knows when it has accepted. */
const SERVER = `
  const server = require("node:net").createServer((s) => s.on("error", () => {}).resume().write("hello"));
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
`;

/** A program that exits 0 if it can connect. */
function dial(port: string): string {
  return `require("node:net").connect(${port}, "127.0.0.1").on("connect", () => process.exit(0)).on("error", () => process.exit(1))`;
}

async function untilGone(pid: number): Promise<void> {
  await withDeadline(clock, 8_000, `process ${pid} to end`, async (inner) => {
    while (existsSync(`/proc/${pid}`)) await clock.sleep(20, inner);
  });
}

async function firstLine(stream: NodeJS.ReadableStream | null): Promise<string> {
  assert.ok(stream !== null);
  const [line]: unknown[] = await once(createInterface({ input: stream }), "line");
  return String(line);
}

describe("demo processes", function () {
  before(function () {
    if (process.platform === "linux") return;
    console.log("      skipped: the demo looks at processes through /proc, which only Linux has");
    this.skip();
  });

  it("leaves no process and no folder behind after kill -9", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "demo-test-"));
    const module = path.join(import.meta.dirname, "..", "..", "demo", "children.ts");
    const script = `
      const { Children } = await import(${JSON.stringify(module)});
      const { SystemClock } = await import("#core");
      const children = new Children(new SystemClock(), ${JSON.stringify(folder)});
      const child = await children.start("sleeper", ["sleep", "1000"], { stdio: "ignore" });
      console.log(child.pid);
    `;
    const cwd = path.join(import.meta.dirname, "..", "..");
    const parent = spawn(process.execPath, ["--input-type=module", "-e", script], {
      cwd,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const pid = Number(await firstLine(parent.stdout));
    assert.ok(existsSync(`/proc/${pid}`));
    parent.kill("SIGKILL");
    await untilGone(pid);
    await withDeadline(clock, 8_000, `${folder} to be removed`, async (inner) => {
      while (existsSync(folder)) await clock.sleep(20, inner);
    });
  });

  it("stops a process that ignores SIGTERM", async () => {
    const children = new Children(clock, undefined, 100);
    const child = await children.start("stubborn", ["sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    await firstLine(child.process.stdout);
    await children[Symbol.asyncDispose]();
    assert.equal(await child.ended, "signal SIGKILL");
  });

  it("returns what a command printed, and says what a failed one complained of", async () => {
    await using children = new Children(clock, undefined);
    assert.equal(await children.run(["echo", "ahoy"], 5_000, signal, env), "ahoy\n");
    await assert.rejects(children.run(["sh", "-c", "echo no wind >&2; exit 3"], 5_000, signal, env), {
      code: "demo.command",
      message: /exit code 3\nno wind/u,
    });
    await assert.rejects(
      children.run(["/no/such/program"], 5_000, signal, env),
      (error) => faultCode(error) === "demo.spawn",
    );
  });

  it("sees a connection between processes of two sites, and none within one", async () => {
    await using children = new Children(clock, undefined);
    const server = await children.start("server", [process.execPath, "-e", SERVER], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const socket = connect({ host: "127.0.0.1", port: Number(await firstLine(server.process.stdout)) });
    socket.on("error", () => undefined); // the server is killed at the end
    await once(socket, "data");
    for (const [serverSite, crossing] of [
      [1, false],
      [2, true],
    ] as const) {
      const residents = [
        { pid: process.pid, site: 1 },
        { pid: server.pid, site: serverSite },
      ];
      const watch = new SocketWatch(clock, () => residents);
      await watch.sample();
      assert.equal(
        watch.found.some(({ peerSite }) => peerSite !== undefined),
        crossing,
      );
    }
    socket.destroy();
  });

  it("counts a connection with a process of no site once it was seen twice", async () => {
    await using children = new Children(clock, undefined);
    const server = await children.start("server", [process.execPath, "-e", SERVER], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const socket = connect({ host: "127.0.0.1", port: Number(await firstLine(server.process.stdout)) });
    socket.on("error", () => undefined); // the server is killed at the end
    await once(socket, "data");
    const watch = new SocketWatch(clock, () => [{ pid: process.pid, site: 1 }]);
    await watch.sample();
    assert.deepEqual(watch.found, []);
    await watch.sample();
    assert.equal(watch.found.length, 1);
    socket.destroy();
  });

  it("gives each namespace a loopback of its own, and a process id that is the command's", async function () {
    await using children = new Children(clock, undefined);
    const namespaces = await findNamespaces(children, signal);
    if (namespaces === undefined) {
      console.log("      skipped: no network namespaces here: they need root or user namespaces");
      this.skip();
      return;
    }
    const server = createServer();
    await listening(server, { host: "127.0.0.1", port: 0 });
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    try {
      const inside = await children.start("inside", namespaces.create([process.execPath, "-e", SERVER]), {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const port = await firstLine(inside.process.stdout);
      assert.equal((await readFile(`/proc/${inside.pid}/cmdline`, "utf8")).split("\0")[1], "-e");
      await children.run(namespaces.join(inside.pid, [process.execPath, "-e", dial(port)]), 5_000, signal, env);
      const outside = children.run(
        namespaces.join(inside.pid, [process.execPath, "-e", dial(String(address.port))]),
        5_000,
        signal,
        env,
      );
      await assert.rejects(outside, { code: "demo.command" });
    } finally {
      server.close();
    }
  });
});
