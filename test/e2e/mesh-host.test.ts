import assert from "node:assert/strict";
import { connect as connectTcp } from "node:net";
import { type ByteStream, Fault, faultCode, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import type { Gate, Host, Libp2pBackedHost, Session } from "#mesh";
import { startHost } from "#mesh";

const clock = new SystemClock();
const random = new SystemRandom();
const OPEN_GATE: Gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "berlin", name: "cam-7" }) };
const never = new AbortController().signal;

/** Hosts that the running test started; stopped after it. */
const running: Host[] = [];

async function host(gate: Gate = OPEN_GATE, seed = random.bytes(32)): Promise<Libp2pBackedHost> {
  const listen = ["/ip4/127.0.0.1/tcp/0/tls"];
  const started = await startHost({ clock, random, log: SILENT_LOG, seed, gate }, { listen });
  running.push(started);
  return started;
}

function next(of: Host, event: "up" | "down"): Promise<{ session: Session; reason: string | undefined }> {
  return new Promise((resolve) => {
    const stop = of.onSession((session, what, reason) => {
      if (what !== event) return;
      stop();
      resolve({ session, reason });
    });
  });
}

function collect(stream: ByteStream): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  return new Promise((resolve, reject) => {
    stream.listen({
      data: (bytes) => pieces.push(bytes),
      end: (error) => (error === undefined ? resolve(Buffer.concat(pieces)) : reject(error)),
    });
  });
}

describe("mesh: host", () => {
  afterEach(async () => {
    await Promise.all(running.splice(0).map((each) => each[Symbol.asyncDispose]()));
  });

  it("connects over native TLS, passes the hello on both sides and opens streams both ways", async () => {
    const [a, b] = [await host(), await host()];
    const upAtB = next(b, "up");
    const session = await a.connect(b.addresses(), never);
    assert.equal(session.nodeId, b.nodeId);
    assert.equal(session.site, "berlin");
    assert.equal(session.direction, "outbound");
    assert.deepEqual(session.addresses, b.addresses());
    const { session: atB } = await upAtB;
    assert.equal(atB.nodeId, a.nodeId);
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const received = new Promise<Buffer>((resolve, reject) => {
        to.handle("/test/echo", (stream, peer) => {
          assert.equal(peer.nodeId, from.nodeId);
          collect(stream).then(resolve, reject);
        });
      });
      const stream = await from.open(to.nodeId, "/test/echo", never);
      stream.send(Buffer.from("port"), Buffer.from("olan"));
      stream.close();
      assert.equal((await received).toString(), "portolan");
    }
  });

  it("opens and serves nothing but early protocols before a new neighbour has settled", async () => {
    const settled = Promise.withResolvers<void>();
    const waits = { accepted: true, site: "berlin", name: "cam-7", settled: settled.promise } as const;
    const [a, b] = [await host(), await host({ ...OPEN_GATE, judge: () => waits })];
    const served: string[] = [];
    for (const [protocol, early] of [
      ["/test/late", false],
      ["/test/early", true],
    ] as const) {
      for (const each of [a, b]) each.handle(protocol, () => void served.push(protocol), { early });
    }
    const upAtB = next(b, "up");
    await a.connect(b.addresses(), never);
    await upAtB;
    const late = Promise.all([a.open(b.nodeId, "/test/late", never), b.open(a.nodeId, "/test/late", never)]);
    await Promise.all([a.open(b.nodeId, "/test/early", never), b.open(a.nodeId, "/test/early", never)]);
    await clock.sleep(50); // what must not happen has no event
    assert.deepEqual(served, ["/test/early", "/test/early"]);
    settled.resolve();
    await late;
    await clock.sleep(50);
    assert.equal(served.filter((protocol) => protocol === "/test/late").length, 2);
  });

  it("ends the connection of a neighbour that does not settle", async () => {
    const settled = Promise.reject(new Fault("test.unsettled", "it never showed them"));
    settled.catch(() => undefined);
    const [a, b] = [
      await host(),
      await host({ ...OPEN_GATE, judge: () => ({ accepted: true, site: "berlin", name: "cam-7", settled }) }),
    ];
    const downAtB = next(b, "down");
    await a.connect(b.addresses(), never).catch(() => undefined); // it may be gone at once
    assert.match((await downAtB).reason ?? "", /never showed/u);
  });

  it("gives back the live session instead of dialling again", async () => {
    const [a, b] = [await host(), await host()];
    const [first, second] = await Promise.all([a.connect(b.addresses(), never), a.connect(b.addresses(), never)]);
    assert.equal(first, second);
    assert.equal(await a.connect(b.addresses(), never), first);
  });

  it("dials once for several callers, and one that gives up does not take it from the others", async () => {
    const [a, b] = [await host(), await host()];
    const first = new AbortController();
    const givenUp = a.connect(b.addresses(), first.signal);
    const kept = a.connect(b.addresses(), never);
    first.abort(new Error("enough"));
    await assert.rejects(givenUp, /enough/u);
    assert.equal((await kept).nodeId, b.nodeId);
    assert.equal(b.connections(), 1);
  });

  it("carries messages in order and measures the round trip", async () => {
    const [a, b] = [await host(), await host()];
    const heard: unknown[] = [];
    const done = new Promise<void>((resolve) => {
      b.onMessage("count", (_, body) => {
        heard.push(body);
        if (heard.length === 100) resolve();
      });
    });
    const session = await a.connect(b.addresses(), never);
    for (let i = 0; i < 100; i++) assert.ok(session.send("count", { i }));
    await done;
    assert.deepEqual(
      heard,
      Array.from({ length: 100 }, (_, i) => ({ i })),
    );
  });

  it("tells the dialler why it was refused, and runs no handler for it", async () => {
    const closed: Gate = {
      ...OPEN_GATE,
      judge: () => ({ accepted: false, code: "revoked", reason: "it was revoked" }),
    };
    const [a, b] = [await host(), await host(closed)];
    b.handle("/test/echo", () => assert.fail("a refused peer got through"));
    await assert.rejects(a.connect(b.addresses(), never), (error: Fault) => {
      assert.equal(error.code, "mesh.refused");
      assert.equal(error.details["code"], "revoked");
      return true;
    });
    assert.deepEqual([a.sessions(), b.sessions()], [[], []]);
  });

  it("refuses what answers in another node's place", async () => {
    const [a, b, c] = [await host(), await host(), await host()];
    const addresses = b.addresses().map((address) => address.replace(b.nodeId, c.nodeId));
    await assert.rejects(a.connect(addresses, never), (error) => faultCode(error) === "mesh.wrong-peer");
  });

  it("names the address at which nobody listens", async () => {
    const a = await host();
    await assert.rejects(a.connect(["/ip4/127.0.0.1/tcp/1/tls"], never), (error: Fault) => {
      assert.equal(error.code, "mesh.dial");
      assert.match(error.message, /127\.0\.0\.1:1 \(ECONNREFUSED\)/u);
      return true;
    });
  });

  it("closes the session at once on disconnect, also at the peer", async () => {
    const [a, b] = [await host(), await host()];
    await a.connect(b.addresses(), never);
    const downAtB = next(b, "down");
    a.disconnect(b.nodeId, "revoked");
    assert.equal(a.session(b.nodeId), undefined);
    await downAtB;
  });

  it("serves strangers the protocol that is theirs and no other", async () => {
    const [a, b] = [await host(), await host()];
    let served = 0;
    b.handle("/test/echo", (stream) => {
      served += 1;
      stream.close();
    });
    b.handleStranger(
      "/test/join",
      (stream, peer) => {
        assert.equal(peer.nodeId, a.nodeId);
        stream.listen({ data: (bytes) => void stream.send(bytes), end: () => stream.close() });
      },
      { maxStreams: 4, timeoutMs: 10_000 },
    );
    const stranger = await a.connectStranger(b.addresses(), never);
    const stream = await stranger.open("/test/join", never);
    stream.send(Buffer.from("let me in"));
    stream.close();
    assert.equal((await collect(stream)).toString(), "let me in");
    const forbidden = await stranger.open("/test/echo", never);
    await assert.rejects(collect(forbidden));
    assert.equal(served, 0, "a stranger got through");
    stranger.close();
  });

  it("drops a connection that says nothing, and one that speaks neither TLS nor libp2p", async () => {
    const b = await host();
    const port = Number(b.addresses()[0]?.split("/")[4]);
    const http = connectTcp(port, "127.0.0.1");
    http.write("GET / HTTP/1.1\r\n\r\n");
    await new Promise((resolve) => http.once("close", resolve));
    const stranger = await (await host()).connectStranger(b.addresses(), never);
    await assert.rejects(stranger.open("/test/none", never));
  });
});
