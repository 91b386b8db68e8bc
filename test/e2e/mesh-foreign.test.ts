import assert from "node:assert/strict";
import { SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { type Gate, type Host, startHost } from "#mesh";
import { ForeignPeer } from "../support/foreign-peer.ts";

const clock = new SystemClock();
const random = new SystemRandom();

function start(gate: Gate): Promise<Host> {
  return startHost(
    { clock, random, log: SILENT_LOG, seed: random.bytes(32), gate },
    { listen: ["/ip4/127.0.0.1/tcp/0/tls"] },
  );
}

/** Waits for the end of a libp2p stream or connection, which may be past. */
async function closed(of: EventTarget & { status: string }): Promise<void> {
  if (of.status === "open") await new Promise((resolve) => of.addEventListener("close", resolve));
}

describe("mesh: a plain js-libp2p peer", () => {
  it("passes the hello over Noise on the same port, opens a stream and exchanges bytes", async () => {
    await using foreign = await ForeignPeer.start();
    const judged: unknown[] = [];
    await using host = await start({
      offer: () => ({ from: "host" }),
      judge: (peer, hello) => {
        judged.push([peer, hello]);
        return { accepted: true, site: "berlin", name: "foreign" };
      },
    });
    host.handle("/test/echo", (stream) => {
      stream.listen({ data: (bytes) => void stream.send(bytes), end: () => stream.close() });
    });
    const up = new Promise<string>((resolve) => {
      host.onSession((session, event) => resolve(`${event} ${session.name} ${session.nodeId}`));
    });

    const { connection, answer } = await foreign.hello(host.addresses()[0] ?? "", { from: "foreign" });
    assert.ok(connection.encryption?.includes("noise"));
    assert.deepEqual(judged, [[foreign.libp2p.peerId.toString(), { from: "foreign" }]]);
    assert.partialDeepStrictEqual(answer, { t: "hello", v: 1, offer: { from: "host" } });
    assert.equal(await up, `up foreign ${foreign.libp2p.peerId.toString()}`);

    const stream = await connection.newStream(["/test/echo"]);
    const sent = Buffer.alloc(3 * 1024 * 1024, "portolan");
    const received: Uint8Array[] = [];
    const ended = new Promise((resolve) => stream.addEventListener("remoteCloseWrite", resolve));
    stream.addEventListener("message", ({ data }) => received.push(data.subarray()));
    stream.send(sent);
    await stream.close();
    await ended;
    assert.ok(sent.equals(Buffer.concat(received)));
  });

  it("gets a typed refusal when the gate says no, and no other protocol", async () => {
    await using foreign = await ForeignPeer.start();
    await using host = await start({
      offer: () => ({}),
      judge: () => ({ accepted: false, code: "not-a-member", reason: "it has no member document" }),
    });
    host.handle("/test/echo", () => assert.fail("a refused peer got through"));
    const { connection, answer } = await foreign.hello(host.addresses()[0] ?? "");
    assert.deepEqual(answer, { t: "refuse", code: "not-a-member", reason: "it has no member document" });
    await closed(connection);
    assert.equal(host.sessions().length, 0);
  });

  it("reaches no handler before the hello", async () => {
    await using foreign = await ForeignPeer.start();
    await using host = await start({ offer: () => ({}), judge: () => ({ accepted: true, site: "s", name: "n" }) });
    let reached = 0;
    host.handle("/test/echo", () => {
      reached += 1;
    });
    const connection = await foreign.dial(host.addresses()[0] ?? "");
    const stream = await connection.newStream(["/test/echo"]);
    await closed(stream);
    assert.equal(reached, 0);
  });
});
