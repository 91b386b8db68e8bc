import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { ControlClient, EventParser, SOCKET_NAME } from "#api";
import { SILENT_LOG, SystemClock, SystemRandom, withDeadline } from "#core";
import { type RunningView, startView } from "#view";
import { createMetrics } from "../../src/daemon/metrics.ts";
import { startControlServer } from "../../src/daemon/server.ts";
import type { Frame } from "../../src/view/page/fleet.ts";
import { MAX_PAGES } from "../../src/view/view-server.ts";
import { CliHarness } from "../support/cli-harness.ts";
import { memoryHandlers, type MemoryResources, memoryResources, nodeView } from "../support/memory-handlers.ts";
import { listening } from "../support/tunnel-path.ts";
import { PORTOLAN } from "../support/yard.ts";

const clock = new SystemClock();
const PATIENCE_MS = 20_000;

/** A control API with resources in memory, and the page over it. */
describe("portolan view", function () {
  this.timeout(60_000);
  let cli: CliHarness;
  let resources: MemoryResources;
  let daemon: AsyncDisposable;
  let stack: AsyncDisposableStack;

  const startDaemon = async (): Promise<void> => {
    const map = { nodes: ["a", "b"], links: [[0, 1, 5, null]] as [number, number, number, null][] };
    const handlers = memoryHandlers(resources, { map: () => Promise.resolve(map) });
    const deps = { handlers, metrics: createMetrics(), log: SILENT_LOG, clock };
    daemon = await startControlServer(deps, { socketPath: join(cli.data, SOCKET_NAME), version: "1" });
  };
  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    cli = new CliHarness();
    stack.defer(() => cli.dispose());
    mkdirSync(cli.data, { recursive: true });
    resources = memoryResources();
    resources.nodes.items = [nodeView("a"), nodeView("b", "paris")];
    await startDaemon();
    stack.defer(() => daemon[Symbol.asyncDispose]());
  });
  afterEach(() => stack.disposeAsync());

  const start = async (): Promise<RunningView> =>
    stack.use(await startView({ client: new ControlClient(clock, cli.data), clock, random: new SystemRandom() }, 0));
  type Asked = { method?: string; headers?: Record<string, string> };
  const ask = (url: string, { method = "GET", headers = {} }: Asked = {}): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const sent = request(url, { method, headers, agent: false }, resolve);
      sent.on("error", reject);
      sent.end();
    });
  const textOf = async (response: IncomingMessage): Promise<string> => {
    let text = "";
    for await (const piece of response) text += String(piece);
    return text;
  };
  const statusOf = async (url: string, asked?: Asked): Promise<number> => {
    const response = await ask(url, asked);
    response.resume();
    return response.statusCode ?? 0;
  };
  /** Frames as the page gets them. Ended with the test. */
  async function* frames(url: string): AsyncGenerator<Frame, void, void> {
    const response = await ask(`${url}events`);
    stack.defer(() => void response.destroy());
    const parser = new EventParser();
    for await (const bytes of response) for (const { data } of parser.push(bytes as Uint8Array)) yield data as Frame;
  }
  const soon = <T>(what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> =>
    withDeadline(clock, PATIENCE_MS, what, work);
  /** The first frame that fits. */
  const frameWith = (stream: AsyncGenerator<Frame, void, void>, fits: (frame: Frame) => boolean): Promise<Frame> =>
    soon("a frame", async () => {
      for (;;) {
        const { value } = await stream.next();
        assert.ok(value !== undefined, "the stream ended");
        if (fits(value)) return value;
      }
    });
  const socketTo = (url: string): Socket => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1").on("error", () => undefined);
    stack.defer(() => void socket.destroy());
    return socket;
  };

  it("serves the page and what it is made of, which names no other host, and lets it talk to nobody else", async () => {
    const { url } = await start();
    const page = await ask(url);
    assert.equal(page.statusCode, 200);
    assert.match(String(page.headers["content-security-policy"]), /^default-src 'none'; script-src 'self'/u);
    assert.equal(page.headers["access-control-allow-origin"], undefined);
    assert.equal(page.headers["referrer-policy"], "no-referrer");
    const files = (await textOf(page)).matchAll(/(?:href|src)="([^"]+)"/gu).map(([, file]) => file);
    for (const file of files) {
      const response = await ask(`${url}${file}`);
      assert.equal(response.statusCode, 200, file);
      assert.doesNotMatch(await textOf(response), /https?:\/\/(?!www\.w3\.org\/2000\/svg)/u, file);
    }
    const script = await ask(`${url}main.ts`);
    assert.match(script.headers["content-type"] ?? "", /^text\/javascript/u);
    assert.doesNotMatch(await textOf(script), /: Selection/u);
  });

  it("refuses who does not know the address, or knows it by another name, and everything but reading", async () => {
    const { url } = await start();
    const { origin, port } = new URL(url);
    const cases: [number, string, Asked?][] = [
      [403, `${origin}/`],
      [403, `${origin}/${"x".repeat(32)}/`],
      [403, `${origin}/${"x".repeat(32)}/events`],
      [403, url, { headers: { host: `portolan.example:${port}` } }],
      [403, url, { headers: { host: "127.0.0.1" } }],
      [200, url, { headers: { host: `localhost:${port}` } }],
      [405, url, { method: "POST" }],
      [405, `${url}events`, { method: "DELETE" }],
      [404, `${url}nothing`],
      [404, `${url}../../package.json`],
      [404, `${url}..%2F..%2Findex.ts`],
      [404, `${url}constructor`],
      [404, `${url}detail/tokens/x`],
      [404, `${url}detail/services/`],
      [404, `${url}detail/services/%E0%A4%A`],
      [404, `${url}detail/services/a/b`],
      [204, `${url}detail/services/none`],
      [414, `${url}${"x".repeat(2_000)}`],
      [431, url, { headers: { "x-large": "x".repeat(20_000) } }],
    ];
    for (const [status, address, asked] of cases) {
      // a path with dots is sent as it stands
      const given = address.includes("/../") ? await rawStatus(url, address) : await statusOf(address, asked);
      assert.equal(given, status, address);
    }
  });
  const rawStatus = (url: string, address: string): Promise<number> =>
    soon("an answer", async () => {
      const socket = socketTo(url);
      const { host } = new URL(url);
      socket.write(
        `GET ${address.slice(`http://${host}`.length)} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
      );
      let text = "";
      for await (const piece of socket) text += String(piece);
      return Number(text.split(" ")[1]);
    });

  it("sends everything first, then what changes, and only that", async () => {
    const { url } = await start();
    const stream = frames(url);
    const seen = new Set<string>();
    await frameWith(stream, ({ changes }) => {
      for (const name of [...(changes.nodes?.set ?? []), ...(changes.pairs?.set ?? [])].map((view) => view.name))
        seen.add(name);
      return ["a", "b", "a/b"].every((name) => seen.has(name));
    });
    resources.nodes.set([nodeView("b", "rome"), nodeView("c")]);
    const { changes } = await frameWith(stream, (frame) => frame.changes.nodes !== undefined);
    assert.deepEqual(
      [changes.nodes?.set.map(({ name, site }) => `${name} ${site}`), changes.nodes?.gone, changes.pairs],
      [["b rome", "c berlin"], ["a"], undefined],
    );
  });

  it("sends at most four frames a second, whatever happens", async () => {
    const { url } = await start();
    const stream = frames(url);
    await frameWith(stream, ({ changes }) => changes.pairs !== undefined);
    const startMs = clock.nowMs();
    const stop = new AbortController();
    const busy = (async () => {
      for (let i = 0; !stop.signal.aborted; i += 1) {
        resources.nodes.set([nodeView(`n${i}`)]);
        await clock.sleep(5);
      }
    })();
    for (let i = 0; i < 4; i += 1) await stream.next();
    stop.abort();
    await busy;
    assert.ok(clock.nowMs() - startMs >= 3 * 245, `${clock.nowMs() - startMs} ms`);
  });

  it("says when the daemon is away, keeps what it knew, and goes on when it is back", async () => {
    const { url } = await start();
    const stream = frames(url);
    await frameWith(stream, ({ changes }) => changes.nodes !== undefined);
    await daemon[Symbol.asyncDispose]();
    const gone = await frameWith(stream, ({ down }) => down !== undefined);
    assert.equal(gone.changes.nodes, undefined);
    resources.nodes.items = [nodeView("b", "paris")];
    await startDaemon();
    await frameWith(stream, ({ down }) => down === undefined);
    await firstNodes(url, "b");
  });
  /** Until a page that is opened now sees just this node. */
  const firstNodes = (url: string, only: string): Promise<void> =>
    soon(`only ${only} to be left`, async () => {
      for (let names = ""; names !== only; await clock.sleep(50)) {
        const { changes } = await frameWith(frames(url), (frame) => frame.changes.nodes !== undefined);
        names = (changes.nodes?.set ?? []).map(({ name }) => name).join();
      }
    });

  it("answers while 100 connections say nothing, and closes those", async () => {
    const { url } = await start();
    const idle = Array.from({ length: 100 }, () => socketTo(url).resume());
    await soon("all to be closed", async () => {
      for (const socket of idle) while (!socket.closed) await clock.sleep(20);
    });
    assert.equal(await statusOf(url), 200);
  });

  it("bounds the pages that are open", async () => {
    const { url } = await start();
    const streams = Array.from({ length: MAX_PAGES }, () => frames(url));
    for (const stream of streams) await frameWith(stream, () => true);
    assert.equal(await statusOf(`${url}events`), 503);
    await streams[0]?.return();
    await soon("room for another", async () => {
      while ((await statusOf(`${url}detail/services/x`)) !== 204 || !(await opens(url))) await clock.sleep(20);
    });
  });
  const opens = async (url: string): Promise<boolean> => {
    const response = await ask(`${url}events`);
    response.destroy();
    return response.statusCode === 200;
  };

  it("holds no more for a page that reads nothing than one frame", async () => {
    const { url } = await start();
    const socket = socketTo(url);
    const { pathname, host } = new URL(url);
    socket.write(`GET ${pathname}events HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    socket.pause();
    const wide = { note: "x".repeat(200_000) };
    for (let i = 0; i < 40; i += 1) {
      resources.nodes.set([nodeView("a", `site-${i}`, wide), nodeView("b", `site-${i}`, wide)]);
      await clock.sleep(100);
    }
    let received = 0;
    socket.on("data", (piece: Buffer) => (received += piece.length));
    const stream = frames(url);
    await frameWith(stream, ({ changes }) => changes.nodes?.set.some(({ site }) => site === "site-39") === true);
    socket.resume();
    await clock.sleep(1_000);
    assert.ok(received < 40 * 400_000 * 0.75, `${received} bytes`); // ten of forty were told at most while it read; the system holds some MiB
  });

  it("prints the address, ends with Ctrl-C, and frees the port", async () => {
    const stop = new AbortController();
    const running = cli.run(["view"], undefined, stop.signal);
    const url = await soon("the address", async () => {
      for (;;) {
        if (cli.current.out !== "") return cli.current.out.trim();
        await clock.sleep(5);
      }
    });
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/[\w-]{32}\/$/u);
    assert.equal(await statusOf(url), 200);
    stop.abort();
    assert.equal((await running).code, 130);
    await assert.rejects(statusOf(url), { code: "ECONNREFUSED" });
  });

  it("ends with its process, also when that is killed with -9", async () => {
    const command: ChildProcess = spawn(PORTOLAN, ["view", "--data", cli.data], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const out = await soon("the address", async () => {
      for await (const piece of command.stdout ?? []) return String(piece).trim();
      return "";
    });
    assert.equal(await statusOf(out), 200);
    command.kill("SIGKILL");
    await soon("the port to be free", async () => {
      while ((await statusOf(out).catch(() => 0)) !== 0) await clock.sleep(5);
    });
  });

  it("says what is wrong: port in use 5, no port 2, no daemon 10", async () => {
    const busy = createServer();
    const port = await listening(busy);
    const cases: [string[], number, RegExp][] = [
      [["--port", String(port)], 5, /127\.0\.0\.1 port \d+ is in use\ntry: .*--port/u],
      [["--port", "99999"], 2, /99999 is not a port/u],
      [["--port", "-1"], 2, /-1/u],
      [["--port", "http"], 2, /http is not a port/u],
      [["--data", cli.path("nobody")], 10, /no daemon runs/u],
    ];
    for (const [argv, code, message] of cases) {
      const result = await cli.run(["view", ...argv]);
      assert.equal(result.code, code, `${argv.join(" ")}: ${result.err}`);
      assert.match(result.err, message);
      assert.equal(result.out, "");
    }
    busy.close();
  });
});
