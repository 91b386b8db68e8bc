import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { SystemClock } from "#core";
import fc from "fast-check";
import { type Link, listening, startLink } from "../../demo/link.ts";
import { controlLink, serveControl } from "../../demo/link-control.ts";
import { parseConnect } from "../../demo/socket-head.ts";

const clock = new SystemClock();

describe("CONNECT request", () => {
  const table: [string, ReturnType<typeof parseConnect>][] = [
    ["CONNECT 127.2.0.11:4001 HTTP/1.1\r\nHost: x", { host: "127.2.0.11", port: 4001 }],
    ["CONNECT 127.2.0.11:4001 HTTP/1.0", { host: "127.2.0.11", port: 4001 }],
    ["GET / HTTP/1.1", undefined],
    ["CONNECT 127.2.0.11:0 HTTP/1.1", undefined],
    ["CONNECT 127.2.0.11:65536 HTTP/1.1", undefined],
    ["CONNECT 127.2.0.256:1 HTTP/1.1", undefined],
    ["CONNECT example.org:443 HTTP/1.1", undefined],
    ["CONNECT 127.2.0.11:4001 HTTP/1.1garbage", undefined],
  ];
  for (const [head, expected] of table) {
    it(`reads ${JSON.stringify(head)} as ${JSON.stringify(expected)}`, () => {
      assert.deepEqual(parseConnect(head), expected);
    });
  }

  it("throws at nothing", () => {
    fc.assert(fc.property(fc.string(), (head) => void parseConnect(head)));
  });
});

describe("WAN links of two sites", () => {
  let dir: string;
  let links: [Link, Link];
  let echo: Server;
  let echoPort: number;
  let open: Socket[];

  beforeEach(async () => {
    dir = await mkdtemp(path.join(tmpdir(), "link-"));
    const start = (site: number): Promise<Link> =>
      startLink(clock, { site, port: 0, dir, rateBps: 400_000_000, delayMs: 2 });
    links = [await start(1), await start(2)];
    echo = createServer({ allowHalfOpen: true }, (socket) => socket.on("error", () => undefined).pipe(socket));
    await listening(echo, { host: "127.2.0.11", port: 0 });
    const address = echo.address();
    assert.ok(typeof address === "object" && address !== null);
    echoPort = address.port;
    open = [];
  });

  afterEach(async () => {
    for (const socket of open) socket.destroy();
    for (const link of links) await link[Symbol.asyncDispose]();
    echo.close();
    await rm(dir, { recursive: true });
  });

  function dial(): Socket {
    const socket = connect({ host: "127.1.0.1", port: links[0].port, allowHalfOpen: true });
    socket.on("error", () => undefined);
    open.push(socket);
    return socket;
  }

  async function request(target: string): Promise<{ socket: Socket; answer: string }> {
    const socket = dial();
    socket.write(`CONNECT ${target} HTTP/1.1\r\n\r\n`);
    const [answer]: unknown[] = await once(socket, "data");
    return { socket, answer: String(answer) };
  }

  it("carries bytes both ways, with half-closes, and counts them alike at both ends", async () => {
    const { socket, answer } = await request(`127.2.0.11:${echoPort}`);
    assert.match(answer, /^HTTP\/1\.1 200 /u);
    const sent = Buffer.alloc(3_000_000, "portolan");
    socket.end(sent);
    const got = Buffer.concat(await socket.toArray());
    assert.ok(got.equals(sent), `${got.length} bytes came back`);
    const [here, there] = links.map((link) => link.stats());
    assert.ok(here !== undefined && there !== undefined);
    assert.deepEqual([here.bytesOut, here.bytesIn], [sent.length, sent.length]);
    assert.deepEqual([there.bytesOut, there.bytesIn], [sent.length, sent.length]);
    assert.deepEqual(there.connections[0]?.bytes, { in: sent.length, out: sent.length });
    assert.equal(there.connections[0]?.peerSite, 1);
  });

  const refused: [string, string, RegExp][] = [
    ["an address of its own site", "127.1.0.11:1", /^HTTP\/1\.1 403 /u],
    ["an address of no site", "10.0.0.1:1", /^HTTP\/1\.1 403 /u],
    ["a port where nobody listens", "127.2.0.200:1", /^HTTP\/1\.1 502 .*ECONNREFUSED/su],
    ["a site without a link", "127.3.0.11:1", /^HTTP\/1\.1 502 .*has no link/su],
  ];
  for (const [what, target, status] of refused) {
    it(`refuses ${what}`, async () => {
      const { answer } = await request(target);
      assert.match(answer, status);
    });
  }

  it("ends a connection that says something else than CONNECT", async () => {
    const socket = dial();
    socket.write("x".repeat(10_000));
    socket.resume();
    await once(socket, "end");
  });

  it("breaks every connection on kill, and goes on taking new ones", async () => {
    const { socket } = await request(`127.2.0.11:${echoPort}`);
    const closed = once(socket.resume(), "end");
    links[0].kill();
    await closed;
    const again = await request(`127.2.0.11:${echoPort}`);
    assert.match(again.answer, / 200 /u);
  });

  it("keeps bytes back while cut, and delivers them once mended; says so on its control socket", async () => {
    const server = await serveControl(clock, links[1], dir, 2);
    try {
      const { socket } = await request(`127.2.0.11:${echoPort}`);
      let echoed = false;
      const back = once(socket, "data").then(() => (echoed = true));
      await controlLink(clock, dir, 2, "cut");
      socket.write("hello");
      await clock.sleep(40); // ten times the round trip: what could have come back has
      assert.equal(echoed, false);
      await controlLink(clock, dir, 2, "mend");
      await back;
      assert.equal((await controlLink(clock, dir, 2, "stats")).bytesIn, 5);
    } finally {
      server.close();
    }
  });
});
