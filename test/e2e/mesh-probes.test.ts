import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type ByteStream, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { type Gate, type Host, type Session, startHost } from "#mesh";
import { TcpRelay } from "../support/tcp-relay.ts";

const clock = new SystemClock();
const random = new SystemRandom();
const GATE: Gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "berlin", name: "cam" }) };
const never = new AbortController().signal;
const SUSPECT_MS = 3_000; // at rest: an interval, and three probes that follow each other fast
const DEAD_MS = 5_000;
const SLACK_MS = 1_500; // of a busy machine

type Pair = { a: Host; b: Host; relay: TcpRelay; atA: Session; atB: Session };

let stack = new AsyncDisposableStack();

async function host(listen = ["/ip4/127.0.0.1/tcp/0/tls"]): Promise<Host> {
  return stack.use(await startHost({ clock, random, log: SILENT_LOG, seed: random.bytes(32), gate: GATE }, { listen }));
}

const portOf = (of: Host): number => Number(of.addresses()[0]?.split("/")[4]);

/** Two neighbours with a relay between them; `a` has dialled, and listens nowhere. */
async function pair(datagrams: boolean): Promise<Pair> {
  const [a, b] = [await host([]), await host()];
  const relay = stack.use(await TcpRelay.to(portOf(b)));
  if (datagrams) await relay.carryDatagramsTo(portOf(b));
  const atA = await a.connect(
    b.addresses().map((address) => relay.address(address)),
    never,
  );
  await until(() => b.session(a.nodeId) !== undefined);
  return { a, b, relay, atA, atB: b.session(a.nodeId) as Session };
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await clock.sleep(5);
}

/** When each of these came true, in milliseconds from now. */
function timesOf(events: Record<string, () => boolean>): Promise<[string, number][]> {
  const startMs = clock.nowMs();
  const wait = async ([name, holds]: [string, () => boolean]): Promise<[string, number]> => {
    await until(holds);
    return [name, Math.round(clock.nowMs() - startMs)];
  };
  return Promise.all(Object.entries(events).map(wait));
}

describe("mesh: probes", function () {
  this.timeout(60_000);

  afterEach(async () => {
    await stack.disposeAsync();
    stack = new AsyncDisposableStack();
  });

  it("measure by datagrams at both ends, and find a black hole: suspect, then dead", async () => {
    for (const inUse of [false, true]) {
      const { a, b, relay, atA, atB } = await pair(true);
      if (inUse) atA.carry();
      await until(() => atA.measuredBy() === "udp" && atB.measuredBy() === "udp" && atB.rttMs() !== undefined);
      relay.freeze();
      const times = await timesOf({
        "dialler suspect": () => atA.suspect(),
        "acceptor suspect": () => atB.suspect(),
        "dialler dead": () => a.session(b.nodeId) === undefined,
        "acceptor dead": () => b.session(a.nodeId) === undefined,
      });
      console.log(
        `      ${inUse ? "live circuit" : "at rest"}: ${times.map(([what, ms]) => `${what} ${ms} ms`).join(", ")}`,
      );
      for (const [what, ms] of times) {
        const limitMs = what.endsWith("dead") ? DEAD_MS : inUse ? 1_000 : SUSPECT_MS;
        assert.ok(ms <= limitMs + SLACK_MS, `${what} after ${ms} ms`);
      }
    }
  });

  it("go on the stream where datagrams do not pass, from the start or later, and nobody is suspect", async () => {
    const [blocked, later] = [await pair(false), await pair(true)];
    const suspicions = new Set<string>();
    await until(() => later.atA.measuredBy() === "udp");
    later.relay.dropDatagrams();
    const isOnStream = ({ atA }: Pair): boolean => atA.measuredBy() === "stream" && atA.lossRatio() === undefined;
    await until(() => {
      for (const [i, { atA, atB }] of [blocked, later].entries())
        if (atA.suspect() || atB.suspect()) suspicions.add(String(i));
      return isOnStream(blocked) && isOnStream(later);
    });
    assert.deepEqual([...suspicions], []);
  });

  it("see at the sending end that a link is full", async () => {
    const { a, b, relay, atA, atB } = await pair(true);
    b.handle("/test/sink", (stream) => stream.listen({ data: () => undefined, end: () => undefined }));
    const open = (): Promise<ByteStream> => a.open(b.nodeId, "/test/sink", never);
    const streams = await Promise.all(Array.from({ length: 20 }, open)); // each may send a window: more than kernels take
    relay.freezeTcp();
    for (const stream of streams) stream.send(random.bytes(1024 * 1024));
    await until(() => atA.loadRatio() > 0.05);
    assert.ok(atB.loadRatio() < 0.05, String(atB.loadRatio()));
    assert.equal(atA.suspect(), false);
    for (const stream of streams) stream.abort(new Error("enough"));
  });

  it("answer no stranger and nothing recorded, and a flood costs the datagrams, not the link", async function () {
    this.timeout(120_000); // until both ends' probes were lost for long enough: 25 s on a machine that does nothing else
    const { b, relay, atA, atB } = await pair(true);
    await until(() => atA.measuredBy() === "udp");
    const socket = createSocket("udp4").bind(0, "127.0.0.1");
    await once(socket, "listening");
    stack.defer(() => void socket.close());
    let answers = 0;
    socket.on("message", () => (answers += 1));
    for (let i = 0; i < 500; i++) socket.send(random.bytes(i % 60), portOf(b), "127.0.0.1");
    await clock.sleep(100);
    assert.equal(answers, 0);
    const startMs = clock.nowMs();
    while (atA.measuredBy() === "udp") {
      assert.ok(clock.nowMs() - startMs < 100_000, "the sockets stay open in a flood");
      for (let i = 0; i < 200; i++) socket.send(random.bytes(38), portOf(b), "127.0.0.1");
      await clock.sleep(10);
    }
    assert.equal(answers, 0);
    assert.ok(!atA.suspect() && !atB.suspect());
    assert.ok(relay.bytes > 0);
  });
});
