import { type ByteStream, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { type Host, startHost } from "#mesh";
import { Libp2pByteStream } from "../../src/mesh/libp2p-byte-stream.ts";
import { ForeignPeer } from "../support/foreign-peer.ts";
import { byteStreamContract } from "./byte-stream.ts";

const PROTOCOL = "/test/contract/1";

type Pair = { foreign: ForeignPeer; host: Host; arrived: PromiseWithResolvers<ByteStream> };

/** A plain js-libp2p node and a host on loopback, shared by the suite: each test takes a stream of its own, over Noise. */
let pair: Promise<Pair & { open(): Promise<ByteStream> }> | undefined;

async function startPair(): Promise<Pair & { open(): Promise<ByteStream> }> {
  const [clock, random] = [new SystemClock(), new SystemRandom()];
  const foreign = await ForeignPeer.start();
  const gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "berlin", name: "foreign" }) as const };
  const host = await startHost(
    { clock, random, log: SILENT_LOG, seed: random.bytes(32), gate },
    { listen: ["/ip4/127.0.0.1/tcp/0/tls"] },
  );
  const { connection } = await foreign.hello(host.addresses()[0] ?? "");
  const started: Pair = { foreign, host, arrived: Promise.withResolvers() };
  host.handle(PROTOCOL, (stream) => started.arrived.resolve(stream));
  return Object.assign(started, { open: async () => new Libp2pByteStream(await connection.newStream([PROTOCOL])) });
}

async function openPair(): Promise<[ByteStream, ByteStream]> {
  pair ??= startPair();
  const live = await pair;
  live.arrived = Promise.withResolvers();
  const near = await live.open();
  return [near, await live.arrived.promise];
}

after(async () => {
  const live = await pair;
  await live?.host[Symbol.asyncDispose]();
  await live?.foreign[Symbol.asyncDispose]();
});

byteStreamContract("libp2p over Noise, dialled by a foreign peer", openPair);
byteStreamContract("libp2p over Noise, from our side", async () => {
  const [foreign, ours] = await openPair();
  return [ours, foreign];
});
