import { createHmac, type KeyObject, createPrivateKey, sign, X509Certificate } from "node:crypto";
import { EventEmitter } from "node:events";
import { createRequire } from "node:module";
import { SILENT_LOG, SystemClock, VirtualClock } from "#core";
import { nodeIdOf } from "../../../src/identity/node-id.ts";
import { parseAddress, parseNetworks } from "../../../src/mesh/address.ts";
import { DER, decodeDer, encodeDer } from "../../../src/mesh/der.ts";
import { answerRecords, fleetTag, MDNS_SERVICE, startMdns } from "../../../src/mesh/mdns.ts";
import { MuxGuard, STANDARD_WINDOW_BYTES } from "../../../src/mesh/mux-guard.ts";
import { decodeProbe, encodeProbe, PROBE_BYTES } from "../../../src/mesh/probe-datagram.ts";
import { parseProxy } from "../../../src/mesh/socket-dial.ts";
import { createTlsIdentity, nodeKeyOfCertificate } from "../../../src/mesh/tls-certificate.ts";
import { testKey } from "../../support/fleet.ts";
import { type FuzzTarget, mustHold, mustReturn } from "../target.ts";

const node = testKey(50);
const NODE_ID = nodeIdOf(node.publicKey);
const ADDRESS = `/ip4/192.0.2.7/tcp/7433/tls/p2p/${NODE_ID}`;
const utf8 = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

const addresses: FuzzTarget = {
  name: "addresses",
  covers: [
    "src/mesh/address.ts#parseAddress",
    "src/mesh/address.ts#parseNetworks",
    "src/mesh/socket-dial.ts#parseProxy",
  ],
  grammar: "text",
  seeds: () =>
    [ADDRESS, "/dns4/gate.example/tcp/1/tls", "/ip6/2001:db8::7/tcp/65535/tls", "10.1.0.0/16", "http://[::1]:3128"].map(
      (text) => Buffer.from(text),
    ),
  refuses: ["mesh.address", "mesh.cidr", "mesh.proxy-url"],
  prepare: () => (input) => {
    const text = utf8(input);
    if (text.startsWith("http")) return `proxy ${parseProxy(text)?.protocol}`;
    if (/^[\d.:a-f]+\/\d*$/u.test(text)) return `network with it ${parseNetworks([text])("10.0.0.1")}`;
    const { port, nodeId } = parseAddress(text);
    mustHold(Number.isInteger(port) && port >= 0 && port < 65_536, "a port is none");
    return `address ${nodeId !== undefined}`;
  },
};

const der: FuzzTarget = {
  name: "der",
  covers: ["src/mesh/der.ts#decodeDer"],
  grammar: "bytes",
  seeds: () => [
    encodeDer(DER.sequence, encodeDer(DER.oid, Buffer.of(1, 2)), encodeDer(DER.octetString, Buffer.alloc(300))),
  ],
  refuses: ["mesh.certificate"],
  prepare: () => (input) => {
    const values = decodeDer(input);
    mustReturn(Buffer.concat(values.map(({ tag, content }) => encodeDer(tag, content))), input);
    return `${Math.min(values.length, 4)} values`;
  },
};

/** The extensions of a certificate that is otherwise good: it is signed again each time, or nothing else would be looked at. */
const certificates: FuzzTarget = {
  name: "certificates",
  covers: ["src/mesh/tls-certificate.ts#nodeKeyOfCertificate"],
  grammar: "bytes",
  seeds: () => [extensionsOf(CERTIFICATE), CERTIFICATE.raw],
  refuses: ["mesh.certificate"],
  prepare: () => (input) => {
    for (const raw of [withExtensions(CERTIFICATE, CERTIFICATE_KEY, input), input]) {
      let certificate: X509Certificate;
      try {
        certificate = new X509Certificate(raw);
      } catch {
        continue; // TLS itself refuses it
      }
      const key = nodeKeyOfCertificate(certificate);
      mustHold(Buffer.compare(key, node.publicKey) === 0, "a certificate names a node that did not sign it");
    }
    return "none, or ours";
  },
};

const IDENTITY = createTlsIdentity(node, new Uint8Array(8).fill(7));
const CERTIFICATE = new X509Certificate(IDENTITY.cert);
const CERTIFICATE_KEY = createPrivateKey(IDENTITY.key);

function bodyOf(certificate: X509Certificate): { tag: number; content: Uint8Array }[] {
  const [whole] = decodeDer(certificate.raw);
  const [body] = decodeDer(whole?.content ?? new Uint8Array());
  return decodeDer(body?.content ?? new Uint8Array());
}

function extensionsOf(certificate: X509Certificate): Uint8Array {
  return bodyOf(certificate).find(({ tag }) => tag === DER.extensions)?.content ?? new Uint8Array();
}

function withExtensions(certificate: X509Certificate, key: KeyObject, extensions: Uint8Array): Uint8Array {
  const fields = bodyOf(certificate).map(({ tag, content }) =>
    encodeDer(tag, tag === DER.extensions ? extensions.subarray(0, 32_000) : content),
  );
  const body = encodeDer(DER.sequence, ...fields);
  const algorithm = encodeDer(DER.sequence, encodeDer(DER.oid, Buffer.from("2a8648ce3d040302", "hex")));
  const signature = encodeDer(DER.bitString, Buffer.of(0), sign("sha256", body, key));
  return encodeDer(DER.sequence, body, algorithm, signature);
}

/** Datagrams from anybody on the local network, through the DNS decoder that the daemon uses. */
const mdns: FuzzTarget = {
  name: "mdns",
  covers: ["src/mesh/mdns.ts#readAnswer", "src/mesh/mdns.ts"],
  grammar: "bytes",
  maxBytes: 9_000, // the largest mDNS packet (RFC 6762 §17)
  seeds: () => {
    const answers = answerRecords(NODE_ID, fleetTag(FLEET), [ADDRESS, ADDRESS.replace("192.0.2.7", "10.0.0.1")]);
    const questions = [{ name: MDNS_SERVICE, type: "PTR" }];
    return [
      dnsPacket.encode({ type: "response", answers }),
      dnsPacket.encode({ type: "response", additionals: answers }),
      dnsPacket.encode({ type: "query", questions }),
    ];
  },
  refuses: [],
  prepare: () => {
    const found: string[] = [];
    const hear = listening((addresses) => found.push(...addresses));
    return (input) => {
      found.length = 0;
      hear(input);
      for (const address of found) parseAddress(address);
      return `${Math.min(found.length, 9)} addresses`;
    };
  },
};

const FLEET = "ab".repeat(32);

/** The codec that multicast-dns uses; it is its dependency, not ours. */
const dnsPacket = createRequire(createRequire(import.meta.url).resolve("multicast-dns"))("dns-packet") as {
  encode: (packet: unknown) => Uint8Array;
};

/** A node that listens; returns how it hears a datagram. */
function listening(found: (addresses: string[]) => void): (datagram: Uint8Array) => void {
  const socket = new FakeSocket();
  const options = { self: nodeIdOf(testKey(51).publicKey), fleet: () => FLEET, addresses: () => [ADDRESS] };
  startMdns(
    { clock: new SystemClock(), log: SILENT_LOG, found, otherFleet: () => undefined },
    { ...options, socket: { socket: socket as never } },
  );
  const from = { address: "192.0.2.9", port: 5353, family: "IPv4", size: 0 };
  return (datagram) => void socket.emit("message", Buffer.from(datagram), from);
}

/** A UDP socket that hears what it is told to. */
class FakeSocket extends EventEmitter {
  send(...rest: readonly unknown[]): void {
    const done = rest.at(-1);
    if (typeof done === "function") done();
  }
  bind(...rest: readonly unknown[]): void {
    const done = rest.at(-1);
    if (typeof done === "function") done();
  }
}

/** yamux frames of a stranger. */
const muxGuard: FuzzTarget = {
  name: "yamux-frames",
  covers: ["src/mesh/mux-guard.ts#MuxGuard"],
  grammar: "bytes",
  seeds: () => [
    Buffer.from(
      "000000010000000100000005aabbccddee0001000100000003000400000002000200000000000000090003000000000000",
      "hex",
    ),
    Buffer.from("0000000100000001ffffffff", "hex"),
  ],
  refuses: ["mesh.frame", "mesh.stranger-limit"],
  prepare: () => (input) => {
    const clock = new VirtualClock();
    const limits = { maxBytes: STANDARD_WINDOW_BYTES, maxStreams: 2 };
    const verdict = (pieces: readonly Uint8Array[]): string => {
      const guard = new MuxGuard(clock);
      guard.limit(limits);
      try {
        for (const piece of pieces) guard.check(piece);
        return "passed";
      } catch (error) {
        return String(error);
      }
    };
    const bytes = Array.from({ length: Math.min(input.length, 2_048) }, (_, at) => input.subarray(at, at + 1));
    const head = input.subarray(0, 2_048);
    mustHold(verdict([head]) === verdict(bytes), "a verdict depends on the pieces in which bytes come");
    new MuxGuard(clock).check(input);
    return verdict([input]).slice(0, 20);
  },
};

const PROBE_KEY = new Uint8Array(32).fill(7);

/** Probes that are signed again each time, or nothing behind the MAC would be looked at. */
const probes: FuzzTarget = {
  name: "probes",
  covers: ["src/mesh/probe-datagram.ts#decodeProbe"],
  grammar: "bytes",
  seeds: () =>
    (["ask", "answer", "ask-deaf"] as const).map((type) =>
      encodeProbe({ type, link: "00".repeat(8), number: 7, rttMs: 12.5, lossRatio: 0.01, intervalMs: 500 }, PROBE_KEY),
    ),
  refuses: [],
  prepare: () => (input) => {
    mustHold(decodeProbe(Buffer.from(input), new Uint8Array(32)) === undefined, "took what another key made");
    const signed = Buffer.from(input);
    const mac = createHmac("sha256", PROBE_KEY)
      .update(signed.subarray(0, PROBE_BYTES - 16))
      .digest();
    mac.copy(signed, PROBE_BYTES - 16, 0, 16);
    const probe = decodeProbe(signed, PROBE_KEY);
    if (probe === undefined) return "refused";
    mustHold(signed.length === PROBE_BYTES && probe.link.length === 16, "took what is no probe");
    return probe.type;
  },
};

export const MESH_TARGETS: readonly FuzzTarget[] = [addresses, der, certificates, mdns, muxGuard, probes];
