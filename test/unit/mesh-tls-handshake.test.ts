import assert from "node:assert/strict";
import { Duplex } from "node:stream";
import { connect } from "node:tls";
import { Ed25519Key, Fault, SystemClock, SystemRandom } from "#core";
import { createTlsContext, secured } from "../../src/mesh/tls-handshake.ts";

describe("the TLS handshake", () => {
  it("fails, and nothing else does, when the stream below fails as its signal fires", async () => {
    const random = new SystemRandom();
    const { options } = createTlsContext(new Ed25519Key(random.bytes(32)), new SystemClock(), random);
    const over = new AbortController();
    const duplex = new Duplex({
      read: () => undefined,
      write: (_chunk, _encoding, done) => done(),
      destroy(error, done) {
        over.abort(error);
        done(error);
      },
    });
    duplex.on("error", () => undefined);
    const socket = connect({ socket: duplex, ...options });
    const peer = secured(socket, "secureConnect", over.signal);
    const lost = new Fault("routing.circuit-lost", "the way broke");
    setImmediate(() => duplex.destroy(lost));
    await assert.rejects(peer, lost);
    await new Promise(setImmediate); // an error that nobody hears would fail this test by now
  });
});
