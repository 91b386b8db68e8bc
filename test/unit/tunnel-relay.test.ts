import assert from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { Fault, faultCode, memoryStreamPair, SystemClock, SystemRandom } from "#core";
import { relayTcp } from "../../src/routing/tunnel/tcp-relay.ts";
import { NoTarget } from "../../src/routing/tunnel/tunnel-wire.ts";
import { TrunkPair } from "../support/trunk-pair.ts";
import { readAll, socketPair, tunnelPath } from "../support/tunnel-path.ts";

const clock = new SystemClock();
const random = new SystemRandom();
const PIECE = Buffer.alloc(64 * 1024, 7);

/** Writes as much as is taken, until told that it is enough; resolves with how much that was once nothing more is taken. */
async function flood(socket: Socket, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; left -= PIECE.length) {
    if (!socket.write(PIECE.subarray(0, Math.min(left, PIECE.length)))) await once(socket, "drain");
  }
}

async function stalled(count: () => number): Promise<number> {
  for (let still = 0, last = count(); ; last = count()) {
    await clock.sleep(10);
    still = count() === last ? still + 1 : 0;
    if (still === 20) return last;
  }
}

describe("tunnel relay", () => {
  it("carries an end as an end: the other direction goes on", async () => {
    const { client, target, ends, meters } = await tunnelPath();
    client.end("question");
    assert.equal((await readAll(target)).toString(), "question");
    target.end("answer");
    assert.equal((await readAll(client)).toString(), "answer");
    assert.deepEqual(await ends, [undefined, undefined]);
    assert.deepEqual(meters[0], { fromSocketBytes: 8, toSocketBytes: 6 });
    assert.deepEqual(meters[1], { fromSocketBytes: 6, toSocketBytes: 8 });
  });

  it("carries a connection without a byte", async () => {
    const { client, target, ends } = await tunnelPath();
    client.end();
    assert.equal((await readAll(target)).length, 0);
    target.end();
    assert.equal((await readAll(client)).length, 0);
    assert.deepEqual(await ends, [undefined, undefined]);
  });

  it("carries the end of who ends first last, too: the target speaks and hangs up", async () => {
    const { client, target, ends } = await tunnelPath();
    target.end("hello");
    assert.equal((await readAll(client)).toString(), "hello");
    client.end("bye");
    assert.equal((await readAll(target)).toString(), "bye");
    assert.deepEqual(await ends, [undefined, undefined]);
  });

  for (const who of ["client", "target"] as const) {
    it(`carries a reset of the ${who} as a reset`, async () => {
      const path = await tunnelPath();
      const other = who === "client" ? path.target : path.client;
      other.resume();
      path.client.write("x");
      await once(path.target.resume(), "data");
      const failed = once(other, "error");
      path[who].resetAndDestroy();
      const [error] = (await failed) as [NodeJS.ErrnoException];
      assert.equal(error.code, "ECONNRESET");
      for (const end of await path.ends) assert.ok(end instanceof Error);
    });
  }

  it("resets both programs when the stream fails", async () => {
    const streams = memoryStreamPair();
    const { client, target, ends } = await tunnelPath(streams);
    const failed = Promise.all([client, target].map((socket) => once(socket.resume(), "error")));
    client.write("x");
    await once(target, "data");
    streams[0].abort(new Fault("test.cut", "the link is gone"));
    for (const [error] of (await failed) as [NodeJS.ErrnoException][]) assert.equal(error.code, "ECONNRESET");
    for (const end of await ends) assert.ok(end instanceof Error);
  });

  it("holds 200 MiB back behind a slow reader, in bounded memory, and loses none of it", async () => {
    const { client, target, ends, meters } = await tunnelPath();
    const size = 200 * 1024 * 1024;
    const sending = flood(client, size).then(() => client.end());
    target.pause();
    const held = await stalled(() => meters[0].fromSocketBytes);
    assert.ok(held < 16 * 1024 * 1024, `${held} bytes were taken for a reader that does not read`);
    let [got, most] = [0, 0];
    for await (const piece of target) {
      got += (piece as Buffer).length;
      most = Math.max(most, meters[0].fromSocketBytes - got);
    }
    assert.equal(got, size);
    assert.ok(most < 16 * 1024 * 1024, `${most} bytes were on the way at a time`);
    await sending;
    target.end();
    client.resume();
    assert.deepEqual(await ends, [undefined, undefined]);
  });

  it("ends in good order behind a reader that does not read yet", async () => {
    const { client, target, ends } = await tunnelPath();
    const sent = random.bytes(4 * 1024 * 1024);
    client.end(sent);
    await clock.sleep(50);
    assert.deepEqual(await readAll(target), Buffer.from(sent));
    target.end();
    client.resume();
    assert.deepEqual(await ends, [undefined, undefined]);
  });

  it("sends at most 64 KiB before the tunnel is open, and the rest then", async () => {
    const pair = new TrunkPair();
    const [client, accepted] = await socketPair();
    const meter = { fromSocketBytes: 0, toSocketBytes: 0 };
    const flow = pair.client.open(Buffer.from("tcp default cam"));
    const relayed = relayTcp(accepted, flow, meter);
    const sending = flood(client, 1024 * 1024).then(() => client.end());
    const taken = await pair.taken();
    const held = await stalled(() => meter.fromSocketBytes);
    assert.ok(held < 1024 * 1024, `${held} bytes were taken for a tunnel that is not open`);
    let got = 0;
    const ended = Promise.withResolvers<Error | undefined>();
    pair.host.accept(taken);
    taken.listen({ data: (bytes) => (got += bytes.length), end: ended.resolve });
    await sending;
    assert.equal(await ended.promise, undefined);
    assert.equal(got, 1024 * 1024);
    taken.close();
    client.resume();
    assert.equal(await relayed, undefined);
  });

  it("resets a connection whose tunnel is refused", async () => {
    const pair = new TrunkPair((flow) => flow.abort(new NoTarget("refused", "no")));
    const [client, accepted] = await socketPair();
    const failed = once(client.resume(), "error");
    client.write("early");
    const relayed = relayTcp(accepted, pair.client.open(Buffer.from("tcp default cam")), {
      fromSocketBytes: 0,
      toSocketBytes: 0,
    });
    const [error] = (await failed) as [NodeJS.ErrnoException];
    assert.equal(error.code, "ECONNRESET");
    assert.equal(faultCode(await relayed), "routing.tunnel-refused");
  });

  it("delivers the same bytes both ways, however they are cut and whoever pauses", async () => {
    const plan = fc.array(fc.tuple(fc.integer({ min: 0, max: 300_000 }), fc.integer({ min: 0, max: 3 })), {
      maxLength: 12,
    });
    await fc.assert(
      fc.asyncProperty(plan, plan, async (up, down) => {
        const { client, target, ends } = await tunnelPath();
        const speak = async (socket: Socket, steps: typeof up): Promise<Buffer> => {
          const said: Buffer[] = [];
          for (const [bytes, pauseMs] of steps) {
            const piece = Buffer.from(random.bytes(bytes));
            said.push(piece);
            if (pauseMs > 0) await clock.sleep(pauseMs);
            if (!socket.write(piece)) await once(socket, "drain");
          }
          socket.end();
          return Buffer.concat(said);
        };
        const hear = async (socket: Socket, steps: typeof up): Promise<Buffer> => {
          const pausing = steps.map(async ([, ms]) => {
            await clock.sleep(ms);
            socket.pause();
            await clock.sleep(ms);
            socket.resume();
          });
          const [heard] = await Promise.all([readAll(socket), ...pausing]);
          return heard;
        };
        const [fromClient, fromTarget, atTarget, atClient] = await Promise.all([
          speak(client, up),
          speak(target, down),
          hear(target, down),
          hear(client, up),
        ]);
        assert.ok(fromClient.equals(atTarget));
        assert.ok(fromTarget.equals(atClient));
        assert.deepEqual(await ends, [undefined, undefined]);
      }),
      { numRuns: 40 },
    );
  });

  it("leaves nothing of 2,000 connections that end in all ways", async function () {
    this.timeout(60_000);
    const endings: ((client: Socket, target: Socket) => void)[] = [
      (client, target) => [client, target].map((socket) => socket.end("bye")),
      (client) => client.resetAndDestroy(),
      (_, target) => target.resetAndDestroy(),
      (client) => client.destroy(),
      (_, target) => target.destroy(),
      (client, target) => [client, target].map((socket) => socket.destroy()),
      (client, target) => [client.write(PIECE), target.destroy()],
    ];
    const round = async (count: number): Promise<void> => {
      for (let made = 0; made < count; made += 50) {
        const paths = await Promise.all(Array.from({ length: 50 }, () => tunnelPath()));
        paths.forEach(({ client, target }, index) => {
          for (const socket of [client, target]) socket.resume().on("end", () => socket.end());
          endings[index % endings.length]?.(client, target);
        });
        await Promise.all(paths.map(({ ends }) => ends));
        for (const { client, target } of paths) [client, target].map((socket) => socket.destroy());
      }
    };
    await round(200);
    await settled();
    const [handles, heapBytes] = [process.getActiveResourcesInfo().length, heapUsed()];
    await round(2_000);
    await settled();
    assert.ok(process.getActiveResourcesInfo().length <= handles, "handles are left");
    const grownBytes = heapUsed() - heapBytes;
    // one that stays, with its sockets, takes over 10 KiB; less than half of that is what else runs in this process
    assert.ok(grownBytes < 16 * 1024 * 1024, `${grownBytes} bytes are left of 2,000 connections`);
  });
});

async function settled(): Promise<void> {
  await clock.sleep(100);
}

/** Bytes that are in use after garbage has been collected. */
function heapUsed(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  const { heapUsed: heap, external } = process.memoryUsage();
  return heap + external;
}
