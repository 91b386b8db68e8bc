import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, hkdfSync } from "node:crypto";
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import type { Stream } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { decodeCbor, encodeCbor, SystemClock, SystemRandom } from "#core";
import { type ForeignPeer, framesOf, isMap, send } from "./foreign-peer.ts";

/** What a bootstrap token says, as far as joining needs it. */
type Token = { fleet: Uint8Array; rendezvous: string[] };

/** What a granted join leaves a node with, all of it envelopes. */
export type Admission = { fleet: Uint8Array; charters: Uint8Array[]; documents: Uint8Array[]; member: Uint8Array };

/** Reads a token as docs/spec/token.md has it. */
export function readToken(text: string): Token {
  const [prefix, rest = ""] = text.trim().split(".");
  assert.equal(prefix, "ptl1");
  const bytes = Buffer.from(rest, "base64url");
  const [body, checksum] = [bytes.subarray(0, -4), bytes.subarray(-4)];
  assert.deepEqual(sha256(Buffer.from("ptl1."), body).subarray(0, 4), checksum);
  const { f, r } = decodeCbor(body, 2_048) as { f: Uint8Array; r: Uint8Array[] };
  return { fleet: f, rendezvous: r.map((address) => multiaddr(address).toString()) };
}

/** What a device shows of itself. `pass`: the text of a one-time pass. `address`: whom to ask, instead of the token's first. */
export type Shown = { serial?: string; pass?: string; address?: string };

/** Joins as docs/spec/join.md has it. `answer`: the registrar's last word; `admission`: what came of it, if it was granted. */
export async function join(
  peer: ForeignPeer,
  token: string,
  { pass, address, ...facts }: Shown,
): Promise<{ answer: Record<string, unknown>; admission?: Admission }> {
  const { fleet, rendezvous } = readToken(token);
  const connection = await peer.dial(address ?? rendezvous[0] ?? "");
  const stream = await connection.newStream(["/portolan/join/1"]);
  try {
    return await exchange(peer, stream, fleet, pass, facts);
  } finally {
    await connection.close();
  }
}

async function exchange(
  peer: ForeignPeer,
  stream: Stream,
  fleet: Uint8Array,
  pass: string | undefined,
  facts: { serial?: string },
): Promise<{ answer: Record<string, unknown>; admission?: Admission }> {
  const frames = framesOf(stream);
  const next = async (): Promise<Record<string, unknown>> => {
    const header = (await frames.next()).value?.header;
    assert.ok(isMap(header), "the registrar closed without an answer");
    return header;
  };
  const key = peer.key.publicKey.raw;
  const timeMs = new SystemClock().wallMs();
  const hello = { t: "hello", fleet, key, nonce: new SystemRandom().bytes(16), timeMs, labels: {}, ...facts };
  send(stream, hello);
  const offer = await next();
  if (offer["t"] !== "offer") return { answer: offer };
  const sealing = sealingKey();
  const hash = transcript(hello, offer, sealing);
  const shown = pass === undefined ? {} : { pass: await proofOfPass(pass, fleet, hash) };
  send(stream, { t: "proof", sealing, sig: await peer.key.sign(hash), ...shown });
  const answer = await next();
  await stream.close();
  if (answer["t"] !== "granted") return { answer };
  const { charters, documents } = offer as { charters: Uint8Array[]; documents: Uint8Array[] };
  return { answer, admission: { fleet, charters, documents, member: answer["member"] as Uint8Array } };
}

/** As docs/spec/pass.md has it. */
async function proofOfPass(pass: string, fleet: Uint8Array, hash: Uint8Array): Promise<Record<string, Uint8Array>> {
  const secret = Buffer.from(pass.trim().slice("ptp1.".length), "base64url").subarray(0, 16);
  const seed = new Uint8Array(hkdfSync("sha256", secret, fleet, "portolan-pass-v1", 32));
  const key = await generateKeyPairFromSeed("Ed25519", seed);
  return { key: key.publicKey.raw, sig: await key.sign(hash) };
}

function transcript(hello: unknown, offer: Record<string, unknown>, sealing: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [Buffer.from("portolan-join-v1")];
  // encoding is deterministic: what was decoded encodes to the bytes that came
  for (const message of [encodeCbor(hello), encodeCbor(offer)]) parts.push(uint64(message.length), message);
  return sha256(...parts, uint64(offer["charter"] as number), sealing);
}

function sealingKey(): Uint8Array {
  const spki = generateKeyPairSync("x25519").publicKey.export({ type: "spki", format: "der" });
  return bytes(spki.subarray(-32));
}

function uint64(value: number): Uint8Array {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(value));
  return out;
}

function sha256(...pieces: Uint8Array[]): Buffer {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
}

function bytes(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer);
}
