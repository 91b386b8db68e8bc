import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import { generateCertificate, verifyPeerCertificate } from "@libp2p/tls/utils";
import fc from "fast-check";
import { Ed25519Key, faultCode } from "#core";
import { decodeDer } from "../../src/mesh/der.ts";
import { createTlsIdentity, nodeKeyOfCertificate } from "../../src/mesh/tls-certificate.ts";

const seed = new Uint8Array(32).fill(7);
const nodeKey = new Ed25519Key(seed);
const serial = new Uint8Array(16).fill(9);

describe("mesh: libp2p TLS certificate", () => {
  it("is accepted by js-libp2p's own verifier, which reads the same node from it", async () => {
    const certificate = new X509Certificate(createTlsIdentity(nodeKey, serial).cert);
    const peer = await verifyPeerCertificate(certificate.raw);
    assert.equal(Buffer.compare(peer.publicKey?.raw ?? new Uint8Array(), nodeKey.publicKey), 0);
  });

  it("reads the node from js-libp2p's own certificate", async () => {
    const identity = await generateCertificate(await generateKeyPairFromSeed("Ed25519", seed));
    assert.equal(Buffer.compare(nodeKeyOfCertificate(new X509Certificate(identity.cert)), nodeKey.publicKey), 0);
  });

  it("refuses a certificate with any byte changed", () => {
    const { raw } = new X509Certificate(createTlsIdentity(nodeKey, serial).cert);
    fc.assert(
      fc.property(fc.nat({ max: raw.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const bytes = Buffer.from(raw);
        bytes[at] = (bytes[at] ?? 0) ^ mask;
        let certificate: X509Certificate;
        try {
          certificate = new X509Certificate(bytes);
        } catch {
          return; // OpenSSL would not have let it through the handshake
        }
        assert.throws(() => nodeKeyOfCertificate(certificate));
      }),
      { numRuns: 500 },
    );
  });

  it("decodes any bytes as DER or refuses them with one code", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        try {
          decodeDer(bytes);
        } catch (error) {
          assert.equal(faultCode(error), "mesh.certificate");
        }
      }),
    );
  });
});
