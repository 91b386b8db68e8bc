import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type Socket as TcpSocket } from "node:net";
import { decode, encode, type Packet, type RecordType } from "dns-packet";
import {
  memoryStreamPair,
  type ByteStream,
  type Log,
  SILENT_LOG,
  SystemClock,
  SystemRandom,
  VirtualClock,
  withDeadline,
} from "#core";
import type { Groups } from "#identity";
import { openStateDatabase } from "../../src/identity/state-database.ts";
import { Forwarder } from "../../src/routing/names/dns-forward.ts";
import { readQuery } from "../../src/routing/names/dns-message.ts";
import { startDnsServer } from "../../src/routing/names/dns-server.ts";
import { type MeshNames, rangeOf, startMeshNames } from "../../src/routing/names/mesh-names.ts";
import { NamedListeners } from "../../src/routing/names/named-listeners.ts";
import type { KnownInstance } from "../../src/routing/service/service-directory.ts";
import { TunnelHost } from "../../src/routing/tunnel/tunnel-host.ts";
import { TunnelOpener } from "../../src/routing/tunnel/tunnel-opener.ts";
import { listening } from "../support/tunnel-path.ts";

const clock = new SystemClock();
const random = new SystemRandom();
const HAS_DIG = spawnSync("dig", ["-v"]).error === undefined;
const HOST = "127.79.0.1";

function groupsOf(members: Iterable<{ tenant: string; site: string }>): Groups {
  const all = [...members];
  return { tenants: new Set(all.map(({ tenant }) => tenant)), sites: new Set(all.map(({ site }) => site)) };
}

/** A node that publishes services to itself: real sockets, real tunnels, a directory in memory. */
class Names implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly instances: KnownInstance[] = [];
  readonly warned: string[] = [];
  #names: MeshNames | undefined;
  targetPort = 0;

  async start(): Promise<void> {
    const echo = createServer((socket) => void socket.on("error", () => undefined).pipe(socket));
    this.targetPort = await listening(echo);
    this.#stack.defer(() => void echo.close());
    let accept: (stream: ByteStream, peer: string) => void = () => undefined;
    const open = async (): Promise<ByteStream> => {
      const [near, far] = memoryStreamPair();
      accept(far, "self");
      return near;
    };
    const handle = (_: string, handler: typeof accept): void => void (accept = handler);
    const targetOf = () => ({ host: "127.0.0.1", port: this.targetPort });
    this.#stack.use(
      new TunnelHost({ clock, log: SILENT_LOG, handle, targetOf, mayReach: () => true, mayExpose: () => true }),
    );
    const members = new Map([
      ["self", { tenant: "acme", site: "plant" }],
      ["far", { tenant: "acme", site: "hall.berlin" }],
      ["third", { tenant: "acme", site: "acme" }],
    ]);
    const log: Log = { ...SILENT_LOG, warn: (_, fields) => void this.warned.push(String(fields?.["reason"])) };
    const find = async (name: string, tenant = "") => this.#of(name, tenant);
    const directory = { instances: (name: string, tenant = "") => this.#of(name, tenant) };
    this.#names = this.#stack.use(
      await startMeshNames(
        {
          clock,
          random,
          log,
          db: openStateDatabase(":memory:"),
          trustedMs: () => clock.wallMs(),
          directory,
          lookup: { find },
          opener: new TunnelOpener({ clock, open }),
          self: "self",
          memberOf: (node) => members.get(node),
          groups: () => groupsOf(members.values()),
        },
        [{ host: HOST, port: 0 }],
      ),
    );
  }

  get port(): number {
    return this.#names?.server.port ?? assert.fail();
  }

  get ports(): ReturnType<MeshNames["ports"]> {
    return this.#names?.ports() ?? [];
  }

  publish(name: string, port: number, more: Partial<KnownInstance> = {}): void {
    this.instances.push({
      node: "self",
      name,
      tenant: "acme",
      protocol: "tcp",
      labels: { tier: "edge" },
      priority: 0,
      weight: 1,
      healthy: true,
      cost: 1,
      hops: 0,
      since: 0,
      reason: "",
      port,
      ...more,
    });
  }

  #of(name: string, tenant: string): KnownInstance[] {
    return this.instances.filter((one) => one.name === name && one.tenant === tenant);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

describe("the DNS server of a node", function () {
  this.timeout(30_000);
  let names: Names;
  let udp: Socket;
  let free: number;

  before(async () => {
    names = new Names();
    await names.start();
    const probe = createServer();
    free = await listening(probe);
    probe.close();
    await once(probe, "close");
    names.publish("api", free);
    names.publish("cam", free, { node: "far", labels: {} });
    names.publish("low", 80, { tenant: "acme" });
  });
  beforeEach(async () => {
    udp = createSocket("udp4");
    udp.connect(names.port, HOST);
    await once(udp, "connect");
  });
  afterEach(() => udp.close());
  after(() => names[Symbol.asyncDispose]());

  const query = (name: string, type: string, id = 7): Buffer =>
    encode({ type: "query", id, flags: 0x0100, questions: [{ name, type: type as RecordType }] });
  const ask = async (message: Buffer): Promise<Packet> => {
    udp.send(message);
    const [reply] = (await withDeadline(clock, 5_000, "an answer", (signal) => once(udp, "message", { signal }))) as [
      Buffer,
    ];
    return decode(reply);
  };
  const addressOf = async (name: string): Promise<string> => {
    const [record] = (await ask(query(name, "A"))).answers ?? [];
    return record?.type === "A" ? record.data : assert.fail(`${name} has no address`);
  };
  /** Without blocking this process, in which the server runs. */
  const dig = async (...argv: readonly string[]): Promise<string> => {
    const child = spawn("dig", [`@${HOST}`, "-p", String(names.port), "+time=3", "+tries=1", ...argv]);
    let out = "";
    child.stdout.on("data", (piece: Buffer) => (out += piece.toString()));
    await once(child, "close");
    return out.trim();
  };

  it("gives an address at which the service answers, on its own port", async () => {
    const address = await addressOf("api.plant.mesh");
    assert.match(address, /^127\.79\.\d+\.\d+$/u);
    assert.equal(await addressOf("api.plant.mesh"), address);
    assert.deepEqual(
      names.ports.map(({ port }) => port),
      [free],
    );
    const socket = connect(free, address);
    socket.write("hello");
    assert.equal(String((await once(socket, "data"))[0]), "hello");
    socket.destroy();
  });

  it("knows a tenant before a site, and a site's instances only by its name", async () => {
    assert.notEqual(await addressOf("api.acme.mesh"), await addressOf("api.plant.mesh"));
    for (const name of ["cam.hall.berlin.mesh", "cam.acme.mesh"]) assert.match(await addressOf(name), /^127\.79\./u); // acme is a site, too
    for (const name of ["cam.plant.mesh", "api.hall.berlin.mesh", "api.nowhere.mesh", "no.acme.mesh"])
      assert.equal(Reflect.get(await ask(query(name, "A")), "rcode"), "NXDOMAIN", name);
    for (const name of ["acme.mesh", "plant.mesh", "berlin.mesh", "hall.berlin.mesh"])
      assert.equal(Reflect.get(await ask(query(name, "A")), "rcode"), "NOERROR", name);
  });

  it("closes the port of a service that is gone, 30 s later, and not of one that came back", async () => {
    const time = new VirtualClock();
    let isThere = true;
    const opener = new TunnelOpener({ clock: time, open: () => assert.fail() });
    await using listeners = new NamedListeners({ clock: time, log: SILENT_LOG, opener });
    const named = {
      address: "127.79.3.3",
      transport: "tcp",
      port: free,
      choose: () => [],
      isThere: () => isThere,
    } as const;
    assert.equal(await listeners.open(named), true);
    isThere = false;
    await time.advanceMs(25_000);
    isThere = true;
    await time.advanceMs(10_000);
    assert.equal(listeners.all().length, 1);
    isThere = false;
    await time.advanceMs(40_000);
    assert.deepEqual(listeners.all(), []);
  });

  it("says SERVFAIL where a port does not open, and why once", async () => {
    const inTheWay = createServer();
    inTheWay.listen(0, "0.0.0.0");
    await once(inTheWay, "listening");
    const { port } = inTheWay.address() as { port: number };
    names.publish("busy", port);
    for (let i = 0; i < 3; i++) assert.equal(Reflect.get(await ask(query("busy.acme.mesh", "A")), "rcode"), "SERVFAIL");
    assert.equal(names.warned.filter((reason) => reason.includes(String(port))).length, 1);
    inTheWay.close();
    await once(inTheWay, "close");
    assert.equal(Reflect.get(await ask(query("busy.acme.mesh", "A")), "rcode"), "NOERROR");
  });

  const asked: readonly [string, string[], RegExp][] = [
    ["A", ["+short", "api.plant.mesh"], /^127\.79\.\d+\.\d+$/u],
    ["SRV", ["+short", "SRV", "_http._tcp.api.plant.mesh"], /^0 1 \d+ api\.plant\.mesh\.$/u],
    ["TXT", ["+short", "TXT", "api.plant.mesh"], /^"protocol=tcp" "tier=edge"$/u],
    ["NXDOMAIN", ["no.plant.mesh"], /status: NXDOMAIN[\s\S]*mesh\.\s+5\s+IN\s+SOA\s+dns\.mesh\./u],
    ["REFUSED for other names", ["example.org"], /status: REFUSED/u],
    ["over TCP", ["+tcp", "+short", "api.plant.mesh"], /^127\.79\.\d+\.\d+$/u],
    [
      "with EDNS",
      ["+edns=0", "+bufsize=4096", "api.plant.mesh"],
      /EDNS: version: 0, flags:; udp: 1232[\s\S]*status: NOERROR|status: NOERROR[\s\S]*udp: 1232/u,
    ],
    ["with a version of EDNS that nobody has", ["+edns=7", "+noednsneg", "api.plant.mesh"], /status: BADVERS/u],
    ["without EDNS", ["+noedns", "+short", "dns.mesh"], /^127\.79\.0\.1$/u],
  ];
  for (const [what, argv, wanted] of asked) {
    it(`answers dig: ${what}`, async function () {
      if (!HAS_DIG) {
        console.log("      dig (bind9-dnsutils) is not installed");
        return this.skip();
      }
      assert.match(await dig(...argv), wanted);
    });
  }

  it("answers several questions over one connection, in whatever pieces they come", async () => {
    const socket = connect(names.port, HOST);
    const messages = [1, 2, 3].map((id) => query("api.plant.mesh", "A", id));
    const stream = Buffer.concat(messages.flatMap((message) => [Buffer.from([0, message.length]), message]));
    for (const byte of stream) socket.write(Buffer.from([byte]));
    let got = Buffer.alloc(0);
    while (got.length < 3 * (messages[0]?.length ?? 0) + 6)
      got = Buffer.concat([got, (await once(socket, "data"))[0] as Buffer]);
    const ids: number[] = [];
    for (let at = 0; at < got.length; at += 2 + got.readUInt16BE(at)) ids.push(got.readUInt16BE(at + 2));
    assert.deepEqual(ids, [1, 2, 3]);
    socket.destroy();
  });

  it("hangs up on a message over 4 KiB, on junk, and takes 64 connections", async () => {
    const isCut = async (socket: TcpSocket): Promise<void> => {
      socket.on("error", () => undefined).resume();
      await withDeadline(clock, 3_000, "the end", (signal) => once(socket, "close", { signal }));
    };
    for (const bytes of [
      Buffer.concat([Buffer.from([0x10, 0x01]), Buffer.alloc(4_097)]),
      Buffer.from([0, 3, 1, 2, 3]),
    ]) {
      const socket = connect(names.port, HOST);
      socket.write(bytes);
      await isCut(socket);
    }
    const many = Array.from({ length: 80 }, () => connect(names.port, HOST).on("error", () => undefined));
    await withDeadline(
      clock,
      3_000,
      "16 to be closed",
      () =>
        new Promise<void>((resolve) => {
          let closed = 0;
          for (const socket of many) socket.resume().once("close", () => ++closed === 16 && resolve());
        }),
    );
    for (const socket of many) socket.destroy();
  });

  it("says nothing to who may not ask, over UDP and TCP", async () => {
    let asked = 0;
    const answer = async (): Promise<Uint8Array> => Buffer.from([(asked += 1)]);
    const admits = (address: string): boolean => address === "127.0.0.9";
    await using server = await startDnsServer({ clock, log: SILENT_LOG, answer, admits }, { host: HOST, port: 0 });
    const clients = await Promise.all(
      ["127.0.0.9", "127.0.0.8"].map(async (address) => {
        const client = createSocket("udp4").bind(0, address);
        await once(client, "listening");
        client.send(query("a.b.mesh", "A"), server.address.port, HOST);
        return client;
      }),
    );
    await once(clients[0] ?? assert.fail(), "message");
    await clock.sleep(50);
    assert.equal(asked, 1);
    for (const client of clients) client.close();
    const socket = connect({ port: server.address.port, host: HOST, localAddress: "127.0.0.8" });
    const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
    assert.equal(error.code, "ECONNRESET");
  });

  it("hangs up on who says nothing for 5 s", async () => {
    const time = new VirtualClock();
    await using server = await startDnsServer(
      { clock: time, log: SILENT_LOG, answer: async () => Buffer.from("x") },
      { host: HOST, port: 0 },
    );
    const socket = connect(server.address.port, HOST);
    socket.write(Buffer.from([0, 1, 7]));
    await once(socket, "data"); // the server waits for the next
    await time.advanceMs(4_900);
    assert.equal(socket.destroyed, false);
    const closed = once(socket.resume(), "close");
    while (!socket.destroyed) {
      await time.advanceMs(100);
      await clock.sleep(1);
    }
    await closed;
  });

  it("answers 1,000 questions of one client in a second", async () => {
    const time = new VirtualClock();
    let answered = 0;
    const answer = async (): Promise<undefined> => void (answered += 1);
    await using server = await startDnsServer({ clock: time, log: SILENT_LOG, answer }, { host: HOST, port: 0 });
    const client = createSocket("udp4");
    client.connect(server.address.port, HOST);
    await once(client, "connect");
    for (let i = 0; i < 1_500; i++) {
      client.send(query("a.b.mesh", "A"));
      if (i % 50 === 49) await clock.sleep(1); // so that the kernel drops none
    }
    await clock.sleep(50);
    assert.equal(answered, 1_000);
    await time.advanceMs(100);
    for (let i = 0; i < 200; i++) client.send(query("a.b.mesh", "A"));
    await clock.sleep(100);
    assert.equal(answered, 1_100);
    client.close();
  });

  it("stays as it is after 10,000 packets of junk", async () => {
    const before = process.memoryUsage().rss;
    const good = query("api.plant.mesh", "A");
    for (let i = 0; i < 10_000; i++) {
      const junk = Buffer.from(good);
      for (let n = random.below(8); n >= 0; n--) junk[random.below(junk.length)] = random.below(256);
      udp.send(i % 3 === 0 ? Buffer.alloc(random.below(1_400), i) : junk);
      if (i % 200 === 199) await clock.sleep(1);
    }
    const ids = new Set<number>();
    udp.on("message", (reply) => void ids.add(reply.readUInt16BE(0)));
    const isHeard = async (signal: AbortSignal): Promise<void> => {
      for (; !ids.has(4_242); await clock.sleep(50, signal)) udp.send(query("api.plant.mesh", "A", 4_242));
    };
    await withDeadline(clock, 10_000, "an answer after the junk", isHeard);
    const grownMiB = (process.memoryUsage().rss - before) / 2 ** 20;
    assert.ok(grownMiB < 64, `${grownMiB.toFixed(1)} MiB more`);
  });

  it("has services in the block of its own address", () => {
    assert.deepEqual(["127.79.0.1", "127.0.0.1", "127.0.0.53"].map(rangeOf), ["127.79", "127.77", "127.77"]);
  });

  it("takes the next address when one is not to be had, and a node does without when none is", async () => {
    const warned: string[] = [];
    const log: Log = { ...SILENT_LOG, warn: (message) => void warned.push(message) };
    const opener = new TunnelOpener({ clock, open: () => assert.fail() });
    const deps = {
      clock,
      random,
      log,
      db: openStateDatabase(":memory:"),
      trustedMs: () => 0,
      opener,
      self: "self",
      directory: { instances: () => [] },
      lookup: { find: async () => [] },
      memberOf: () => undefined,
      groups: () => groupsOf([]),
    };
    const taken = { host: HOST, port: names.port };
    await using second = await startMeshNames(deps, [taken, { host: "127.79.0.2", port: 0 }]);
    assert.equal(second?.server.host, "127.79.0.2");
    assert.deepEqual(warned, []);
    assert.equal(await startMeshNames(deps, [taken]), undefined);
    assert.equal(warned.length, 1);
  });
});

describe("questions for names elsewhere", () => {
  const question = encode({ type: "query", id: 9, questions: [{ name: "example.org", type: "A" }] });
  const query = readQuery(question) ?? assert.fail();
  const { signal } = new AbortController();
  const upstream = async (reply: (asked: Buffer) => readonly Buffer[]) => {
    const socket = createSocket("udp4");
    socket.on("message", (asked, from) => {
      for (const message of reply(asked)) socket.send(message, from.port, from.address);
    });
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    const { port } = socket.address();
    return { socket, forwarder: new Forwarder({ clock, random, servers: () => ["127.79.9.9", "127.0.0.1"], port }) };
  };
  const answerTo = (asked: Buffer): Buffer => {
    const answer = Buffer.from(asked);
    answer[2] = 0x81;
    return answer;
  };

  it("go to the next server when one does not answer, under another id, and come back under theirs", async () => {
    let id = -1;
    const { socket, forwarder } = await upstream((asked) => {
      id = asked.readUInt16BE(0);
      return [answerTo(asked)];
    });
    const answer = Buffer.from((await forwarder.ask(question, query, "udp", signal)) ?? []);
    assert.deepEqual(answer, answerTo(question));
    assert.ok(id >= 0);
    socket.close();
  });

  it("pass over what is no answer to them", async () => {
    const { socket, forwarder } = await upstream((asked) => {
      const [otherId, otherName, noAnswer] = [answerTo(asked), answerTo(asked), Buffer.from(asked)];
      otherId.writeUInt16BE((asked.readUInt16BE(0) + 1) & 0xffff, 0);
      otherName[13] = 0x41;
      return [otherId, otherName, noAnswer, Buffer.alloc(3), answerTo(asked)];
    });
    assert.deepEqual(Buffer.from((await forwarder.ask(question, query, "udp", signal)) ?? []), answerTo(question));
    socket.close();
  });

  it("go over TCP when they came so, and get no answer where nobody gives one", async () => {
    const server = createServer((socket) => {
      socket
        .on("error", () => undefined)
        .once("data", (bytes: Buffer) => {
          socket.write(Buffer.concat([bytes.subarray(0, 2), answerTo(bytes.subarray(2))]));
        });
    });
    const port = await listening(server);
    const forwarder = new Forwarder({ clock, random, servers: () => ["127.0.0.1"], port });
    assert.deepEqual(Buffer.from((await forwarder.ask(question, query, "tcp", signal)) ?? []), answerTo(question));
    server.close();
    await once(server, "close");
    assert.equal(await forwarder.ask(question, query, "tcp", signal), undefined);
    assert.equal(await forwarder.ask(question, query, "udp", signal), undefined);
  });
});
