import { generateKeyPairSync, sign, X509Certificate } from "node:crypto";
import { type Ed25519Key, Fault, verifyEd25519 } from "#core";
import { DER, type DerValue, decodeDer, encodeDer } from "./der.ts";

/*
 * The certificate of the libp2p TLS specification (github.com/libp2p/specs/blob/master/tls/tls.md): a throw-away key signs
 * itself, and an extension carries the node's own key with its signature over the throw-away key. Written here rather than
 * taken from @libp2p/tls because that one compares with the machine's clock, and an appliance without a clock must still get
 * in touch; how long a node is welcome says its member document. Tests hold the two against each other.
 */

const LIBP2P_EXTENSION = Buffer.from("2b0601040183a25a0101", "hex"); // 1.3.6.1.4.1.53594.1.1
const ECDSA_WITH_SHA256 = Buffer.from("2a8648ce3d040302", "hex"); // 1.2.840.10045.4.3.2
const SIGNED_PREFIX = Buffer.from("libp2p-tls-handshake:");
/** Protobuf `PublicKey {Type: Ed25519, Data: 32 bytes}` up to its data (libp2p peer-id specification). */
const ED25519_PROTOBUF_HEAD = Buffer.from("08011220", "hex");
const NOT_BEFORE = Buffer.from("19700101000000Z");
const NOT_AFTER = Buffer.from("99991231235959Z"); // RFC 5280 §4.1.2.5: no well-defined expiration

/** What `tls.createSecureContext` takes. */
export type TlsIdentity = { cert: string; key: string };

/** A fresh throw-away key and the certificate that ties it to the node's key. */
export function createTlsIdentity(nodeKey: Ed25519Key, serial: Uint8Array): TlsIdentity {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const signedKey = encodeDer(
    DER.sequence,
    encodeDer(DER.octetString, ED25519_PROTOBUF_HEAD, nodeKey.publicKey),
    encodeDer(DER.octetString, nodeKey.sign(Buffer.concat([SIGNED_PREFIX, spki]))),
  );
  const algorithm = encodeDer(DER.sequence, encodeDer(DER.oid, ECDSA_WITH_SHA256));
  const nobody = encodeDer(DER.sequence); // the key names the subject, not a distinguished name
  const extension = encodeDer(
    DER.sequence,
    encodeDer(DER.oid, LIBP2P_EXTENSION),
    encodeDer(DER.boolean, Buffer.of(0xff)), // critical
    encodeDer(DER.octetString, signedKey),
  );
  const body = encodeDer(
    DER.sequence,
    encodeDer(DER.version, encodeDer(DER.integer, Buffer.of(2))),
    encodeDer(DER.integer, Buffer.of(0x01), serial), // the leading one keeps it positive and minimal
    algorithm,
    nobody,
    encodeDer(DER.sequence, encodeDer(DER.generalizedTime, NOT_BEFORE), encodeDer(DER.generalizedTime, NOT_AFTER)),
    nobody,
    spki,
    encodeDer(DER.extensions, encodeDer(DER.sequence, extension)),
  );
  const signature = sign("sha256", body, privateKey);
  const certificate = encodeDer(DER.sequence, body, algorithm, encodeDer(DER.bitString, Buffer.of(0), signature));
  return {
    cert: new X509Certificate(certificate).toString(),
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

/**
 * The public key (32 bytes, Ed25519) of the node that presented this certificate. The handshake has proved that the peer
 * holds the certificate's key; this proves that the node's key vouches for it.
 *
 * Throws Fault `mesh.certificate` (exit `denied` for a signature that is wrong, `invalid` for a certificate of another shape).
 */
export function nodeKeyOfCertificate(certificate: X509Certificate): Uint8Array {
  if (!isSelfSigned(certificate)) throw refuse("it is not signed by its own key", "denied");
  const [publicKey, signature, ...more] = children(onlyLibp2pExtension(certificate.raw));
  if (publicKey?.tag !== DER.octetString || signature?.tag !== DER.octetString || more.length > 0) {
    throw refuse("its libp2p extension has another shape");
  }
  const head = publicKey.content.subarray(0, ED25519_PROTOBUF_HEAD.length);
  if (!ED25519_PROTOBUF_HEAD.equals(head)) throw refuse("its node key is not an Ed25519 key");
  const nodeKey = publicKey.content.subarray(ED25519_PROTOBUF_HEAD.length);
  const spki = certificate.publicKey.export({ type: "spki", format: "der" });
  if (!verifyEd25519(nodeKey, Buffer.concat([SIGNED_PREFIX, spki]), signature.content)) {
    throw refuse("the node key did not sign it", "denied");
  }
  return nodeKey;
}

/** OpenSSL looks at the key inside only now, and throws at one that it cannot read. */
function isSelfSigned(certificate: X509Certificate): boolean {
  try {
    return certificate.verify(certificate.publicKey);
  } catch {
    return false;
  }
}

/** The content of the libp2p extension; any other critical extension, or a second one of ours, is refused. */
function onlyLibp2pExtension(certificate: Uint8Array): DerValue {
  const body = children(decodeDer(certificate)[0])[0];
  const list = children(body).find((field) => field.tag === DER.extensions);
  let found: DerValue | undefined;
  for (const extension of children(children(list)[0])) {
    const [oid, ...rest] = children(extension);
    const value = rest.at(-1);
    const ours = oid !== undefined && LIBP2P_EXTENSION.equals(oid.content);
    if (!ours && rest.length > 1) throw refuse("it has an unknown critical extension");
    if (!ours) continue;
    if (found !== undefined || value?.tag !== DER.octetString) throw refuse("its libp2p extension has another shape");
    found = decodeDer(value.content)[0];
  }
  if (found === undefined) throw refuse("it has no libp2p extension");
  return found;
}

function children(value: DerValue | undefined): DerValue[] {
  return value === undefined ? [] : decodeDer(value.content);
}

function refuse(why: string, exit: "invalid" | "denied" = "invalid"): Fault {
  return new Fault("mesh.certificate", `the peer's certificate does not prove which node it is: ${why}`, {
    exit,
    fix: "Check that the address belongs to a Portolan node.",
  });
}
