import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Clock } from "#core";
import type { Sample } from "./bench.ts";

const PIECE = Buffer.alloc(256 * 1024, 7);
export const ECHO_ROUNDS = 2_000;
const WARM_ROUNDS = 200;
export const CLIENTS = 16;
export const FLOWS = 8;
/** Length of the number that the sink is sent first: how many bytes come. */
export const COUNT_BYTES = 8;

const LOOPBACK = "127.0.0.1";

/** Throughput of one flow and of several, round trips of a byte, and new connections, on loopback. */
export async function measure(
  clock: Clock,
  ports: { sink: number; echo: number },
  work: { bytes: number; seconds: number },
): Promise<Sample> {
  const oneFlowMbPerSecond = await rate(clock, ports.sink, 1, work.bytes);
  const manyFlowsMbPerSecond = await rate(clock, ports.sink, FLOWS, work.bytes);
  const latency = await echoTimes(clock, ports.echo);
  const at = (share: number): number => latency[Math.floor(latency.length * share)] ?? Number.NaN;
  return {
    oneFlowMbPerSecond,
    manyFlowsMbPerSecond,
    echoP50Ms: at(0.5),
    echoP99Ms: at(0.99),
    connectionsPerSecond: await connectionRate(clock, ports.echo, work.seconds),
  };
}

/** MB/s that so many flows carry together. */
export async function rate(clock: Clock, port: number, flows: number, bytes: number): Promise<number> {
  const startMs = clock.nowMs();
  await Promise.all(Array.from({ length: flows }, () => fill(LOOPBACK, port, bytes / flows)));
  return bytes / 1e3 / (clock.nowMs() - startMs);
}

/** A connection, once it stands. */
export async function open(host: string, port: number): Promise<Socket> {
  const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}

/** Sends so much, and waits until the service has said that it got all. */
export async function fill(host: string, port: number, bytes: number): Promise<void> {
  const socket = await open(host, port);
  const taken = once(socket, "data");
  const count = Buffer.alloc(COUNT_BYTES);
  count.writeBigUInt64BE(BigInt(bytes));
  socket.write(count);
  for (let left = bytes; left > 0; left -= PIECE.length) {
    if (!socket.write(PIECE.subarray(0, Math.min(left, PIECE.length)))) await once(socket, "drain");
  }
  await taken;
  socket.destroy();
}

/** Milliseconds that one byte takes there and back on an open connection, sorted. */
async function echoTimes(clock: Clock, port: number): Promise<number[]> {
  const socket = await open(LOOPBACK, port);
  const times: number[] = [];
  for (let round = 0; round < ECHO_ROUNDS + WARM_ROUNDS; round++) {
    const startMs = clock.nowMs();
    socket.write("x");
    await once(socket, "data");
    if (round >= WARM_ROUNDS) times.push(clock.nowMs() - startMs);
  }
  socket.destroy();
  return times.toSorted((a, b) => a - b);
}

/** Connections a second, each opened, used for one byte there and back, and closed. */
async function connectionRate(clock: Clock, port: number, seconds: number): Promise<number> {
  const startMs = clock.nowMs();
  const untilMs = startMs + seconds * 1_000;
  let made = 0;
  const client = async (): Promise<void> => {
    while (clock.nowMs() < untilMs) {
      const socket = await open(LOOPBACK, port);
      socket.write("x");
      await once(socket, "data");
      socket.end();
      await once(socket, "close");
      made += 1;
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return made / ((clock.nowMs() - startMs) / 1_000);
}
