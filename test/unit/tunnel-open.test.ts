import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import {
  type ByteStream,
  Fault,
  faultCode,
  memoryStreamPair,
  SILENT_LOG,
  SystemClock,
  VirtualClock,
  withDeadline,
} from "#core";
import type { NodeId } from "#identity";
import { DIAL_MS } from "../../src/routing/tunnel/dial-target.ts";
import type { Instance } from "../../src/routing/service/service.ts";
import { GrowthBudget, INITIAL_WINDOW_BYTES } from "../../src/routing/tunnel/flow-window.ts";
import { Trunk } from "../../src/routing/tunnel/trunk.ts";
import { encodeHeader, FRAME } from "../../src/routing/tunnel/trunk-frame.ts";
import { TunnelHost, type TunnelHostDeps } from "../../src/routing/tunnel/tunnel-host.ts";
import { type Listener, listenTcp } from "../../src/routing/tunnel/tunnel-listener.ts";
import { planTries, TunnelOpener } from "../../src/routing/tunnel/tunnel-opener.ts";
import { listening, readAll } from "../support/tunnel-path.ts";

const clock = new SystemClock();
const REQUEST = "tcp default cam";

function instance(node: NodeId, protocol: Instance["protocol"] = "tcp"): Instance {
  return { node, name: "cam", tenant: "default", protocol, labels: {}, priority: 0, weight: 1, healthy: true };
}

/** A host in memory: `dial` gives the other end of a stream to it. */
function hostOf(given: Partial<TunnelHostDeps>): { host: TunnelHost; dial: () => ByteStream } {
  let accept: (stream: ByteStream, peer: NodeId) => void = () => undefined;
  const host = new TunnelHost({
    clock,
    log: SILENT_LOG,
    handle: (_, handler) => {
      accept = handler;
    },
    targetOf: () => undefined,
    mayReach: () => true,
    mayExpose: () => true,
    ...given,
  });
  const dial = (): ByteStream => {
    const [near, far] = memoryStreamPair();
    accept(far, "peer");
    return near;
  };
  return { host, dial };
}

function trunkTo(stream: ByteStream): Trunk {
  return new Trunk({ clock, stream, growth: new GrowthBudget() });
}

async function answerTo(trunk: Trunk, request = REQUEST): Promise<string> {
  const flow = trunk.open(Buffer.from(request));
  try {
    await withDeadline(clock, 5_000, "the answer", () => flow.accepted);
    return "ok";
  } catch (error) {
    const code = error instanceof Fault ? error.details["code"] : undefined;
    return typeof code === "string" ? code : (faultCode(error) ?? String(error));
  }
}

async function closedPort(): Promise<number> {
  const server = createServer();
  const port = await listening(server);
  server.close();
  await once(server, "close");
  return port;
}

/** A port that answers no connection any more: its process stands still, and its backlog is full. */
async function deafTarget(): Promise<{ port: number; end: () => void }> {
  const code =
    "const s = require('net').createServer().listen({port: 0, host: '127.0.0.1', backlog: 1}, () => process.send(s.address().port))";
  const child = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "ignore", "ignore", "ipc"] });
  const [port] = (await once(child, "message")) as [number];
  child.kill("SIGSTOP");
  const waiting: Socket[] = [];
  for (let answered = true; answered; ) {
    const socket = connect(port, "127.0.0.1").on("error", () => undefined);
    waiting.push(socket);
    const opened = once(socket, "connect").then(() => true);
    answered = await Promise.race([opened, clock.sleep(100).then(() => false)]);
  }
  return {
    port,
    end: () => {
      for (const socket of waiting) socket.destroy();
      child.kill("SIGKILL");
    },
  };
}

describe("tunnel host", () => {
  const target = createServer((socket) => void socket.on("error", () => undefined));
  after(() => target.close());

  it("says why there is no tunnel", async () => {
    const port = await closedPort();
    const target = { host: "127.0.0.1", port };
    const cases: [Partial<TunnelHostDeps>, string][] = [
      [{}, "unknown-service"],
      [{ mayReach: () => false, targetOf: () => target }, "not-allowed"],
      [{ mayReach: () => false }, "not-allowed"],
      [{ targetOf: () => target, mayExpose: () => false }, "not-allowed"],
      [{ targetOf: () => target }, "refused"],
      [{ targetOf: () => ({ host: "nowhere.invalid", port }) }, "unreachable"],
    ];
    for (const [given, code] of cases) assert.equal(await answerTo(trunkTo(hostOf(given).dial())), code);
  });

  it("asks whether the tenant, the name and the peer go together", async () => {
    const asked: unknown[] = [];
    const { dial } = hostOf({ mayReach: (...words) => asked.push(words) === 0 });
    await answerTo(trunkTo(dial()));
    assert.deepEqual(asked, [["peer", "default", "cam"]]);
  });

  it("judges the address that a name leads to, not the name", async () => {
    const judged: string[] = [];
    const { dial } = hostOf({
      targetOf: () => ({ host: "localhost", port: 1 }),
      mayExpose: (ip) => judged.push(ip) === 0,
    });
    assert.equal(await answerTo(trunkTo(dial())), "not-allowed");
    assert.ok(judged.length > 0 && judged.every((ip) => ip === "127.0.0.1" || ip === "::1"));
  });

  it("tells a target that does not answer in time", async () => {
    const deaf = await deafTarget();
    const virtual = new VirtualClock();
    const { dial } = hostOf({ clock: virtual, targetOf: () => ({ host: "127.0.0.1", port: deaf.port }) });
    const answer = answerTo(trunkTo(dial()));
    await clock.sleep(50);
    await virtual.advanceMs(DIAL_MS);
    assert.equal(await answer, "timeout");
    deaf.end();
  });

  it("resets who asks for nonsense, and nothing else of that node", async () => {
    const port = await listening(target);
    const trunk = trunkTo(hostOf({ targetOf: () => ({ host: "127.0.0.1", port }) }).dial());
    const flow = trunk.open(Buffer.from(REQUEST));
    await flow.accepted;
    for (const request of ["tcp", "tcp default ../x", "tcp default cam more", "icmp default cam", "tcp  cam"]) {
      assert.equal(await answerTo(trunk, request), "core.stream-reset", request);
    }
    assert.equal(trunk.isOver, false);
    flow.abort(new Error("enough"));
  });

  it("ends the trunk of who sends over 64 KiB before the tunnel is open", async () => {
    const virtual = new VirtualClock();
    const stream = hostOf({ clock: virtual, targetOf: () => ({ host: "192.0.2.1", port: 9 }) }).dial();
    const { promise: ended, resolve } = Promise.withResolvers<Error | undefined>();
    stream.listen({ data: () => undefined, end: resolve });
    const request = Buffer.from(REQUEST);
    stream.send(encodeHeader(FRAME.open, 1, request.length), request);
    stream.send(encodeHeader(FRAME.data, 1, INITIAL_WINDOW_BYTES + 1), Buffer.alloc(INITIAL_WINDOW_BYTES + 1));
    assert.equal(faultCode(await ended), "core.stream-reset");
  });

  it("takes 1,024 tunnels of one node over all its trunks, is busy for more, and free again when they are over", async function () {
    this.timeout(30_000);
    const held = new Set<Socket>();
    const server = createServer((socket) => void held.add(socket.on("error", () => undefined)));
    const port = await listening(server);
    const { host, dial } = hostOf({ targetOf: () => ({ host: "127.0.0.1", port }) });
    const trunks = [trunkTo(dial()), trunkTo(dial())];
    for (let at = 0; at < 16; at++) {
      const answers = trunks.flatMap((trunk) => Array.from({ length: 32 }, () => answerTo(trunk)));
      assert.deepEqual(new Set(await Promise.all(answers)), new Set(["ok"]));
    }
    assert.equal(host.open, 1_024);
    assert.equal(await answerTo(trunkTo(dial())), "busy");
    for (const trunk of trunks) trunk.abort(new Error("enough"));
    while (host.open > 0) await clock.sleep(5);
    assert.equal(await answerTo(trunkTo(dial())), "ok");
    host[Symbol.dispose]();
    server.close();
  });
});

describe("tunnel opener", () => {
  it("tries at most three, those that failed within 2 s last", () => {
    const [a, b, c, d] = ["a", "b", "c", "d"].map((node) => instance(node)) as [Instance, Instance, Instance, Instance];
    const failed = new Map([
      ["a/default/cam", 8_500],
      ["b/default/cam", 8_000],
    ]);
    assert.deepEqual(planTries([a, b, c], failed, 10_000), [b, c, a]);
    assert.deepEqual(planTries([a, b, c, d], failed, 10_000), [b, c, d]);
    assert.deepEqual(planTries([a], failed, 10_000), [a]);
    assert.deepEqual(planTries([], failed, 10_000), []);
    const spare = { ...instance("e"), name: "spare" };
    assert.deepEqual(planTries([b, c, d, spare], failed, 10_000), [b, c, spare], "one try is for the other service");
    assert.deepEqual(planTries([a, spare], failed, 10_000), [spare, a]);
  });
});

describe("tunnel listener", () => {
  let target: Server;
  let said: string[];
  let listener: Listener | undefined;

  beforeEach(() => {
    said = [];
    target = createServer({ allowHalfOpen: true }, (socket) => {
      void readAll(socket).then((bytes) => {
        said.push(bytes.toString());
        socket.end(`got ${bytes.toString()}`);
      });
    });
  });
  afterEach(async () => {
    await listener?.[Symbol.asyncDispose]();
    listener = undefined;
    target.close();
  });

  /** A listener over hosts in memory, by node. */
  const start = async (instances: Instance[], hosts: Record<string, () => ByteStream>): Promise<TunnelOpener> => {
    const opener = new TunnelOpener({
      clock,
      open: async (node) => {
        const dial = hosts[node];
        if (dial === undefined) throw new Fault("mesh.not-connected", "no connection", { exit: "offline" });
        return dial();
      },
    });
    const deps = { clock, log: SILENT_LOG, opener, choose: () => instances };
    listener = await listenTcp(deps, { host: "127.0.0.1", port: 0 });
    return opener;
  };
  const ask = async (text: string): Promise<string> => {
    const socket = connect({ ...listener?.address, port: listener?.address.port ?? 0, allowHalfOpen: true });
    socket.end(text);
    return (await readAll(socket)).toString();
  };
  const targetHost = async (): Promise<() => ByteStream> => {
    const port = await listening(target);
    return hostOf({ targetOf: () => ({ host: "127.0.0.1", port }) }).dial;
  };

  it("carries a connection to the instance, and counts it", async () => {
    const opener = await start([instance("a")], { a: await targetHost() });
    assert.equal(await ask("hello"), "got hello");
    while (listener?.counts.open !== 0) await clock.sleep(1);
    const counts = { open: 0, opened: 1, failed: 0, dropped: 0, fromSocketBytes: 5, toSocketBytes: 9 };
    assert.deepEqual(listener.counts, counts);
    assert.equal(opener.openOf(instance("a")), 0);
  });

  it("goes to the next instance when one cannot be reached, refuses, or is silent, and what was said is said once", async function () {
    this.timeout(30_000);
    const refusing = hostOf({}).dial;
    const dying = (): ByteStream => {
      const [near, far] = memoryStreamPair();
      far.listen({ data: () => far.abort(new Error("it dies")), end: () => undefined });
      return near;
    };
    const hosts = { refusing, dying, good: await targetHost() };
    await start([instance("gone"), instance("refusing"), instance("good")], hosts);
    assert.equal(await ask("one"), "got one");
    await listener?.[Symbol.asyncDispose]();
    await start([instance("dying"), instance("good")], hosts);
    assert.equal(await ask("two"), "got two");
    assert.deepEqual(said, ["one", "two"]);
    assert.deepEqual([listener?.counts.opened, listener?.counts.failed], [1, 0]);
  });

  it("resets a connection that no instance takes", async () => {
    await start([instance("gone")], {});
    await assert.rejects(ask("hello"), { code: "ECONNRESET" });
    while (listener?.counts.open !== 0) await clock.sleep(1);
    assert.deepEqual([listener.counts.opened, listener.counts.failed], [0, 1]);
    await listener[Symbol.asyncDispose]();
    await start([], {});
    await assert.rejects(ask("hello"), { code: "ECONNRESET" });
  });

  it("knows how many tunnels it has to each instance", async () => {
    const quiet = createServer({ allowHalfOpen: true }, (socket) => void socket.on("error", () => undefined));
    const port = await listening(quiet);
    const { dial } = hostOf({ targetOf: () => ({ host: "127.0.0.1", port }) });
    const opener = await start([instance("a")], { a: dial });
    const sockets = Array.from({ length: 3 }, () => connect(listener?.address.port ?? 0, "127.0.0.1"));
    while (opener.openOf(instance("a")) !== 3) await clock.sleep(1);
    for (const socket of sockets) socket.on("error", () => undefined).resetAndDestroy();
    while (opener.openOf(instance("a")) !== 0) await clock.sleep(1);
    quiet.close();
  });

  it("resets what is open when it is closed, and its port is free again", async () => {
    const quiet = createServer((socket) => void socket.on("error", () => undefined));
    const port = await listening(quiet);
    await start([instance("a")], { a: hostOf({ targetOf: () => ({ host: "127.0.0.1", port }) }).dial });
    const { address } = listener as Listener;
    const socket = connect(address.port, address.host);
    while (listener?.counts.opened !== 1) await clock.sleep(1);
    const failed = once(socket, "error");
    await listener[Symbol.asyncDispose]();
    assert.equal(((await failed) as [NodeJS.ErrnoException])[0].code, "ECONNRESET");
    const again = createServer().listen(address.port, address.host);
    await once(again, "listening");
    again.close();
    quiet.close();
  });

  it("says that a port is in use, with exit code 5", async () => {
    const busy = createServer();
    const port = await listening(busy);
    const deps = { clock, log: SILENT_LOG, opener: new TunnelOpener({ clock, open: nobody }), choose: () => [] };
    await assert.rejects(listenTcp(deps, { host: "127.0.0.1", port }), {
      code: "routing.port-in-use",
      exit: "conflict",
      fix: /another port/u,
    });
    await assert.rejects(listenTcp(deps, { host: "192.0.2.1", port: 0 }), { code: "routing.listen", exit: "invalid" });
    busy.close();
    assert.ok((busy.address() as AddressInfo | null) === null);
  });
});

function nobody(): Promise<ByteStream> {
  return Promise.reject(new Fault("test.none", "not part of this test"));
}
