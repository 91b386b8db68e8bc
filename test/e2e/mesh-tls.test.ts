import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { Ed25519Key, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { type Libp2pBackedHost, startHost } from "#mesh";
import { cipherOrder } from "../../src/mesh/cipher-order.ts";
import { createTlsIdentity } from "../../src/mesh/tls-certificate.ts";
import { createTlsContext } from "../../src/mesh/tls-handshake.ts";

const clock = new SystemClock();
const random = new SystemRandom();

describe("mesh: native TLS as a client sees it", () => {
  let host: Libp2pBackedHost;
  let port: number;
  before(async () => {
    const gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "s", name: "n" }) as const };
    const deps = { clock, random, log: SILENT_LOG, seed: random.bytes(32), gate };
    host = await startHost(deps, { listen: ["/ip4/0.0.0.0/tcp/0/tls"] });
    port = Number(host.addresses()[0]?.split("/")[4]);
  });
  after(() => host[Symbol.asyncDispose]());

  function dial(more: ConnectionOptions = {}): TLSSocket {
    const { options } = createTlsContext(new Ed25519Key(random.bytes(32)), clock, random);
    const socket = connect({ host: "127.0.0.1", port, ...options, ...more });
    socket.on("error", () => undefined);
    return socket;
  }

  /** Whether the host keeps the connection: it sends yamux's first ping then, and nothing otherwise. */
  async function isKept(socket: TLSSocket): Promise<boolean> {
    const kept = await new Promise<boolean>((resolve) => {
      socket.once("data", () => resolve(true));
      socket.once("close", () => resolve(false));
    });
    socket.destroy();
    return kept;
  }

  it("keeps a peer with TLS 1.3, ALPN libp2p and a libp2p certificate, with this machine's cipher", async () => {
    const socket = dial();
    await once(socket, "secureConnect");
    assert.equal(socket.getProtocol(), "TLSv1.3");
    assert.equal(socket.alpnProtocol, "libp2p");
    assert.ok(cipherOrder(clock).startsWith(socket.getCipher().name));
    assert.ok(await isKept(socket));
  });

  it("takes ChaCha20 when the client puts it first", async () => {
    const { cert, key } = createTlsIdentity(new Ed25519Key(random.bytes(32)), random.bytes(16));
    const socket = connect({
      host: "127.0.0.1",
      port,
      cert,
      key,
      rejectUnauthorized: false,
      ALPNProtocols: ["libp2p"],
      ciphers: "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
    });
    await once(socket, "secureConnect");
    assert.equal(socket.getCipher().name, "TLS_CHACHA20_POLY1305_SHA256");
    assert.ok(await isKept(socket));
  });

  it("drops a peer without a certificate, and one with another ALPN", async () => {
    const none = { rejectUnauthorized: false, secureContext: undefined };
    assert.equal(await isKept(dial({ ...none, ALPNProtocols: ["libp2p"] })), false);
    assert.equal(await isKept(dial({ ALPNProtocols: ["h2"] })), false);
  });

  it("resumes no session", async () => {
    const first = dial();
    const [session] = await Promise.race([once(first, "session"), once(first, "close").then(() => [undefined])]);
    first.destroy();
    const again = dial(session instanceof Buffer ? { session } : {});
    await once(again, "secureConnect");
    assert.equal(again.isSessionReused(), false);
    again.destroy();
  });

  it("reads nothing of a stranger that has no place, and serves it when one comes free", async () => {
    const taken = await Promise.all(
      [1, 2, 3, 4].map(async () => {
        const socket = connectTcp(port, "127.0.0.1");
        await once(socket, "connect");
        return socket;
      }),
    );
    const waiting = dial();
    const secured = once(waiting, "secureConnect").then(() => "secured");
    assert.equal(await Promise.race([secured, clock.sleep(200).then(() => "waiting")]), "waiting");
    taken[0]?.destroy();
    assert.equal(await secured, "secured");
    for (const socket of [...taken, waiting]) socket.destroy();
  });

  it("announces real addresses when it listens on all", () => {
    const addresses = host.addresses();
    assert.ok(addresses.length > 0);
    for (const address of addresses) assert.doesNotMatch(address, /0\.0\.0\.0/u);
  });
});
