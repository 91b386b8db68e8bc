import assert from "node:assert/strict";
import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { once } from "node:events";
import { Agent, createServer as createHttpServer, request } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import { SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { type Gate, type Host, startHost } from "#mesh";
import { type Instance, type Listener, listenTcp, listenUdp, TunnelHost, TunnelOpener } from "#routing";
import { listening, readAll } from "../support/tunnel-path.ts";

const [clock, random] = [new SystemClock(), new SystemRandom()];
const never = new AbortController().signal;
const OPEN_GATE: Gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "berlin", name: "cam-7" }) };
const MIB = 1024 * 1024;

/** Two hosts on loopback, over native TLS and yamux: one publishes, the other listens. */
describe("tunnels between two hosts", function () {
  this.timeout(60_000);
  const targets = new Map<string, number>();
  const servers: Server[] = [];
  const listeners: Listener[] = [];
  let near: Host;
  let far: Host;
  let tunnels: TunnelHost;
  let opener: TunnelOpener;

  const start = (): Promise<Host> => {
    const deps = { clock, random, log: SILENT_LOG, seed: random.bytes(32), gate: OPEN_GATE };
    return startHost(deps, { listen: ["/ip4/127.0.0.1/tcp/0/tls"] });
  };
  const publish = async (name: string, server: Server): Promise<void> => {
    servers.push(server);
    targets.set(name, await listening(server));
  };
  const listen = async (name: string, protocol: Instance["protocol"] = "tcp"): Promise<number> => {
    const instance = { node: far.nodeId, name, tenant: "default", protocol, priority: 0, weight: 1, healthy: true };
    const deps = { clock, log: SILENT_LOG, opener, choose: () => [{ ...instance, labels: {} }] };
    const address = { host: "127.0.0.1", port: 0 };
    const listener = protocol === "udp" ? await listenUdp(deps, address) : await listenTcp(deps, address);
    listeners.push(listener);
    return listener.address.port;
  };

  before(async () => {
    [near, far] = [await start(), await start()];
    await near.connect(far.addresses(), never);
    tunnels = new TunnelHost({
      clock,
      log: SILENT_LOG,
      handle: (protocol, handler) =>
        far.handle(protocol, (stream, peer) => handler(stream, peer.nodeId), { maxStreams: 1_024 }),
      targetOf: (_, name) => {
        const port = targets.get(name);
        return port === undefined ? undefined : { host: "127.0.0.1", port };
      },
      mayReach: (peer) => peer === near.nodeId,
      mayExpose: (ip) => ip === "127.0.0.1",
    });
    near.handle("/portolan/tunnel/1", (stream) => stream.abort(new Error("nothing here")), { maxStreams: 1_024 });
    opener = new TunnelOpener({ clock, open: (node, protocol, signal) => near.open(node, protocol, signal) });
  });
  after(async () => {
    for (const listener of listeners) await listener[Symbol.asyncDispose]();
    tunnels[Symbol.dispose]();
    for (const server of servers) server.close();
    await Promise.all([near[Symbol.asyncDispose](), far[Symbol.asyncDispose]()]);
  });

  it("carry HTTP, many requests over few connections and a new connection each", async () => {
    await publish(
      "web",
      createHttpServer((asked, answer) => {
        answer.setHeader("x-path", asked.url ?? "");
        asked.pipe(answer);
      }),
    );
    const port = await listen("web");
    const post = (agent: Agent | false, path: string, body: Buffer): Promise<Buffer> =>
      new Promise((resolve, reject) => {
        const asked = request({ port, host: "127.0.0.1", path, method: "POST", agent }, (answer) => {
          assert.equal(answer.headers["x-path"], path);
          answer.toArray().then((pieces: Buffer[]) => resolve(Buffer.concat(pieces)), reject);
        });
        asked.on("error", reject);
        asked.end(body);
      });
    const agent = new Agent({ keepAlive: true, maxSockets: 4 });
    const bodies = Array.from({ length: 100 }, (_, i) => Buffer.from(random.bytes(i * 300)));
    for (const pool of [agent, false] as const) {
      const got = await Promise.all(bodies.map((body, i) => post(pool, `/${i}`, body)));
      got.forEach((body, i) => assert.ok(body.equals(bodies[i] ?? Buffer.of())));
    }
    agent.destroy();
  });

  it("carry 64 MiB both ways at once, byte by byte the same", async () => {
    const [up, down] = [Buffer.from(random.bytes(64 * MIB)), Buffer.from(random.bytes(64 * MIB))];
    const received = Promise.withResolvers<Buffer>();
    await publish(
      "bulk",
      createServer({ allowHalfOpen: true }, (socket) => {
        socket.end(down);
        readAll(socket).then(received.resolve, received.reject);
      }),
    );
    const socket = connect({ port: await listen("bulk"), host: "127.0.0.1", allowHalfOpen: true });
    socket.end(up);
    const got = await readAll(socket);
    assert.ok(got.equals(down));
    assert.ok((await received.promise).equals(up));
  });

  it("let a client end its side and then read the answer", async () => {
    await publish(
      "ask",
      createServer({ allowHalfOpen: true }, (socket) => {
        void readAll(socket).then((question) => socket.end(`you said ${question.toString()}`));
      }),
    );
    const socket = connect({ port: await listen("ask"), host: "127.0.0.1", allowHalfOpen: true });
    socket.end("hello");
    assert.equal((await readAll(socket)).toString(), "you said hello");
  });

  it("hand on what a target says at once, and its reset", async () => {
    await publish(
      "rude",
      createServer((socket) => {
        socket.write("go away");
        socket.once("data", () => socket.resetAndDestroy());
      }),
    );
    const socket = connect(await listen("rude"), "127.0.0.1");
    const [greeting] = (await once(socket, "data")) as [Buffer];
    assert.equal(greeting.toString(), "go away");
    const failed = once(socket, "error");
    socket.write("no");
    assert.equal(((await failed) as [NodeJS.ErrnoException])[0].code, "ECONNRESET");
  });

  it("carry 600 connections at a time, and nothing is left of them", async () => {
    await publish(
      "echo",
      createServer((socket) => void socket.on("error", () => undefined).pipe(socket)),
    );
    const port = await listen("echo");
    const sockets: Socket[] = [];
    for (let at = 0; at < 600; at += 100) {
      const more = Array.from({ length: 100 }, () => connect(port, "127.0.0.1"));
      sockets.push(...more);
      await Promise.all(more.map((socket) => once(socket, "connect")));
    }
    await Promise.all(
      sockets.map(async (socket, i) => {
        const answered = once(socket, "data");
        socket.write(`number ${i}`);
        assert.equal(String((await answered)[0]), `number ${i}`);
      }),
    );
    assert.equal(tunnels.open, 600);
    sockets.forEach((socket, i) => (i % 2 === 0 ? socket.end() : socket.resetAndDestroy()));
    while (tunnels.open > 0) await clock.sleep(5);
    while (streamsOf(near) > 0) await clock.sleep(5);
  });

  it("carry datagrams of each sender apart, whole, and of any size", async () => {
    const echo = await datagramServer((socket, datagram, from) => socket.send(datagram, from.port, from.address));
    targets.set("udp", echo.address().port);
    const port = await listen("udp", "udp");
    const senders = await Promise.all([0, 1].map(() => datagramServer(() => undefined)));
    const sizes = [0, 1, 1_200, 9_000, 60_000];
    for (const sender of senders) {
      for (const size of sizes) {
        const datagram = Buffer.from(random.bytes(size));
        const answered = once(sender, "message");
        sender.send(datagram, port, "127.0.0.1");
        assert.ok(((await answered)[0] as Buffer).equals(datagram), `a datagram of ${size} bytes`);
      }
    }
    assert.equal(tunnels.open, 2);
    assert.equal(listeners.at(-1)?.counts.open, 2);
    await listeners.pop()?.[Symbol.asyncDispose]();
    while (tunnels.open > 0) await clock.sleep(5);
    for (const socket of [echo, ...senders]) socket.close();
  });
});

/** Streams to neighbours besides the sessions' own. */
function streamsOf(host: Host): number {
  return host.sessions().filter(({ nodeId }) => host.isBusy(nodeId)).length;
}

async function datagramServer(
  hear: (socket: DatagramSocket, datagram: Buffer, from: { address: string; port: number }) => void,
): Promise<DatagramSocket> {
  const socket = createSocket("udp4");
  socket.on("message", (datagram, from) => hear(socket, datagram, from));
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return socket;
}
