/**
 * Test traffic for the lab, run on one of its hosts: `connect ADDRESS WITHIN_MS`, `receive BYTES`, `send ADDRESS BYTES`,
 * `flood ADDRESS BPS`. Prints the milliseconds that it took.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { SystemClock, withDeadline } from "#core";

const PORT = 9000;
const clock = new SystemClock();
const [verb, ...args] = process.argv.slice(2);

/** A round trip: nobody listens on port 9, so that a host that can be reached refuses. */
async function tryConnect(address: string, withinMs: number): Promise<void> {
  const [error] = await withDeadline(clock, withinMs, "connecting", () => once(connect(9, address), "error"));
  if (!(error instanceof Error && "code" in error && error.code === "ECONNREFUSED")) throw error;
}

async function receive(bytes: number): Promise<void> {
  const server = createServer().listen(PORT);
  await once(server, "listening");
  console.log("ready");
  const socket = await new Promise<Socket>((resolve) => server.once("connection", resolve));
  startedMs = clock.nowMs();
  let left = bytes;
  await new Promise<void>((done) => {
    socket.on("data", (data) => {
      left -= data.length;
      if (left <= 0) done();
    });
  });
  socket.destroy();
  server.close();
}

async function send(address: string, bytes: number): Promise<void> {
  const socket = connect(PORT, address).resume();
  socket.write(new Uint8Array(bytes));
  await once(socket, "close");
}

/** A second of datagrams at a rate, in bits per second. */
async function flood(address: string, rateBps: number): Promise<void> {
  const socket = createSocket("udp4");
  for (let sentBytes = 0; sentBytes < rateBps / 8; ) {
    const dueBytes = ((clock.nowMs() - startedMs) / 1000) * (rateBps / 8);
    for (; sentBytes < dueBytes; sentBytes += 1400) socket.send(new Uint8Array(1400), 9, address);
    await clock.sleep(1);
  }
  socket.close();
}

let startedMs = clock.nowMs();
if (verb === "connect") await tryConnect(String(args[0]), Number(args[1]));
else if (verb === "receive") await receive(Number(args[0]));
else if (verb === "send") await send(String(args[0]), Number(args[1]));
else await flood(String(args[0]), Number(args[1]));
console.log(clock.nowMs() - startedMs);
process.exit(0);
