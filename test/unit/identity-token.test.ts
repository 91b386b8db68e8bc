import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { encodeCbor, Fault, SeededRandom } from "#core";
import { nodeKeyFrom } from "../../src/identity/node-key.ts";
import { type BootstrapToken, decodeToken, encodeToken, tokenWarnings } from "../../src/identity/token.ts";

const NOW_MS = Date.UTC(2026, 10, 21);
const random = new SeededRandom(1);
const hex = (): string => Buffer.from(random.bytes(32)).toString("hex");
const { nodeId } = nodeKeyFrom(random.bytes(32), random.bytes(32));
const TOKEN: BootstrapToken = {
  fleet: hex(),
  owners: [hex(), hex(), hex()],
  rendezvous: [`/ip4/192.0.2.7/tcp/4001/tls/p2p/${nodeId}`],
  minCharter: 1,
  minRevocation: 0,
};
const refusal = (code: string) => (error: unknown) =>
  error instanceof Fault && error.code === code && error.exit === "invalid";

describe("bootstrap token", () => {
  it("survives the way through text, with every field", () => {
    const full = {
      ...TOKEN,
      rendezvous: [...TOKEN.rendezvous, "/dns4/gate.example.org/tcp/443/tls"],
      expiresMs: NOW_MS + 5_000,
    };
    assert.deepEqual(decodeToken(`  ${encodeToken(full)}\n`, { nowMs: NOW_MS, fleet: full.fleet }), full);
  });

  it("keeps bytes as bytes: three owners and one address fit into 340 characters", () => {
    assert.ok(encodeToken(TOKEN).length < 340, `${encodeToken(TOKEN).length} characters`);
  });

  it("names what is wrong with a bad token", () => {
    const text = encodeToken(TOKEN);
    const read = (bad: string, fleet?: string) => () =>
      decodeToken(bad, { nowMs: NOW_MS, ...(fleet === undefined ? {} : { fleet }) });
    assert.throws(read("hello"), refusal("identity.token-format"));
    assert.throws(read(text.replace("ptl1.", "ptl2.")), refusal("identity.token-format"));
    assert.throws(read(`${text.slice(0, 40)}+${text.slice(41)}`), refusal("identity.token-format"));
    assert.throws(read(`${text.slice(0, 40)}\n${text.slice(40)}`), refusal("identity.token-format"));
    assert.throws(read("ptl1."), refusal("identity.token-cut"));
    assert.throws(read(text, hex()), refusal("identity.token-fleet"));
    assert.throws(read(encodeToken({ ...TOKEN, expiresMs: NOW_MS })), refusal("identity.token-expired"));
    assert.throws(() => encodeToken({ ...TOKEN, rendezvous: ["gate.example.org:4001"] }), refusal("identity.token"));
  });

  it("calls a token cut wherever it was cut", () => {
    const text = encodeToken(TOKEN);
    for (let length = 5; length < text.length; length++) {
      assert.throws(
        () => decodeToken(text.slice(0, length), { nowMs: NOW_MS }),
        refusal("identity.token-cut"),
        `at ${length}`,
      );
    }
  });

  it("never lets one changed character through", () => {
    const text = encodeToken(TOKEN);
    fc.assert(
      fc.property(
        fc.integer({ min: 5, max: text.length - 1 }),
        fc.constantFrom("A", "Z", "a", "z", "0", "9", "-", "_"),
        (at, letter) => {
          fc.pre(text[at] !== letter);
          const changed = text.slice(0, at) + letter + text.slice(at + 1);
          assert.throws(() => decodeToken(changed, { nowMs: NOW_MS }), Fault);
        },
      ),
    );
  });

  it("refuses any other content behind a good checksum with a Fault", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.anything().map(cborOrNothing)),
        (body) => {
          assert.throws(() => decodeToken(sealText(body), { nowMs: NOW_MS }), refusal("identity.token"));
        },
      ),
    );
  });

  it("decodes to a token that encodes to the same text", () => {
    const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("hex"));
    const address = fc.ipV4().map((ip) => `/ip4/${ip}/tcp/4001/tls`);
    const token = fc.record({
      fleet: hash,
      owners: fc.array(hash, { minLength: 1, maxLength: 16 }),
      rendezvous: fc.array(address, { maxLength: 16 }),
      minCharter: fc.integer({ min: 1, max: 1_000 }),
      minRevocation: fc.nat(1_000),
    });
    fc.assert(
      fc.property(token, (made) => {
        const text = encodeToken(made);
        assert.equal(encodeToken(decodeToken(text, { nowMs: NOW_MS })), text);
      }),
    );
  });

  it("warns when no device elsewhere could reach any address", () => {
    assert.match(warn(), /no address/u);
    assert.match(warn("/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/dns4/localhost/tcp/1"), /loopback/u);
    assert.match(warn("/ip4/127.0.0.1/tcp/1", "/ip4/10.1.2.3/tcp/1", "/ip6/fd00::1/tcp/1"), /private/u);
    assert.match(warn("/ip6/::ffff:192.168.1.1/tcp/1"), /private/u);
    assert.equal(warn("/ip4/10.1.2.3/tcp/1", "/ip4/198.51.100.1/tcp/1"), "");
    assert.equal(warn("/dns4/gate.example.org/tcp/443"), "");
  });
});

function warn(...rendezvous: string[]): string {
  return tokenWarnings({ ...TOKEN, rendezvous }).join(" ");
}

function cborOrNothing(value: unknown): Uint8Array {
  try {
    return encodeCbor(value);
  } catch {
    return new Uint8Array(1);
  }
}

/** A token text with a right checksum around any body. */
function sealText(body: Uint8Array): string {
  const sum = createHash("sha256").update("ptl1.").update(body).digest().subarray(0, 4);
  return `ptl1.${Buffer.concat([body, sum]).toString("base64url")}`;
}
