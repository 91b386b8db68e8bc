import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { SystemRandom } from "#core";
import { SOCKET_HIGH_WATER_BYTES, SocketOutbox } from "../../src/mesh/socket-outbox.ts";

const random = new SystemRandom();
const RECORD_BYTES = 16 * 1024;

describe("mesh: what goes out of a socket", () => {
  let near: Socket;
  let far: Socket;
  beforeEach(async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    near = connect((server.address() as AddressInfo).port, "127.0.0.1");
    [far] = (await once(server, "connection")) as [Socket];
    server.close();
  });
  afterEach(() => {
    near.destroy();
    far.destroy();
  });

  /** The sizes of what the socket is given to write. */
  function watchWrites(): number[] {
    const sizes: number[] = [];
    const write = near.write.bind(near);
    near.write = (bytes: string | Uint8Array, ...more: never[]) => {
      sizes.push(bytes.length);
      return write(bytes, ...more);
    };
    return sizes;
  }

  async function received(): Promise<Buffer> {
    const pieces: Buffer[] = [];
    far.on("data", (bytes: Buffer) => pieces.push(bytes));
    await once(far, "end");
    return Buffer.concat(pieces);
  }

  it("joins what is small into one full record, and passes on what is large as it is", async () => {
    const sizes = watchWrites();
    const outbox = new SocketOutbox(near, () => undefined);
    const pieces = [12, 30, 200_000, 12, 5].map((bytes) => random.bytes(bytes));
    outbox.push(pieces);
    outbox.end();
    assert.deepEqual(await received(), Buffer.concat(pieces));
    assert.deepEqual(sizes, [RECORD_BYTES, 200_042 - RECORD_BYTES, 17]);
  });

  it("says when it is full, and once when there is room again", async () => {
    let drains = 0;
    const drained = Promise.withResolvers<void>();
    const outbox = new SocketOutbox(near, () => {
      drains += 1;
      drained.resolve();
    });
    assert.equal(outbox.push([random.bytes(1_000)]), true);
    assert.equal(outbox.push([random.bytes(SOCKET_HIGH_WATER_BYTES)]), false);
    assert.equal(outbox.push([random.bytes(1_000)]), false);
    const all = received();
    await drained.promise;
    outbox.end();
    assert.equal((await all).length, SOCKET_HIGH_WATER_BYTES + 2_000);
    assert.equal(drains, 1);
  });

  it("writes nothing more once the socket is gone", async () => {
    const outbox = new SocketOutbox(near, () => assert.fail("there is no room"));
    near.on("error", () => undefined);
    outbox.push([random.bytes(20_000), random.bytes(8 * 1024 * 1024)]);
    const sizes = watchWrites();
    near.destroy();
    await once(near, "close");
    await new Promise(setImmediate);
    assert.deepEqual(sizes, []);
  });
});
