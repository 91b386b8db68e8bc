import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from "node:net";
import { connect, TLSSocket } from "node:tls";
import { Ed25519Key, SystemClock, SystemRandom } from "#core";
import { readInto } from "../../src/mesh/socket-intake.ts";
import { createTlsContext } from "../../src/mesh/tls-handshake.ts";

const random = new SystemRandom();
const PLACE_BYTES = 10_000; // records do not fit

describe("mesh: memory that a socket reads into", () => {
  /** A TLS socket around another, as both of our ends are, and the peer that writes to it. */
  async function pair(): Promise<{ peer: TLSSocket; socket: TLSSocket }> {
    const { options } = createTlsContext(new Ed25519Key(random.bytes(32)), new SystemClock(), random);
    const server = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const peer = connect({ socket: connectTcp((server.address() as AddressInfo).port, "127.0.0.1"), ...options });
    const [accepted] = (await once(server, "connection")) as [Socket];
    server.close();
    const socket = new TLSSocket(accepted, { isServer: true, ...options });
    await Promise.all([once(socket, "secure"), once(peer, "secureConnect")]);
    return { peer, socket };
  }

  function collect(socket: TLSSocket): { bytes: () => Buffer; events: () => number } {
    const places: Uint8Array[] = [];
    let place = Buffer.alloc(PLACE_BYTES);
    let events = 0;
    const taken = readInto(socket, (bytesRead) => {
      places.push(place.subarray(0, bytesRead));
      place = bytesRead === place.length ? Buffer.alloc(PLACE_BYTES) : place.subarray(bytesRead);
      return place;
    });
    assert.ok(taken, "this version of Node has changed what `readInto` needs: `data` events are slower");
    socket.on("data", () => events++);
    socket.resume();
    return { bytes: () => Buffer.concat(places), events: () => events };
  }

  it("takes all bytes in order, none as events, and the end after them", async () => {
    const { peer, socket } = await pair();
    const read = collect(socket);
    const sent = random.bytes(1_000_003);
    peer.end(sent);
    await once(socket, "end");
    assert.ok(read.bytes().equals(sent));
    assert.equal(read.events(), 0);
    socket.destroy();
    peer.destroy();
  });

  it("holds the peer back while the socket is paused", async () => {
    const { peer, socket } = await pair();
    const read = collect(socket);
    socket.pause();
    const sent = random.bytes(100_000);
    await new Promise((resolve) => peer.write(sent, resolve));
    for (let turns = 0; turns < 5; turns++) await new Promise(setImmediate); // what was written can be read in the next one
    assert.equal(read.bytes().length, 0);
    const ended = once(socket, "end");
    peer.end();
    socket.resume();
    await ended;
    assert.ok(read.bytes().equals(sent));
    socket.destroy();
    peer.destroy();
  });
});
