import { noise } from "@chainsafe/libp2p-noise";
import { yamux } from "@chainsafe/libp2p-yamux";
import { generateKeyPair } from "@libp2p/crypto/keys";
import type { Connection, Ed25519PrivateKey, Stream } from "@libp2p/interface";
import { tcp } from "@libp2p/tcp";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p, type Libp2p } from "libp2p";
import { encodeFrame, type Frame, FrameReader } from "#core";

/** Larger than any header or payload that a page of docs/spec allows: what comes is ours to judge, not the reader's. */
const FRAME_LIMITS = { maxHeaderBytes: 8 * 1024 * 1024, maxPayloadBytes: 8 * 1024 * 1024 };

/** What the other side answered to a hello. While the stream is open, probes that come on it are answered. */
export type Greeted = { connection: Connection; answer: unknown; stream: Stream };

/**
 * A plain js-libp2p node: TCP, Noise, yamux, and no code of ours but the codecs of core. What it can do, any libp2p
 * implementation can. It is the second implementation of our protocols, written from docs/spec; join, documents and swarm
 * are in the foreign-*.ts beside this.
 */
export class ForeignPeer implements AsyncDisposable {
  readonly libp2p: Libp2p;
  readonly key: Ed25519PrivateKey;

  constructor(libp2p: Libp2p, key: Ed25519PrivateKey) {
    this.libp2p = libp2p;
    this.key = key;
  }

  static async start(): Promise<ForeignPeer> {
    const privateKey = await generateKeyPair("Ed25519");
    const libp2p = await createLibp2p({
      privateKey,
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
    });
    return new ForeignPeer(libp2p, privateKey);
  }

  /** Dials the TCP port of one of our addresses, over Noise. */
  dial(address: string): Promise<Connection> {
    return this.libp2p.dial(multiaddr(address.replace("/tls", "")));
  }

  /** Dials and says hello as docs/spec/hello.md has it. */
  async hello(address: string, offer: unknown = {}): Promise<Greeted> {
    const connection = await this.dial(address);
    try {
      return await greet(connection, offer);
    } catch (error) {
      connection.abort(error instanceof Error ? error : new Error(String(error))); // or the next dial would return this one
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.libp2p.stop();
  }
}

async function greet(connection: Connection, offer: unknown): Promise<Greeted> {
  const stream = await connection.newStream(["/portolan/hello/1"]);
  const frames = framesOf(stream);
  send(stream, { t: "hello", v: 1, boot: new Uint8Array(16), addrs: [], offer });
  const answer = (await frames.next()).value?.header;
  if (isMap(answer) && answer["t"] === "hello") send(stream, { t: "ready" });
  answerProbes(stream, frames).catch(() => undefined); // until the session ends, however it does
  return { connection, answer, stream };
}

/** Who leaves probes unanswered counts as dead after some seconds. */
async function answerProbes(stream: Stream, frames: AsyncIterable<Frame>): Promise<void> {
  for await (const { header } of frames) {
    if (isMap(header) && header["k"] === "ping" && isMap(header["b"]))
      send(stream, { k: "pong", b: { n: header["b"]["n"] } });
  }
}

/** Sends one frame. */
export function send(stream: Stream, header: unknown): void {
  stream.send(Buffer.concat(encodeFrame(header)));
}

/** The frames that arrive, until the other side has sent its last one. Rejects when the stream breaks. */
export async function* framesOf(stream: Stream): AsyncGenerator<Frame, undefined> {
  const reader = new FrameReader(FRAME_LIMITS);
  for await (const data of stream) {
    const frames: Frame[] = [];
    reader.push(data.slice(), (frame) => frames.push(frame)); // a copy: Noise decrypts in place
    yield* frames;
  }
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}
