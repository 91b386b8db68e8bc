/**
 * What strangers may do to a node: `storm.ts ADDRESS CONNECTIONS SECONDS`, with the node's multiaddr. Spread over the time it makes
 * so many connections that say nothing, talk nonsense, break off in the middle of TLS, or vanish; beside them peers with a key
 * that never say hello or stop in the middle of joining, and datagrams on the probe port. Prints one line of JSON.
 */
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { type Clock, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { JOIN_PROTOCOL } from "#identity";
import { type Gate, startHost } from "#mesh";

/** Sockets that this side keeps at a time; far more than the node has places. */
const MAX_OPEN = 400;
/** How long this side keeps a connection that the node does not close. */
const HOLD_MS = 4_000;
const LATE_JOINERS = 8;
const DATAGRAMS_PER_SECOND = 5_000;
const DATAGRAM_BYTES = 38;
/** The beginning of a TLS ClientHello that announces 512 bytes and never sends them. */
const HALF_HELLO = Buffer.from("16030102000100", "hex");
const NO_GATE: Gate = { offer: () => ({}), judge: () => ({ accepted: false, code: "storm", reason: "a storm" }) };

type Target = { address: string; host: string; port: number };
type Counts = { connections: number; failed: number; joins: number; datagrams: number };

const clock: Clock = new SystemClock();
const random = new SystemRandom();
const counts: Counts = { connections: 0, failed: 0, joins: 0, datagrams: 0 };

/** One connection, in one of four ways. From loopback each comes from another network. */
function knock({ host, port }: Target, way: number): Promise<void> {
  const local = host.startsWith("127.") ? { localAddress: `127.${1 + random.below(250)}.${random.below(256)}.9` } : {};
  return new Promise((resolve) => {
    const socket = connect({ host, port, ...local });
    const hold = new AbortController();
    socket.once("error", () => (counts.failed += 1));
    socket.once("close", () => {
      hold.abort();
      resolve();
    });
    socket.resume();
    socket.once("connect", () => {
      counts.connections += 1;
      if (way === 1) socket.write(random.bytes(200));
      if (way === 2) socket.write(HALF_HELLO);
      if (way === 3) socket.resetAndDestroy();
      clock.sleep(HOLD_MS, hold.signal).then(
        () => socket.destroy(),
        () => undefined,
      );
    });
  });
}

async function knockAll(target: Target, connections: number, seconds: number): Promise<void> {
  const open = new Set<Promise<void>>();
  const startMs = clock.nowMs();
  for (let i = 0; i < connections; i++) {
    const dueMs = startMs + (i / connections) * seconds * 1_000;
    if (dueMs > clock.nowMs()) await clock.sleep(dueMs - clock.nowMs());
    if (open.size >= MAX_OPEN) await Promise.race(open);
    const one = knock(target, i % 4);
    open.add(one);
    void one.finally(() => open.delete(one));
  }
  await Promise.all(open);
}

/** A peer with a key that opens the one stream it may, and stops there; every second one does not even do that. */
async function joinSlowly({ address }: Target, signal: AbortSignal, speaks: boolean): Promise<void> {
  await using host = await startHost(
    { clock, random, log: SILENT_LOG, seed: random.bytes(32), gate: NO_GATE },
    { listen: [] },
  );
  while (!signal.aborted) {
    try {
      const connection = await host.connectStranger([address], signal);
      counts.joins += 1;
      const stream = speaks ? await connection.open(JOIN_PROTOCOL, signal) : undefined;
      stream?.send(random.bytes(3));
      await clock.sleep(HOLD_MS, signal);
      connection.close();
    } catch {
      await clock.sleep(100, signal).catch(() => undefined); // it was thrown out, which is what this is about
    }
  }
}

async function sendDatagrams({ host, port }: Target, signal: AbortSignal): Promise<void> {
  const socket = createSocket("udp4");
  for (const startMs = clock.nowMs(); !signal.aborted; ) {
    const due = ((clock.nowMs() - startMs) / 1_000) * DATAGRAMS_PER_SECOND;
    for (; counts.datagrams < due; counts.datagrams++)
      socket.send(random.bytes(DATAGRAM_BYTES), port, host, () => undefined);
    await clock.sleep(5, signal).catch(() => undefined);
  }
  socket.close();
}

const [address = "", connections = "10000", seconds = "10"] = process.argv.slice(2);
const [, , host = "", , port] = address.split("/");
const target = { address, host, port: Number(port) };
const over = new AbortController();
const joiners = Array.from({ length: LATE_JOINERS }, (_, i) => joinSlowly(target, over.signal, i % 2 === 0));
const datagrams = sendDatagrams(target, over.signal);
await knockAll(target, Number(connections), Number(seconds));
over.abort(new Error("the storm is over"));
await Promise.all([...joiners, datagrams]);
console.log(JSON.stringify(counts));
