import assert from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import fc from "fast-check";
import { type ByteStream, Fault, memoryStreamPair, SILENT_LOG, SystemClock, VirtualClock } from "#core";
import { DatagramReader, encodeDatagram } from "../../src/routing/tunnel/datagrams.ts";
import { TunnelOpener } from "../../src/routing/tunnel/tunnel-opener.ts";
import type { Flow } from "../../src/routing/tunnel/flow.ts";
import { GrowthBudget } from "../../src/routing/tunnel/flow-window.ts";
import { Trunk } from "../../src/routing/tunnel/trunk.ts";
import { FLOW_IDLE_MS, UdpFlow } from "../../src/routing/tunnel/udp-flow.ts";
import { listenUdp, MAX_FLOWS } from "../../src/routing/tunnel/udp-listener.ts";

const clock = new SystemClock();
const noBytes = (): { fromSocketBytes: number; toSocketBytes: number } => ({ fromSocketBytes: 0, toSocketBytes: 0 });

function datagramsOf(stream: ByteStream): Buffer[] {
  const found: Buffer[] = [];
  const reader = new DatagramReader();
  stream.listen({
    data: (bytes) => reader.push(bytes, (datagram) => found.push(Buffer.from(datagram))),
    end: () => undefined,
  });
  return found;
}

describe("datagrams in a stream", () => {
  it("come out as they went in, however the stream is cut", () => {
    const datagram = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(fc.array(datagram, { maxLength: 20 }), fc.integer({ min: 1, max: 500 }), (datagrams, pieceBytes) => {
        const bytes = Buffer.concat(datagrams.flatMap((one) => encodeDatagram(one)));
        const reader = new DatagramReader();
        const found: Buffer[] = [];
        for (let at = 0; at < bytes.length; at += pieceBytes) {
          reader.push(bytes.subarray(at, at + pieceBytes), (one) => found.push(Buffer.from(one)));
        }
        assert.deepEqual(
          found,
          datagrams.map((one) => Buffer.from(one)),
        );
      }),
    );
  });
});

describe("flow of datagrams", () => {
  it("drops the newest while the stream takes no more, and goes on when it does", async () => {
    const [near, far] = memoryStreamPair();
    const flow = new UdpFlow({ clock, stream: near, meter: noBytes(), deliver: () => undefined });
    const running = flow.run();
    far.pause();
    for (let number = 0; number < 1_000; number++) flow.push(Buffer.alloc(1_400, number % 256));
    const got = datagramsOf(far);
    far.resume();
    while (got.length === 0) await clock.sleep(1);
    await clock.sleep(5);
    assert.ok(got.length > 150 && got.length < 250, `${got.length} of 1,000 datagrams are a full queue`);
    assert.deepEqual(
      got.map((datagram) => datagram[0]),
      got.map((_, number) => number % 256),
    );
    const before = got.length;
    flow.push(Buffer.from("again"));
    while (got.length === before) await clock.sleep(1);
    assert.equal(got.at(-1)?.toString(), "again");
    flow.end();
    await running;
  });

  it("is over when nothing came or went for a minute", async () => {
    const virtual = new VirtualClock();
    const [near, far] = memoryStreamPair();
    const heard: string[] = [];
    const deliver = (datagram: Uint8Array): void => void heard.push(Buffer.from(datagram).toString());
    const flow = new UdpFlow({ clock: virtual, stream: near, meter: noBytes(), deliver });
    let over = false;
    const running = flow.run().then(() => (over = true));
    await virtual.advanceMs(FLOW_IDLE_MS - 1);
    flow.push(Buffer.from("out"));
    await virtual.advanceMs(FLOW_IDLE_MS - 1);
    far.send(...encodeDatagram(Buffer.from("in")));
    await clock.sleep(5);
    await virtual.advanceMs(FLOW_IDLE_MS - 1);
    assert.deepEqual([over, heard], [false, ["in"]]);
    await virtual.advanceMs(1);
    await running;
  });

  it("ends with its stream", async () => {
    for (const end of [
      (stream: ByteStream): void => stream.close(),
      (stream: ByteStream): void => stream.abort(new Fault("test.cut", "cut")),
    ]) {
      const [near, far] = memoryStreamPair();
      const flow = new UdpFlow({ clock, stream: near, meter: noBytes(), deliver: () => undefined });
      const running = flow.run();
      end(far);
      await running;
      flow.push(Buffer.from("late"));
    }
  });
});

describe("UDP listener", () => {
  const instance = { node: "a", name: "dns", tenant: "default", protocol: "udp" as const, labels: {} };
  const choose = () => [{ ...instance, priority: 0, weight: 1, healthy: true }];

  const sender = async (): Promise<Socket> => {
    const socket = createSocket("udp4").bind(0, "127.0.0.1");
    await once(socket, "listening");
    return socket;
  };

  it("holds what comes before the tunnel is open, and tries anew only after a while when there is none", async () => {
    let asked = 0;
    const streams: ByteStream[] = [];
    const open = async (): Promise<ByteStream> => {
      asked += 1;
      if (asked === 1) throw new Fault("mesh.not-connected", "no connection", { exit: "offline" });
      const [near, far] = memoryStreamPair();
      streams.push(far);
      return near;
    };
    const virtual = new VirtualClock();
    const deps = { clock: virtual, log: SILENT_LOG, opener: new TunnelOpener({ clock: virtual, open }), choose };
    await using listener = await listenUdp(deps, { host: "127.0.0.1", port: 0 });
    const socket = await sender();
    const say = (text: string): void => socket.send(text, listener.address.port, "127.0.0.1");
    say("lost");
    while (listener.counts.failed === 0) await clock.sleep(1);
    say("lost, too");
    await clock.sleep(10);
    assert.equal(asked, 1);
    await virtual.advanceMs(2_000);
    for (const text of ["one", "two", "three"]) say(text);
    while (streams[0] === undefined) await clock.sleep(1);
    await clock.sleep(10);
    const opened = Promise.withResolvers<Flow>();
    const growth = new GrowthBudget();
    const trunk = new Trunk({ clock: virtual, stream: streams[0], growth, opened: opened.resolve });
    const flow = await opened.promise;
    const heard = datagramsOf(flow);
    await clock.sleep(10);
    assert.deepEqual(heard, []);
    trunk.accept(flow);
    while (heard.length < 3) await clock.sleep(1);
    assert.deepEqual(heard.map(String), ["one", "two", "three"]);
    socket.close();
  });

  it("drops what comes from whom it does not admit, and asks once for each sender that it does", async () => {
    const asked: string[] = [];
    const admits = (host: string): boolean => asked.push(host) > 1;
    const open = (): Promise<ByteStream> => new Promise(() => undefined);
    const deps = { clock, log: SILENT_LOG, opener: new TunnelOpener({ clock, open }), choose, admits };
    await using listener = await listenUdp(deps, { host: "127.0.0.1", port: 0 });
    const { counts, address } = listener;
    const socket = await sender();
    socket.send("no", address.port, "127.0.0.1");
    while (counts.dropped === 0) await clock.sleep(1);
    assert.equal(counts.open, 0);
    for (const text of ["yes", "yes again"]) socket.send(text, address.port, "127.0.0.1");
    while (counts.open === 0) await clock.sleep(1);
    await clock.sleep(10);
    assert.deepEqual(asked, ["127.0.0.1", "127.0.0.1"]);
    assert.deepEqual([counts.open, counts.dropped], [1, 1]);
    socket.close();
  });

  it("hears 1,024 senders at a time, and drops what others send", async function () {
    this.timeout(20_000);
    const open = (): Promise<ByteStream> => new Promise(() => undefined);
    const deps = { clock, log: SILENT_LOG, opener: new TunnelOpener({ clock, open }), choose };
    await using listener = await listenUdp(deps, { host: "127.0.0.1", port: 0 });
    const sockets: Socket[] = [];
    while (listener.counts.open < MAX_FLOWS) {
      const socket = await sender();
      sockets.push(socket);
      socket.send("x", listener.address.port, "127.0.0.1");
      while (listener.counts.open < sockets.length) await clock.sleep(1);
    }
    const late = await sender();
    late.send("x", listener.address.port, "127.0.0.1");
    while (listener.counts.dropped === 0) await clock.sleep(1);
    assert.equal(listener.counts.open, MAX_FLOWS);
    for (const socket of [...sockets, late]) socket.close();
  });
});
