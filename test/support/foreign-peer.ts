import assert from "node:assert/strict";
import { noise } from "@chainsafe/libp2p-noise";
import { yamux } from "@chainsafe/libp2p-yamux";
import type { Connection, Stream } from "@libp2p/interface";
import { tcp } from "@libp2p/tcp";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p, type Libp2p } from "libp2p";
import { encodeFrame, FrameReader } from "#core";

/**
 * A plain js-libp2p node: TCP, Noise, yamux, and no code of ours but the frame codec. What it can do, any libp2p
 * implementation can.
 */
export class ForeignPeer implements AsyncDisposable {
  readonly libp2p: Libp2p;

  constructor(libp2p: Libp2p) {
    this.libp2p = libp2p;
  }

  static async start(): Promise<ForeignPeer> {
    const libp2p = await createLibp2p({
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
    });
    return new ForeignPeer(libp2p);
  }

  /** Dials the TCP port of one of our addresses, over Noise. */
  dial(address: string): Promise<Connection> {
    return this.libp2p.dial(multiaddr(address.replace("/tls", "")));
  }

  /** Dials and says hello as docs/spec/hello.md has it. Resolves to the frame that the other side answered with. */
  async hello(
    address: string,
    offer: unknown = {},
  ): Promise<{ connection: Connection; answer: unknown; stream: Stream }> {
    const connection = await this.dial(address);
    const stream = await connection.newStream(["/portolan/hello/1"]);
    const answer = firstFrame(stream);
    send(stream, { t: "hello", v: 1, boot: new Uint8Array(16), addrs: [], offer });
    const header = await answer;
    if (isHello(header)) send(stream, { t: "ready" });
    return { connection, answer: header, stream };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.libp2p.stop();
  }
}

function isHello(header: unknown): boolean {
  return typeof header === "object" && header !== null && "t" in header && header.t === "hello";
}

function send(stream: Stream, header: unknown): void {
  assert.ok(stream.send(Buffer.concat(encodeFrame(header))));
}

function firstFrame(stream: Stream): Promise<unknown> {
  const reader = new FrameReader({ maxHeaderBytes: 64 * 1024, maxPayloadBytes: 0 });
  return new Promise((resolve, reject) => {
    stream.addEventListener("message", ({ data }) => {
      const bytes = data instanceof Uint8Array ? data : data.subarray();
      reader.push(bytes, (frame) => resolve(frame.header));
    });
    stream.addEventListener("close", ({ error }) => reject(error ?? new Error("closed")));
  });
}
