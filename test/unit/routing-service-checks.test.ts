import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SeededRandom, SystemClock, withDeadline } from "#core";
import { parseCheck } from "../../src/routing/service/check.ts";
import { DEFAULT_EXPOSE, exposeRule } from "../../src/routing/service/expose.ts";
import type { CheckResult } from "../../src/routing/service/health.ts";
import { HealthWatch } from "../../src/routing/service/health-watch.ts";
import { runCheck } from "../../src/routing/service/run-check.ts";
import { parseService } from "../../src/routing/service/service.ts";
import { FastClock } from "../support/fast-clock.ts";

const clock = new SystemClock();
const mayExpose = exposeRule(DEFAULT_EXPOSE);

describe("checks of services", function () {
  this.timeout(30_000);
  let folder: string;
  const servers: Server[] = [];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "checks-"));
  });
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
    rmSync(folder, { recursive: true });
  });

  const listen = async (server: Server, host = "127.0.0.1"): Promise<number> => {
    servers.push(server.listen(0, host));
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  };
  const check = (text: string, port = 1, host = "127.0.0.1", signal?: AbortSignal): Promise<CheckResult> =>
    runCheck(parseCheck(text), { host, port }, { clock, mayExpose }, signal ?? new AbortController().signal);
  const until = (what: string, holds: () => boolean): Promise<void> =>
    withDeadline(clock, 20_000, what, async (signal) => {
      while (!holds()) await clock.sleep(10, signal);
    });
  const answering = (status: number, headers = {}): Promise<number> =>
    listen(createHttpServer((_, response) => response.writeHead(status, headers).end("x".repeat(100_000))));

  it("tcp: passes where somebody listens, on whichever address of a name", async () => {
    const port = await listen(createServer((socket) => socket.on("error", () => undefined)));
    assert.deepEqual(await check("tcp", port), { ok: true });
    assert.deepEqual(await check("tcp", port, "localhost"), { ok: true });
  });

  it("tcp: fails where nobody does, without the address in the reason", async () => {
    const server = createServer();
    const port = await listen(server);
    server.close();
    await once(server, "close");
    assert.deepEqual(await check("tcp", port), { ok: false, reason: "connection refused" });
    assert.deepEqual(await check("tcp", 80, "nobody.invalid"), { ok: false, reason: "no such host" });
    assert.deepEqual(await check("tcp", 80, "192.0.2.1"), { ok: false, reason: "its address may not be exposed" });
  });

  for (const [status, ok] of [
    [200, true],
    [204, true],
    [302, true],
    [404, false],
    [503, false],
  ] as const) {
    it(`http: ${ok ? "passes" : "fails"} at status ${status}`, async () => {
      const port = await answering(status, status === 302 ? { location: "http://192.0.2.1/" } : {});
      assert.deepEqual(await check("http=/", port), ok ? { ok } : { ok, reason: `HTTP status ${status}` });
    });
  }

  it("http: asks for the path, under the target's own name", async () => {
    const asked: unknown[] = [];
    const server = createHttpServer((request, response) => {
      asked.push(request.method, request.url, request.headers.host);
      response.end();
    });
    const port = await listen(server);
    await check("http=/healthz?a=b", port, "localhost");
    assert.deepEqual(asked, ["GET", "/healthz?a=b", `localhost:${port}`]);
  });

  it("http: fails where something else answers, or nothing, within 2 s", async () => {
    const babble = await listen(createServer((socket) => socket.on("error", () => undefined).end("SSH-2.0-x\r\n")));
    const { ok } = await check("http=/", babble);
    assert.equal(ok, false);
    const silent = await listen(createServer((socket) => socket.on("error", () => undefined)));
    assert.deepEqual(await check("http=/", silent), { ok: false, reason: "no answer within 2 s" });
  });

  it("exec: passes at exit 0, and tells what was printed, the last of it", async () => {
    assert.deepEqual(await check("exec=echo all well"), { ok: true, output: "all well" });
    const { ok, output = "" } = await check("exec=yes | head -c 1000000; echo the end >&2; exit 0");
    assert.deepEqual([ok, output.length <= 1_024, output.endsWith("the end")], [true, true, true]);
  });

  it("exec: fails at another exit, a signal, and where there is no such command", async () => {
    assert.deepEqual(await check("exec=echo no; exit 7"), { ok: false, reason: "exit 7", output: "no" });
    assert.deepEqual(await check("exec=kill -TERM $$"), { ok: false, reason: "exit SIGTERM", output: "" });
    assert.deepEqual(await check("exec=/nowhere/check-cam"), { ok: false, reason: "cannot run ENOENT", output: "" });
  });

  it("exec: is killed after 2 s with all that it started", async () => {
    const pids = join(folder, "pids");
    const command = `echo trying; sh -c 'echo $$ >> ${pids}; exec sleep 60' & echo $$ >> ${pids}; wait`;
    assert.deepEqual(await check(`exec=${command}`), { ok: false, reason: "no answer within 2 s", output: "trying" });
    await until("both to be gone", () => readFileSync(pids, "utf8").trim().split("\n").every(isGone));
  });

  it("exec: what a command leaves behind goes with it, and its pipe holds nobody up", async () => {
    const pid = join(folder, "pid");
    assert.deepEqual(await check(`exec=sleep 60 & echo $! > ${pid}; exit 0`), { ok: true, output: "" });
    await until("it to be gone", () => isGone(readFileSync(pid, "utf8").trim()));
  });

  it("stop when they are told to, and leave nothing", async () => {
    const pid = join(folder, "pid");
    const stop = new AbortController();
    const running = check(`exec=echo $$ > ${pid}; exec sleep 60`, 1, "127.0.0.1", stop.signal);
    await until("it to run", () => existsSync(pid) && readFileSync(pid, "utf8").endsWith("\n"));
    stop.abort(new Error("enough"));
    await assert.rejects(running, /enough/u);
    await until("it to be gone", () => isGone(readFileSync(pid, "utf8").trim()));
  });

  describe("in turn", () => {
    const changes: string[] = [];
    const watching = (factor: number): HealthWatch =>
      new HealthWatch({
        clock: new FastClock(factor),
        random: new SeededRandom(1),
        trustedMs: () => clock.wallMs(),
        mayExpose,
        changed: ({ name }, { state }) => void changes.push(`${name} ${state}`),
      });
    beforeEach(() => changes.splice(0));

    it("say once that a service fails, and once that it is back", async () => {
      await using watch = watching(4);
      const flag = join(folder, "flag");
      writeFileSync(flag, "");
      watch.add(parseService({ name: "cam", to: "127.0.0.1:1", check: `exec=test -e ${flag}` }));
      assert.equal(watch.of("cam")?.state, "unknown");
      await until("it to be healthy", () => changes.length === 1);
      rmSync(flag);
      await until("it to fail", () => changes.length === 2);
      writeFileSync(flag, "");
      await until("it to be back", () => changes.length === 3);
      assert.deepEqual(changes, ["cam healthy", "cam unhealthy", "cam healthy"]);
      watch.remove("cam");
      assert.equal(watch.of("cam"), undefined);
    });

    it("come soon and often while clients connect, so that who died is found out within 2 s", async () => {
      await using watch = watching(1);
      const server = createServer((socket) => socket.destroy());
      watch.add(parseService({ name: "cam", to: `127.0.0.1:${await listen(server)}`, check: "tcp" }));
      await until("it to be healthy", () => changes.length === 1);
      watch.used("cam");
      const startMs = clock.nowMs();
      server.close();
      await until("it to fail", () => changes.length === 2);
      assert.ok(clock.nowMs() - startMs < 2_000);
    });

    it("never run twice at a time for one service, nor more than 16 in all", async () => {
      const log = join(folder, "log");
      const names = Array.from({ length: 24 }, (_, i) => `s${i}`);
      const began = (): string[] => readFileSync(log, { encoding: "utf8", flag: "a+" }).split("\n").filter(Boolean);
      {
        await using watch = watching(1);
        for (const name of names)
          watch.add(parseService({ name, to: "127.0.0.1:1", check: `exec=echo ${name} >> ${log}; exec sleep 60` }));
        await until("16 to run", () => began().length >= 16);
        assert.equal(began().length, 16);
        await until("the others to have their turn", () => new Set(began()).size === names.length);
      }
      assert.ok(began().length <= 2 * names.length);
    });

    it("are none for a service without one: it is healthy unless it may not be exposed", async () => {
      await using watch = watching(1);
      watch.add(parseService({ name: "near", to: "127.0.0.1:1" }));
      watch.add(parseService({ name: "far", to: "192.0.2.1:1" }));
      assert.deepEqual(
        ["near", "far"].map((name) => watch.of(name)?.state),
        ["healthy", "unhealthy"],
      );
    });
  });
});

/** Whether no such process runs; one that was killed and not yet waited for runs no more. */
function isGone(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.startsWith("Z") === true;
  } catch {
    return true;
  }
}
